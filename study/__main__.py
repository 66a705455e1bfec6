"""The command line: `study VERB`. Errors of use are one line on standard error and exit code 2."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from search_spaces import SPACES
from study.plan import Plan, find_space, make_plan, space_cells, store_needs
from trainables import ARCHITECTURES, CODECS, DATASETS, Folder, default_store, predicted_bytes, recipes

SCHEMA = 1
TABLE_WIDTH = 110
"""Characters that the plan needs; a narrower terminal wraps its lines, which loses less than squeezed columns."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; 0 complete, 1 incomplete, 2 usage, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.verb(options))
    except ValueError as error:
        Console(stderr=True).print(f"study: {error}", soft_wrap=True, markup=False, highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="study", description="How hard may imagery be compressed, and how much does retraining win back?"
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, act: Any, text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(verb=act)
        made.add_argument("--json", action="store_true", help="JSON on standard output")
        return made

    def over_cells(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument("space", metavar="SPACE", help=f"search space: {', '.join(SPACES)}")
        made.add_argument("patterns", metavar="PATTERN", nargs="*", help="cells, as in 'segnet/jpeg/*'; default all")
        with_data(made)
        made.add_argument("--seeds", type=_count, metavar="N", help="repeat every cell over seeds 0..N-1")
        return made

    def with_data(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument(
            "--data",
            action="append",
            default=[],
            metavar="NAME=PATH|TASK=NAME",
            help="where a data set lies, or which one a task takes",
        )
        return made

    def stored(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument("--storage", default="runs", metavar="URI", help="trials' folders: a path or s3://... (default: runs)")
        made.add_argument("--tracking-uri", metavar="URI", help="MLflow (default: sqlite in the storage)")
        return made

    def on_ray(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument("--address", metavar="ADDRESS", help="a running Ray cluster, or auto; default: this machine alone")
        made.add_argument("--cpus", type=_count, metavar="N", help="processors offered to Ray (default: all)")
        made.add_argument("--gpus", type=int, metavar="N", help="GPUs offered to Ray (default: all)")
        return made

    verb("list", _list, "tasks, architectures, codecs with ladders, recipes, data sets, search spaces")
    stored(over_cells(verb("plan", _plan, "the dry run: cells, trials, what is done, partial, failed and why, missing")))
    on_ray(stored(over_cells(verb("run", _run, "train what is missing, score it under every condition, report to MLflow"))))
    check = on_ray(stored(with_data(verb("check", _check, "are data, codecs, GPUs, Ray, storage and MLflow as they must be?"))))
    check.add_argument("space", metavar="SPACE", nargs="?", help="a search space, to check its data sets and the disk it takes too")
    report = stored(verb("report", _report, "tables from what MLflow holds, on the terminal and as files"))
    report.add_argument("space", metavar="SPACE", nargs="?", help="one study; default: every study that MLflow holds")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _list(options: argparse.Namespace) -> int:
    listing = {
        "schema": SCHEMA,
        "tasks": sorted({architecture.task for architecture in ARCHITECTURES.values()}),
        "architectures": [
            {"architecture": name, "task": value.task, "metric": value.metric, "metrics": dict(value.metrics)}
            for name, value in ARCHITECTURES.items()
        ],
        "codecs": [{"codec": name, "ladder": codec.levels} for name, codec in CODECS.items()],
        "recipes": [
            {"recipe": recipe.name, "codec": recipe.codec, "parents": recipe.parents, "control": recipe.control}
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
    if options.json:
        return _json(listing)
    console = Console()
    for heading, rows in listing.items():
        if heading == "schema":
            continue
        console.print(f"[bold]{heading.replace('_', ' ')}[/bold]")
        for row in rows:  # type: ignore[attr-defined]
            console.print(f"  {row if isinstance(row, str) else _line(row)}", highlight=False, soft_wrap=True)
    return 0


def _line(row: dict[str, Any]) -> str:
    """The name, then what there is to say of it."""
    (_, name), *rest = row.items()
    parts = [f"{key} {' '.join(map(str, value)) if isinstance(value, list | tuple) else value}" for key, value in rest if value]
    return f"{name}: {'; '.join(parts)}"


def _planned(options: argparse.Namespace) -> Plan:
    return make_plan(
        find_space(options.space),
        patterns=options.patterns,
        seeds=options.seeds,
        data=options.data,
        storage=Folder.at(options.storage),
    )


def _plan(options: argparse.Namespace) -> int:
    plan = _planned(options)
    rows: list[dict[str, Any]] = []
    for entry in plan.entries:
        state, trial, folder = plan.state(entry), entry.trial, plan.folder(entry.trial)
        at_hand = state != "no data"
        rows.append(
            {
                "cell": entry.cell.name,
                "architecture": entry.cell.architecture.name,
                "task": entry.cell.architecture.task,
                "codec": entry.cell.recipe.codec,
                "recipe": entry.cell.recipe.name,
                "data_set": entry.cell.dataset,
                "seed": entry.seed,
                "trial": trial.key if at_hand else None,
                "state": state,
                "epochs": trial.epochs if at_hand else None,
                "epochs_done": len(folder.history()) if at_hand else 0,
                "conditions": [str(condition) for condition in entry.conditions],
                "parents": [parent.cell.name for parent in entry.parents],
                "control": entry.control.cell.name if entry.control else None,
                "reason": folder.failure() if state == "failed" else plan.no_data.get(entry.cell.dataset),
            }
        )
    store, needs = default_store(), store_needs(plan)
    predicted = sum(predicted_bytes(store, source, needs[name]) for name, source in plan.sources.items())
    if options.json:
        disk = {"root": str(store.root), "limit_bytes": store.limit, "predicted_bytes": predicted}
        listing = {"schema": SCHEMA, "search_space": plan.space.name, "storage": plan.storage.uri, "store": disk, "trials": rows}
        return _json(listing)
    console = Console(width=max(TABLE_WIDTH, Console().width))
    table = Table(title=f"{plan.space.name}: {plan.space.summary}")
    for heading in ("cell", "seed", "data set", "epochs", "conditions", "state", "trial"):
        table.add_column(heading)
    for row in rows:
        epochs = "?" if row["epochs"] is None else f"{row['epochs_done']}/{row['epochs']}"
        table.add_row(
            row["cell"], str(row["seed"]), row["data_set"], epochs, str(len(row["conditions"])), row["state"], row["trial"] or ""
        )
    console.print(table)
    for reason in sorted(
        {f"{row['cell']}: {row['reason']}" if row["state"] == "failed" else row["reason"] for row in rows if row["reason"]}
    ):
        console.print(reason, soft_wrap=True, markup=False, highlight=False)
    states = [row["state"] for row in rows]
    console.print(f"{len(rows)} trials: " + ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states)))
    takes = f"encoded imagery takes some {decimal(predicted)} of at most {decimal(store.limit)} in {store.root}"
    console.print(takes, soft_wrap=True, highlight=False)
    return 0


def _run(options: argparse.Namespace) -> int:
    from study.run import run
    from study.session import Resources
    from study.tracking import default_uri

    plan = _planned(options)
    console = Console(stderr=options.json)
    uri = options.tracking_uri or default_uri(plan.storage)
    resources = Resources(address=options.address, cpus=options.cpus, gpus=options.gpus)
    outcome = run(plan, tracking_uri=uri, resources=resources, console=console)
    if options.json:
        _json(
            {
                "schema": SCHEMA,
                "search_space": plan.space.name,
                "failed": outcome.failed,
                "missing": outcome.missing,
                "tracking": outcome.untracked or "complete",
            }
        )
    for name, reason in outcome.failed.items():
        console.print(f"failed: {name}: {reason}", soft_wrap=True, markup=False, highlight=False)
    for name, waits in outcome.missing.items():
        console.print(f"missing: {name} {waits}", soft_wrap=True, markup=False, highlight=False)
    if outcome.lost:
        console.print(outcome.lost, soft_wrap=True, markup=False, highlight=False)
    if outcome.untracked:
        console.print(
            f"{outcome.untracked}; the figures are safe in {plan.storage.uri}, run the same command again to repair", soft_wrap=True
        )
    if outcome.exit_code:
        console.print("incomplete: the same command continues where this one ended", highlight=False)
    else:
        console.print(f"complete: {len(plan.entries)} trials; see them with: study report {plan.space.name}", highlight=False)
    return outcome.exit_code


def _check(options: argparse.Namespace) -> int:
    from study.check import Finding, check, versions
    from study.session import Resources

    console, found = Console(stderr=options.json), list[Finding]()
    findings = check(
        find_space(options.space) if options.space else None,
        data=options.data,
        storage=Folder.at(options.storage),
        tracking_uri=options.tracking_uri,
        resources=Resources(address=options.address, cpus=options.cpus, gpus=options.gpus),
        console=console,
    )
    marks = {"ok": "[green]ok     [/green]", "warning": "[yellow]warning[/yellow]", "error": "[red]error  [/red]"}
    for finding in findings:
        found.append(finding)
        if not options.json:
            text = escape(f"{finding.subject}: {finding.line}")
            console.print(f"{marks[finding.state]} {text}", soft_wrap=True, highlight=False)
    if options.json:
        _json({"schema": SCHEMA, "findings": [asdict(finding) for finding in found], "versions": versions()})
    return 1 if any(finding.state == "error" for finding in found) else 0


def _report(options: argparse.Namespace) -> int:
    from analysis.report import report
    from study.tracking import default_uri

    storage = Folder.at(options.storage)
    uri = options.tracking_uri or default_uri(storage)
    folder = (storage.local or Path("runs")) / "report"
    return report(uri, study=options.space, folder=folder, as_json=options.json)


def _json(value: Any) -> int:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
