"""Writes the files of results and renders the README from them; see `analysis.published`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.published.blocks import figures, rendered, stale
from analysis.published.files import joined, load, processor, write
from analysis.results import load_export

PROGRAM = "python -m analysis.published"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns 0, or 1 where `readme --check` finds a difference, or 2 after an error of one line."""
    options = _parser().parse_args(arguments)
    try:
        return _export(options) if options.command_name == "export" else _readme(options)
    except ValueError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="The results that the README shows.")
    commands = parser.add_subparsers(dest="command_name", required=True)
    export = commands.add_parser("export", help="write one compact file per task from the reports of studies")
    export.add_argument(
        "exports", nargs="+", metavar="EXPORT", type=Path, help="folder that `study report` wrote; several are joined"
    )
    export.add_argument("folder", metavar="FOLDER", type=Path, help="folder for the files, such as docs/results")
    export.add_argument("--prefix", default="", help="first part of each file's name, such as real-")
    export.add_argument("--processor", help=f"processor that the trials ran on (default: this machine's, {processor()})")
    export.add_argument("--commit", help="commit that the trials ran at (default: as the trials state)")
    export.add_argument("--date", help="date of the results, YYYY-MM-DD (default: when the last trial was scored)")
    help_command = "command that reproduces the file NAME.parquet (default: made from the cells); repeatable"
    export.add_argument("--command", action="append", default=[], metavar="NAME=COMMAND", help=help_command)
    readme = commands.add_parser("readme", help="rewrite the marked blocks of the README, and draw its figures")
    readme.add_argument("names", nargs="*", metavar="NAME", help="blocks to rewrite (default: all)")
    readme.add_argument("--readme", type=Path, default=Path("README.md"))
    readme.add_argument("--results", type=Path, default=Path("docs/results"), help="folder of the files (default: docs/results)")
    readme.add_argument("--check", action="store_true", help="write nothing, and return 1 where a block differs from its file")
    return parser


def _export(options: argparse.Namespace) -> int:
    results = joined({str(path): load_export(path) for path in options.exports})
    by_name = {}
    for given in options.command:
        name, equals, command = given.partition("=")
        if not equals:
            raise ValueError(f"--command {given!r}: expected NAME=COMMAND")
        by_name[name] = command
    stated = {name: value for name in ("processor", "commit", "date") if (value := getattr(options, name)) is not None}
    for path in write(results, options.folder, prefix=options.prefix, origin=stated, by_name=by_name):
        trials = load(path).results.trials
        sys.stdout.write(f"{path}: {len(trials)} trials of {len(results.trials)} in all, {path.stat().st_size:,} bytes\n")
    return 0


def _readme(options: argparse.Namespace) -> int:
    text = options.readme.read_text(encoding="utf-8")
    if options.check:
        differing = stale(text, options.results)
        for name in differing:
            sys.stdout.write(f"{options.readme}: block {name} differs from {options.results / name}.parquet: render it again\n")
        return 1 if differing else 0
    changed = rendered(text, options.results, options.names)
    for path in [options.results / f"{name}.parquet" for name in options.names] or sorted(options.results.glob("*.parquet")):
        for name, drawing in figures(load(path)).items():
            (options.results / name).write_text(drawing.svg, encoding="utf-8")
            sys.stdout.write(f"{options.results / name}: {drawing.title}\n")
    options.readme.write_text(changed, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
