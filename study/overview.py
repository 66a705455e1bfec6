"""The listing of `study list` and the rows of `study plan`, as plain values and as text."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from search_spaces import SPACES
from study.cells import space_cells
from study.lock import holder
from study.plan import Entry, Plan, earlier_trials, predicted_bytes, store_needs
from trainables import ARCHITECTURES, CODECS, DATASETS, default_store, drawing, find_dataset, recipes, schedules

SCHEMA = 1
FEW = 7
"""Longest list of names that the text prints in full; of longer ones it prints the count, JSON holds all."""
Row = dict[str, Any]


def listing() -> dict[str, Any]:
    """Everything with a name on the command line."""
    return {
        "schema": SCHEMA,
        "tasks": sorted({architecture.task.name for architecture in ARCHITECTURES.values()}),
        "architectures": [
            {"architecture": name, "task": value.task.name, "metric": value.task.metric, "metrics": dict(value.task.metrics)}
            for name, value in ARCHITECTURES.items()
        ],
        "codecs": [{"codec": name, "ladder": codec.levels} for name, codec in CODECS.items()],
        "schedules": _schedules(),
        "recipes": [
            {
                "recipe": recipe.name,
                "codec": recipe.codec,
                "parents": recipe.parents,
                "baseline": recipe.baseline,
                "control": recipe.control,
            }
            for codec in (None, *CODECS.values())
            for recipe in (recipes(codec.name, codec.levels) if codec else recipes(None))
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


def _schedules() -> list[dict[str, Any]]:
    """Each kind of schedule once, drawn over the first codec's ladder."""
    codec = next(iter(CODECS.values()))
    kinds = {type(schedule): (name, schedule) for name, schedule in reversed(list(schedules(codec, codec.levels).items()))}
    return [
        {
            "schedule": name,
            "summary": (schedule.__doc__ or "").splitlines()[0],
            "over_time": drawing(schedule).over_time,
            "marginal": drawing(schedule).marginal,
        }
        for name, schedule in reversed(list(kinds.values()))
    ]


def listing_text(listed: Mapping[str, Any]) -> Group:
    """A heading per kind and a line per item: its name, then its properties."""
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
    """One row per trial: its identity and its progress."""
    running = holder(plan.storage) is not None
    return [_row(plan, entry, running=running) for entry in plan.entries]


def _row(plan: Plan, entry: Entry, *, running: bool) -> Row:
    folder, trial, cell = plan.folder(entry), plan.trial(entry), entry.cell
    state, known = plan.state(entry), trial is not None and not plan.no_data.get(cell.dataset)
    progress = folder.progress(entry.views) if folder else None
    missing = progress.missing if progress else entry.views
    return {
        "cell": cell.name,
        "architecture": cell.architecture.name,
        "task": cell.architecture.task.name,
        "codec": cell.codec.name if cell.codec else None,
        "recipe": cell.recipe.name,
        "data_set": find_dataset(cell.dataset).name,
        "seed": entry.seed,
        "stage": entry.stage,
        "trial": trial.key if trial and known else None,
        "initial": entry.initial,
        "state": "running" if state == "partial" and running else state,
        "epochs": trial.epochs if trial and known else None,
        "epochs_done": len(folder.history()) if folder else 0,
        "trained": progress.trained if progress else False,
        "scores": [str(view) for view in entry.views],
        "scores_done": len(entry.views) - len(missing),
        "parents": [parent.cell.name for parent in entry.parents],
        "baseline": entry.baseline.cell.name if entry.baseline else None,
        "control": entry.control.cell.name if entry.control else None,
        "reason": folder.failure() if folder and state == "failed" else plan.no_data.get(cell.dataset),
    }


def disk(plan: Plan) -> dict[str, Any]:
    """Predicted size of the store for a plan, and its limit, in bytes."""
    store, needs = default_store(), store_needs(plan)
    predicted = sum(predicted_bytes(store, source, needs[name]) for name, source in plan.sources.items())
    return {"root": str(store.folder), "limit_bytes": store.limit, "predicted_bytes": predicted}


def plan_text(plan: Plan, rows: Sequence[Row], encoded: Mapping[str, Any]) -> Group:
    """The plan as a table, with reasons for failures, counts and disk use."""
    table = Table(title=f"{plan.space.name}: {plan.space.summary}")
    for heading in ("cell", "seed", "data set", "epochs", "scores", "state", "trial"):
        table.add_column(heading)
    for row in rows:
        epochs = "?" if row["epochs"] is None else f"{row['epochs_done']}/{row['epochs']}"
        scores = f"{row['scores_done']}/{len(row['scores'])}"
        seed = str(row["seed"]) if row["stage"] == "final" else f"{row['seed']} {row['stage']}"
        table.add_row(row["cell"], seed, row["data_set"], epochs, scores, row["state"], row["trial"] or "")
    reasons = {
        f"{row['cell']} seed {row['seed']}: {row['reason']}" if row["state"] == "failed" else row["reason"]
        for row in rows
        if row["reason"]
    }
    states = [row["state"] for row in rows]
    count = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    takes = f"about {decimal(encoded['predicted_bytes'])} of at most {decimal(encoded['limit_bytes'])} in {encoded['root']}"
    lines = [*sorted(reasons), f"{len(rows)} trials: {count}", f"encoded imagery: {takes}"]
    screened = [row["state"] for row in rows if row["stage"] == "screening"]
    if screened:
        follows = "; final trials not known yet" if plan.growth.more(plan) else ""
        lines.append(f"screening {screened.count('done')} of {len(screened)} trials{follows}")
    unscored = sum(row["trained"] and row["state"] != "done" for row in rows)
    if unscored:
        lines.append(f"{unscored} trained networks lack scores: they are scored, not trained again")
    earlier = earlier_trials(plan)
    if earlier.formats:
        where = f"trial folders of an earlier format in {plan.storage.uri}"
        lines.append(f"{earlier.formats} {where}: left alone, their trials are trained again")
    if earlier.revisions:
        where = f"trial folders of an earlier revision in {plan.storage.uri}"
        lines.append(
            f"{earlier.revisions} {where}: left alone, their trials are trained again, "
            "since the architecture or the recipe changed in a way that changes figures"
        )
    return Group(table, *(escape(line) for line in lines))
