"""`study evaluate`: one's own weights under every condition of a ladder. A plan of one trial, which trains nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from search_spaces import Space
from study.plan import Plan, make_plan, space_cells
from trainables import CODECS, Folder, find_architecture


def evaluation_plan(target: str, weights: str, *, space: Space, data: Sequence[str], storage: Folder) -> Plan:
    """Score a weights file on the ladder of `ARCHITECTURE`'s own codec, or of another: `ARCHITECTURE/CODEC`.

    The space gives hyper-parameters and data set. Raises ValueError for a name or a file that does not exist.
    """
    name, _, codec = target.partition("/")
    architecture = find_architecture(name)
    codec = codec or architecture.codec
    if codec not in CODECS:
        raise ValueError(f"unknown codec {codec!r}: known are {', '.join(CODECS)}")
    if CODECS[codec].clips != CODECS[architecture.codec].clips:
        raise ValueError(f"{name} and {codec} do not go together: one takes clips, the other stills")
    if name not in space.budgets:
        raise ValueError(f"search space {space.name} has no {name}: give --space one that has; it has {', '.join(space.budgets)}")
    alone = replace(
        space,
        name="evaluate",
        cells=(f"{architecture.name}/clean/*", f"{architecture.name}/{codec}/*"),
        budgets={name: space.budgets[name]},
        seeds=1,
    )
    roots = [cell.name for cell in space_cells(alone) if not cell.recipe.parents]
    return make_plan(alone, patterns=roots, data=data, baselines=[weights], storage=storage)


def scores(plan: Plan) -> list[dict[str, Any]]:
    """A row a condition: codec, level, rate, metrics and what was chosen for them on validation."""
    (entry,) = plan.entries
    return [
        {name: each[name] for name in ("codec", "level", "bits_per_pixel")} | each["metrics"] | each.get("chosen", {})
        for each in plan.folder(entry.trial).scores(entry.conditions)
    ]


def scores_text(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> Table:
    """The scores as a table, the primary metric first, what was chosen last."""
    (entry,) = plan.entries
    architecture = entry.cell.architecture
    others = [name for name in rows[0] if name not in ("codec", "level", "bits_per_pixel", architecture.metric)]
    metrics = [architecture.metric, *others]
    title = f"{architecture.name} on {entry.cell.dataset}, {entry.trial.initial}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    for heading in ("codec", "level", "bit/px", *metrics):
        table.add_column(heading, justify="left" if heading == "codec" else "right")
    for row in rows:
        rate = "" if row["bits_per_pixel"] is None else f"{row['bits_per_pixel']:.2f}"
        table.add_row(row["codec"] or "clean", str(row["level"] or ""), rate, *(f"{row[name]:.3f}" for name in metrics))
    return table
