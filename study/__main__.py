"""The command line: `study VERB`. Errors of use are one line on standard error and exit code 2."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape

from search_spaces import SPACES
from study.cells import find_space, find_target
from study.overview import SCHEMA, disk, listing, listing_text, plan_rows, plan_text
from study.plan import Plan, make_plan
from trainables import Folder, launched_from

if TYPE_CHECKING:
    from study.run import Outcome

WATCH_SECONDS = 3.0
TABLE_WIDTH = 110
"""Width of the plan in characters; narrower terminals wrap its lines, which loses less than squeezed columns."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb. Returns 0 complete, 1 incomplete, 2 usage error, 130 interrupted."""
    options = _parser().parse_args(arguments)
    launched_from(str(Path.cwd()))
    try:
        return int(options.verb(options))
    except (ValueError, OSError) as error:
        Console(stderr=True).print(f"study: {error}", soft_wrap=True, markup=False, highlight=False)
        return 2 if isinstance(error, ValueError) else 1
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
        made.add_argument("space", metavar="SPACE", help=f"search space: {', '.join(SPACES)}, or your own as package.module:NAME")
        made.add_argument("patterns", metavar="PATTERN", nargs="*", help="cells to select, e.g. 'segnet/jpeg/*' (default: all)")
        with_data(made)
        made.add_argument(
            "--also",
            action="append",
            default=[],
            metavar="PATTERN",
            help="add cells that the space leaves out, e.g. 'segnet/jpeg/ramp'",
        )
        made.add_argument(
            "--epochs",
            type=_count,
            metavar="N",
            help="train for at most N epochs, for a first try; the study is then named SPACE-N-epochs",
        )
        made.add_argument("--seeds", type=_count, metavar="N", help="run every cell with seeds 0..N-1")
        made.add_argument(
            "--baseline",
            action="append",
            default=[],
            metavar="WEIGHTS",
            help="your own trained weights in place of the baseline; ARCHITECTURE=WEIGHTS where the plan has several architectures",
        )
        return made

    def with_data(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument(
            "--data",
            action="append",
            default=[],
            metavar="NAME=PATH|TASK=NAME",
            help="path of a data set, or the data set of a task",
        )
        return made

    def stored(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument(
            "--storage", default="runs", metavar="URI", help="where trials are stored: a path or s3://... (default: runs)"
        )
        made.add_argument("--tracking-uri", metavar="URI", help="MLflow tracking store (default: SQLite in the storage)")
        return made

    def on_ray(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument(
            "--address", metavar="ADDRESS", help="address of a running Ray cluster, or auto (default: this machine alone)"
        )
        made.add_argument("--cpus", type=_count, metavar="N", help="CPUs offered to Ray (default: all)")
        made.add_argument("--gpus", type=_natural, metavar="N", help="GPUs offered to Ray (default: all)")
        return made

    verb("list", _list, "list tasks, architectures, codecs with ladders, schedules, recipes, data sets and search spaces")
    plan = stored(
        over_cells(verb("plan", _plan, "dry run: trials, disk use, and what is done, running, failed (and why) or missing"))
    )
    plan.add_argument("--watch", action="store_true", help="refresh every few seconds until everything is done")
    on_ray(stored(over_cells(verb("run", _run, "train what is missing, score it under every condition, report to MLflow"))))
    evaluate = on_ray(stored(with_data(verb("evaluate", _evaluate, "score your own weights at every level of a codec"))))
    evaluate.add_argument(
        "target", metavar="ARCHITECTURE[/CODEC]", help="architecture of the weights, and the codec if not the space's first"
    )
    evaluate.add_argument("weights", metavar="WEIGHTS", help="weights file written by torch.save: the network's state_dict")
    evaluate.add_argument(
        "--space", default="paper", metavar="SPACE", help="search space that gives hyper-parameters and data set (default: paper)"
    )
    check = on_ray(stored(with_data(verb("check", _check, "check that data, codecs, GPUs, Ray, storage and MLflow are ready"))))
    check.add_argument(
        "target",
        metavar="SPACE",
        nargs="?",
        help="search space, to check its data sets and disk use too; or package.module:ARCHITECTURE, to try your own",
    )
    report = stored(verb("report", _report, "tables, figures and a page from the results in MLflow, on the terminal and as files"))
    report.add_argument("space", metavar="SPACE", nargs="?", help="study to report (default: every study in MLflow)")
    return parser


def _count(text: str) -> int:
    return _natural(text, least=1)


def _natural(text: str, least: int = 0) -> int:
    if not text.isdecimal() or int(text) < least:
        raise argparse.ArgumentTypeError(f"expected an integer >= {least}, got {text!r}")
    return int(text)


def _list(options: argparse.Namespace) -> int:
    listed = listing()
    if options.json:
        return _json(listed)
    Console().print(listing_text(listed), highlight=False, soft_wrap=True)
    return 0


def _planned(options: argparse.Namespace) -> Plan:
    return make_plan(
        find_space(options.space),
        patterns=options.patterns,
        seeds=options.seeds,
        data=options.data,
        baselines=options.baseline,
        also=options.also,
        epochs=options.epochs,
        storage=Folder.at(options.storage),
    )


def _plan(options: argparse.Namespace) -> int:
    plan = _planned(options)
    plan.grow()
    encoded = disk(plan)
    if options.json:
        head = {"schema": SCHEMA, "search_space": plan.space.name, "storage": plan.storage.uri, "store": encoded}
        return _json({**head, "trials": plan_rows(plan)})
    console = Console(width=max(TABLE_WIDTH, Console().width))
    if not options.watch:
        console.print(plan_text(plan, plan_rows(plan), encoded), highlight=False, soft_wrap=True)
        return 0
    with Live(console=console, auto_refresh=False) as live:
        while True:
            plan.grow()
            rows = plan_rows(plan)
            live.update(plan_text(plan, rows, encoded), refresh=True)
            if all(row["state"] in {"done", "failed", "no data"} for row in rows):
                return 0
            time.sleep(WATCH_SECONDS)


def _run(options: argparse.Namespace) -> int:
    plan, console = _planned(options), Console(stderr=options.json)
    outcome = _launched(plan, options, console)
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
    if outcome.exit_code:
        console.print("incomplete: run the same command again to continue", highlight=False)
    else:
        console.print(
            f"complete: {len(plan.entries)} trials; see the results with: study report {plan.space.name}", highlight=False
        )
    return outcome.exit_code


def _evaluate(options: argparse.Namespace) -> int:
    from study.evaluate import evaluation_plan, scores, scores_text

    plan = evaluation_plan(
        options.target, options.weights, space=find_space(options.space), data=options.data, storage=Folder.at(options.storage)
    )
    outcome = _launched(plan, options, Console(stderr=True))
    rows = scores(plan)
    if options.json:
        _json({"schema": SCHEMA, "target": options.target, "weights": plan.entries[0].initial, "scores": rows})
    else:
        Console(width=max(TABLE_WIDTH, Console().width)).print(scores_text(plan, rows))
    return outcome.exit_code


def _launched(plan: Plan, options: argparse.Namespace, console: Console) -> "Outcome":
    """Run a plan with the given options, and print what failed or is missing."""
    from study.cluster import Resources
    from study.run import run
    from study.tracking import default_uri

    uri = options.tracking_uri or default_uri(plan.storage)
    resources = Resources(address=options.address, cpus=options.cpus, gpus=options.gpus)
    outcome = run(plan, tracking_uri=uri, resources=resources, console=console)
    for name, reason in outcome.failed.items():
        console.print(f"failed: {name}: {reason}", soft_wrap=True, markup=False, highlight=False)
    for name, waits in outcome.missing.items():
        console.print(f"missing: {name}{waits and ', '}{waits}", soft_wrap=True, markup=False, highlight=False)
    if outcome.lost:
        console.print(outcome.lost, soft_wrap=True, markup=False, highlight=False)
    if outcome.untracked:
        console.print(
            f"{outcome.untracked}; all results are in {plan.storage.uri}, run the same command again to report them", soft_wrap=True
        )
    return outcome


def _check(options: argparse.Namespace) -> int:
    from study.check import check, versions
    from study.check.findings import Finding
    from study.cluster import Resources

    console, found = Console(stderr=options.json), list[Finding]()
    findings = check(
        find_target(options.target) if options.target else None,
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
