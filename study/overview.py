"""What there is and how far it is: the listing of `study list` and the rows of `study plan`, as plain values and as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from search_spaces import SPACES
from study.lock import holder
from study.plan import Entry, Plan, space_cells, store_needs
from trainables import ARCHITECTURES, CODECS, DATASETS, default_store, find_dataset, predicted_bytes, recipes

SCHEMA = 1
FEW = 12
"""So many names in a row are read; of more the text says how many, JSON has them all."""
Row = dict[str, Any]


def listing() -> dict[str, Any]:
    """Everything that can be named on the command line."""
    return {
        "schema": SCHEMA,
        "tasks": sorted({architecture.task for architecture in ARCHITECTURES.values()}),
        "architectures": [
            {"architecture": name, "task": value.task, "metric": value.metric, "metrics": dict(value.metrics)}
            for name, value in ARCHITECTURES.items()
        ],
        "codecs": [{"codec": name, "ladder": codec.levels} for name, codec in CODECS.items()],
        "recipes": [
            {
                "recipe": recipe.name,
                "codec": recipe.codec,
                "parents": recipe.parents,
                "baseline": recipe.baseline,
                "control": recipe.control,
            }
            for codec in (None, *CODECS.values())
            for recipe in recipes(codec)
        ],
        "data_sets": [{"data_set": name, "task": value.task, "summary": value.summary} for name, value in DATASETS.items()],
        "search_spaces": [
            {
                "search_space": name,
                "summary": space.summary,
                "cells": [cell.name for cell in space_cells(space)],
                "data": dict(space.data),
            }
            for name, space in SPACES.items()
        ],
    }


def listing_text(listed: Mapping[str, Any]) -> Group:
    """A heading and a line for each thing: its name, then what there is to say of it."""
    lines = []
    for heading, rows in listed.items():
        if heading == "schema":
            continue
        lines.append(f"[bold]{heading.replace('_', ' ')}[/bold]")
        lines += [f"  {escape(row if isinstance(row, str) else _line(row))}" for row in rows]
    return Group(*lines)


def _line(row: Mapping[str, Any]) -> str:
    (_, name), *rest = row.items()
    said = [f"{key} {_words(value)}" for key, value in rest if value]
    return f"{name}: {'; '.join(said)}" if said else str(name)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) if len(value) <= FEW else f"{len(value)}, {value[0]} to {value[-1]}"
    return str(value)


def plan_rows(plan: Plan) -> list[Row]:
    """A row a trial: what it is, and how far."""
    running = holder(plan.storage) is not None
    return [_row(plan, entry, running=running) for entry in plan.entries]


def _row(plan: Plan, entry: Entry, *, running: bool) -> Row:
    folder, cell = plan.folder(entry.trial), entry.cell
    state, history = plan.state(entry), folder.history()
    at_hand = state != "no data"
    missing = folder.progress(entry.conditions).missing
    return {
        "cell": cell.name,
        "architecture": cell.architecture.name,
        "task": cell.architecture.task,
        "codec": cell.recipe.codec,
        "recipe": cell.recipe.name,
        "data_set": find_dataset(cell.dataset).name,
        "seed": entry.seed,
        "trial": entry.trial.key if at_hand else None,
        "initial": entry.trial.initial,
        "state": "running" if state == "partial" and running else state,
        "epochs": entry.trial.epochs if at_hand else None,
        "epochs_done": len(history),
        "conditions": [str(condition) for condition in entry.conditions],
        "conditions_done": len(entry.conditions) - len(missing),
        "parents": [parent.cell.name for parent in entry.parents],
        "baseline": entry.baseline.cell.name if entry.baseline else None,
        "control": entry.control.cell.name if entry.control else None,
        "reason": folder.failure() if state == "failed" else plan.no_data.get(cell.dataset),
    }


def disk(plan: Plan) -> dict[str, Any]:
    """What the encoded store will hold for a plan, and what it may."""
    store, needs = default_store(), store_needs(plan)
    predicted = sum(predicted_bytes(store, source, needs[name]) for name, source in plan.sources.items())
    return {"root": str(store.root), "limit_bytes": store.limit, "predicted_bytes": predicted}


def plan_text(plan: Plan, rows: Sequence[Row], encoded: Mapping[str, Any]) -> Group:
    """The plan as a table, with the reasons of what failed, a count, and the disk."""
    table = Table(title=f"{plan.space.name}: {plan.space.summary}")
    for heading in ("cell", "seed", "data set", "epochs", "conditions", "state", "trial"):
        table.add_column(heading)
    for row in rows:
        epochs = "?" if row["epochs"] is None else f"{row['epochs_done']}/{row['epochs']}"
        conditions = f"{row['conditions_done']}/{len(row['conditions'])}"
        table.add_row(row["cell"], str(row["seed"]), row["data_set"], epochs, conditions, row["state"], row["trial"] or "")
    reasons = {
        f"{row['cell']} seed {row['seed']}: {row['reason']}" if row["state"] == "failed" else row["reason"]
        for row in rows
        if row["reason"]
    }
    states = [row["state"] for row in rows]
    count = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    takes = f"{decimal(encoded['predicted_bytes'])} of at most {decimal(encoded['limit_bytes'])} in {encoded['root']}"
    lines = [*sorted(reasons), f"{len(rows)} trials: {count}", f"encoded imagery: some {takes}"]
    return Group(table, *(escape(line) for line in lines))
