"""`study evaluate`: a user's own weights under every condition of a ladder. A plan of one trial that trains nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from search_spaces import Space
from study.cells import space_cells
from study.plan import Plan, make_plan
from trainables import Architecture, Folder, find_architecture, find_codec, suggestion


def evaluation_plan(target: str, weights: str, *, space: Space, data: Sequence[str], storage: Folder) -> Plan:
    """Score a weights file on the space's codec for `ARCHITECTURE`, or on another one: `ARCHITECTURE/CODEC`.

    The space gives hyper-parameters, data set and ladder. Raises ValueError for a name or a file that does not exist.
    """
    name, _, codec = target.partition("/")
    architecture = find_architecture(name)
    if not isinstance(architecture, Architecture):
        raise ValueError(
            f"{name} is a fusion without weights of its own: evaluate one of {', '.join(architecture.streams.values())}"
        )
    if not codec:
        codec = next((each for each in space.codecs if find_codec(each).clips == architecture.task.clips), "")
        if not codec:
            raise ValueError(f"search space {space.name} has no codec for {name}: write {name}/CODEC")
    if find_codec(codec).clips != architecture.task.clips:
        takes, codes = ("video clips", "still images") if architecture.task.clips else ("still images", "video clips")
        raise ValueError(f"{name} takes {takes}, {codec} encodes {codes}: choose another codec")
    if name not in space.budgets:
        raise ValueError(
            f"search space {space.name} has no {name}; {suggestion(name, space.budgets)} Pass --space with a space that has it"
        )
    alone = replace(
        space,
        name="evaluate",
        codecs=(codec,),
        ladders={each: ladder for each, ladder in space.ladders.items() if each == codec},
        validation={},
        cells=(f"{architecture.name}/*",),
        budgets={name: space.budgets[name]},
        seeds=1,
    )
    roots = [cell.name for cell in space_cells(alone) if not cell.recipe.parents]
    plan = make_plan(alone, patterns=roots, data=data, baselines=[weights], storage=storage)
    plan.entries = [replace(entry, splits=("test",)) for entry in plan.entries]
    return plan


def scores(plan: Plan) -> list[dict[str, Any]]:
    """One row per condition: codec, level, rate, metrics and the thresholds chosen on validation."""
    (entry,) = plan.entries
    folder = plan.folder(entry)
    return [
        {name: each[name] for name in ("codec", "level", "bits_per_pixel")} | each["metrics"] | each["chosen"]
        for each in (folder.scores(entry.conditions) if folder else ())
    ]


def scores_text(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The scores as a table: the primary metric first, chosen thresholds last."""
    (entry,) = plan.entries
    architecture = entry.cell.architecture
    names = list(rows[0]) if rows else []
    others = [name for name in names if name not in ("codec", "level", "bits_per_pixel", architecture.task.metric)]
    metrics = [architecture.task.metric, *others]
    title = f"{architecture.name} on {entry.cell.dataset}, {entry.initial}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in ("codec", "level", "bit/px", *metrics):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    for row in rows:
        rate = "" if row["bits_per_pixel"] is None else f"{row['bits_per_pixel']:.2f}"
        table.add_row(row["codec"] or "clean", str(row["level"] or ""), rate, *(f"{row[name]:.3f}" for name in metrics))
    return table
