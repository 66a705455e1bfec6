"""Prints the paper's gains and quoted figures, computed again from its tables: `python -m analysis.paper [--json]`."""

import argparse
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Any

from analysis.estimands import sign
from analysis.paper.quotes import QUOTES, Checked, check
from analysis.paper.tables import LevelCell, Series, level_cells, paper_series, percent

SCHEMA = 1
WIDTH = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Print cells and quotes as text of at most 120 columns, or as JSON. Returns 0 also where a quote is not reproduced."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.paper", description="The paper's gains and quoted figures, computed again from its tables."
    )
    parser.add_argument("--json", action="store_true", help='print JSON, with "schema": 1')
    options = parser.parse_args(arguments)
    paper = paper_series()
    cells = level_cells(paper)
    checks = [check(quote, paper) for quote in QUOTES]
    if options.json:
        sys.stdout.write(json.dumps(as_json(cells, checks), indent=2, allow_nan=False) + "\n")
    else:
        sys.stdout.write("\n".join([*_cell_lines(cells), *_quote_lines(checks)]) + "\n")
    return 0


def as_json(cells: Sequence[LevelCell], checks: Sequence[Checked]) -> dict[str, Any]:
    """Cells, quotes and counts of verdicts as plain values; ratios are fractions, or None where the gap is too small."""
    return {
        "schema": SCHEMA,
        "reference": "mildest",
        "cells": [
            {
                "table": cell.series.table,
                "task": cell.series.task,
                "architecture": cell.series.architecture,
                "dataset": cell.series.dataset,
                "metric": cell.series.metric,
                "mode": cell.series.mode,
                "codec": cell.series.codec,
                "level": cell.level,
                "baseline": cell.baseline,
                "retrained": cell.retrained,
                "reference": cell.series.reference,
                "points": round(cell.points, cell.series.decimals),
                "gap_closed": None if cell.gap_too_small else cell.gap_closed,
                "gap_closed_low": None if cell.gap_too_small else cell.gap_low,
                "gap_closed_high": None if cell.gap_too_small else cell.gap_high,
                "gap_too_small": cell.gap_too_small,
                "share_of_score": cell.share_of_score,
            }
            for cell in cells
        ],
        "quotes": [
            {
                "section": checked.quote.section,
                "quote": checked.quote.words,
                "claimed": checked.quote.claimed,
                "relation": checked.quote.relation,
                "formula": checked.quote.formula,
                "source": checked.quote.source,
                "value": checked.value,
                "agrees": checked.agrees,
                "verdict": checked.verdict,
                "note": checked.note,
            }
            for checked in checks
        ],
        "counts": dict(Counter(checked.verdict for checked in checks)),
    }


def _cell_lines(cells: Sequence[LevelCell]) -> list[str]:
    lines = [
        "The paper's gains by three definitions. B: baseline, R: retrained at the level; reference: the mildest level.",
        "points = R - B, positive is better; gap closed = (R - B) / (B_ref - B), with the range that rounding of the",
        "printed figures leaves open; share of score = (R - B) / R, or (B - R) / R where lower is better.",
    ]
    names = f"{'B':>8}  {'R':>8}  {'points':>9}  {'gap closed':>18}  {'range by rounding':>22}  {'share of score':>14}"
    header = f"  {'level':>5}  {names}"
    previous = None
    for cell in cells:
        series = cell.series
        if series is not previous:
            lines += ["", _series_line(series), header]
            previous = series
        closed, rounding = "gap too small", ""
        if not cell.gap_too_small:
            closed, rounding = percent(cell.gap_closed), f"[{percent(cell.gap_low)}, {percent(cell.gap_high)}]"
        digits = series.decimals
        lines.append(
            f"  {cell.level:>5}  {cell.baseline:>8.{digits}f}  {cell.retrained:>8.{digits}f}  "
            f"{cell.points:>+9.{digits}f}  {closed:>18}  {rounding:>22}  {percent(cell.share_of_score):>14}"
        )
    return lines


def _series_line(series: Series) -> str:
    direction = "higher" if sign(series.mode) > 0 else "lower"
    return (
        f"Table {series.table}: {series.task}, {series.architecture} on {series.dataset}, {series.metric} "
        f"({direction} is better); reference: {series.codec} {series.mildest}, {series.reference:.{series.decimals}f}"
    )


def _quote_lines(checks: Sequence[Checked]) -> list[str]:
    lines = [
        "",
        "Figures that the text quotes, and whether the tables reproduce them at the quoted number of digits.",
        "COCO: measured mean file sizes of re-encoded COCO val2017; they are in no table of the paper.",
        "",
    ]
    lines.append(f"{'section':<9} {'quote':<50} {'claimed':>13} {'computed':>10}  verdict")
    for checked in checks:
        quote = checked.quote
        relation = "" if quote.relation == "rounds to" else f"{quote.relation} "
        figures = f"{relation + quote.claimed:>13} {_computed(checked):>10}"
        lines.append(f"{quote.section:<9} {quote.words:<50} {figures}  {_verdict(checked)}")
        lines += _wrapped(f"= {quote.formula}" if checked.value is not None else quote.formula)
        lines += _wrapped(checked.note) if checked.note else []
    counts = Counter(checked.verdict for checked in checks)
    sources = Counter(checked.quote.source for checked in checks if checked.verdict == "not from the tables")
    others = ", ".join(f"{source}: {count}" for source, count in sources.items())
    closing = (
        f"{len(checks)} figures: {counts['yes']} follow from the tables, {counts['no']} do not, "
        f"{sources.total()} have other sources ({others})."
    )
    return [*lines, "", closing]


def _computed(checked: Checked) -> str:
    if checked.value is None:
        return "-"
    if checked.quote.claimed.endswith("%"):
        return f"{100 * checked.value:.2f} %"
    return f"{checked.value:.4g}"


def _verdict(checked: Checked) -> str:
    if checked.quote.source == "file sizes":
        return f"{checked.verdict}; sizes: {'yes' if checked.agrees else 'no'}"
    if checked.quote.source == "another paper":
        return "from another paper"
    return checked.verdict


def _wrapped(text: str) -> list[str]:
    # A line must not begin with the percent sign of a number that ends the line above.
    kept = text.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = textwrap.wrap(kept, WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 10)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


if __name__ == "__main__":
    raise SystemExit(main())
