"""The report of a study: tables on the terminal and as CSV and JSON files, figures, an HTML page and a parquet export.

To add a table, add it to `report`. The content of the page is made in `analysis.page`.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from analysis.page import page, pictured
from analysis.paper import TABLE_NOTES, paper_tables
from analysis.provenance import own_weights
from analysis.recovery import Study, beside_paper, matrix, recovery
from analysis.results import export
from analysis.tracking import load, panels, studies
from analysis.words import NO_RECOVERY, SCALE_NOTE, SIGNIFICANT, beside, better, dropped

SCHEMA = 1
TABLE_WIDTH = 180
"""Table width in characters. A narrower terminal wraps lines, which stays more legible than squeezed columns."""


def report(tracking_uri: str, *, study: str | None, folder: Path, as_json: bool) -> int:
    """Write and show the report of one study, or of every study in MLflow. Raises ValueError where there is none."""
    names = [study] if study else studies(tracking_uri)
    if not names:
        raise ValueError(f"MLflow at {tracking_uri} holds no finished trial: run a study first")
    found = {}
    for name in names:
        arranged = Study(load(tracking_uri, name))
        tables = {
            "recovery": recovery(arranged),
            "matrix": matrix(arranged),
            "beside_paper": beside_paper(arranged, paper_tables()),
        }
        target = folder / name
        _write(target, arranged, tables, tracking_uri)
        found[name] = {label: _records(table) for label, table in tables.items()}
        (target / "report.json").write_text(json.dumps({"schema": SCHEMA, "study": name, **found[name]}, indent=1))
        if not as_json:
            console = Console(width=max(TABLE_WIDTH, Console().width))
            show(console, name, **tables)
            for line in own_weights(arranged):
                console.print(line, highlight=False, markup=False, soft_wrap=True)
            console.print(f"Complete tables: {target}", highlight=False, soft_wrap=True)
            console.print(f"Page: {target / 'report.html'}", highlight=False, soft_wrap=True)
    if as_json:
        sys.stdout.write(json.dumps({"schema": SCHEMA, "studies": found}, indent=1) + "\n")
    return 0


def _write(target: Path, study: Study, tables: dict[str, pd.DataFrame], tracking_uri: str) -> None:
    """Write the files of one study: tables, parquet export, figures, page."""
    export(study.results, target)
    for label, table in tables.items():
        table.to_csv(target / f"{label}.csv", index=False)
    wanted = pictured(study, tables["recovery"], tables["matrix"])
    pictures = panels(tracking_uri, study.results.study, wanted)
    made = page(study, panels=pictures, tracking_uri=tracking_uri, **tables)
    (target / "figures").mkdir(exist_ok=True)
    for drawing in made.drawings:
        (target / "figures" / f"{drawing.name}.svg").write_text(drawing.svg, encoding="utf-8")
    (target / "report.html").write_text(made.html, encoding="utf-8")


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values for JSON; NaN and infinite values become None."""
    return [
        {str(name): None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in json.loads(table.to_json(orient="records", double_precision=15))
    ]


def show(console: Console, study: str, *, recovery: pd.DataFrame, matrix: pd.DataFrame, beside_paper: pd.DataFrame) -> None:
    """Print a study: matched levels, mixed recipes and the matrix per architecture, then the paper's tables beside ours."""
    primary = recovery[recovery["primary"]]
    for (architecture, dataset, codec), rows in primary.groupby(["architecture", "dataset", "codec"], sort=False):
        seeds = int(rows["seeds"].max())
        console.rule(f"{study}: {architecture} on {dataset}, {rows['metric'].iloc[0]} ({better(rows)}), seeds: {seeds}")
        matched = rows[rows["matched"]]
        if not matched.empty:
            console.print(_estimands(matched, f"{codec}: each level after training at that level (matched)"))
        mixed = rows[~rows["cell"].isin(set(matched["cell"]))]
        for cell, of_cell in mixed.groupby("cell", sort=False):
            console.print(_estimands(of_cell, str(cell)))
        of_architecture = matrix[(matrix["architecture"] == architecture) & (matrix["dataset"] == dataset) & matrix["primary"]]
        console.print(_matrix(of_architecture))
        one_seed = " (one seed, which says nothing about other seeds: use --seeds 3)" if seeds == 1 else ""
        console.print(
            f"R - B = (C - B) + (R - C): total = longer training + compression in training. Intervals: 95 % of R - C, "
            f"{rows['interval'].iloc[0]!r}{one_seed}; * Holm-adjusted p < {SIGNIFICANT} over the task's coded conditions. "
            "attributable = (R - C) / (C_clean - C), gap closed = (R - B) / (B_clean - B), share = (R - B) / R, clean cost = "
            f"R - C on clean; 'small': the gap cannot be distinguished from zero. {SCALE_NOTE}",
            highlight=False,
        )
        if left_out := dropped(rows):
            console.print(left_out, highlight=False, markup=False)
    shown = set(zip(primary["architecture"], primary["dataset"], strict=True))
    for (architecture, dataset), rows in matrix[matrix["primary"]].groupby(["architecture", "dataset"], sort=False):
        if (architecture, dataset) not in shown:
            console.rule(f"{study}: {architecture} on {dataset}, {rows['metric'].iloc[0]} ({better(rows)}), scores only")
            console.print(_matrix(rows))
            console.print(NO_RECOVERY, highlight=False)
    for table, of_table in beside_paper.groupby("table", sort=False):
        for (architecture, dataset), rows in of_table.groupby(["architecture", "dataset"], sort=False):
            headings, lines = beside(rows)
            printed = _table(f"Table {table} of the paper beside {architecture} on {dataset} (other data, another scale)", headings)
            for line in lines:
                printed.add_row(*line)
            console.print(printed)
        if table in TABLE_NOTES:
            console.print(TABLE_NOTES[str(table)], highlight=False)


def _estimands(rows: pd.DataFrame, title: str) -> Table:
    headings = ["recipe", "level", "bit/px", "baseline", "continued", "retrained", "R - B", "C - B", "R - C", "95 %"]
    table = _table(title, [*headings, "attributable", "gap closed", "share", "clean cost"])
    for _, row in rows.iterrows():
        star = "*" if row["p_holm"] < SIGNIFICANT else " "
        table.add_row(
            str(row["recipe"]),
            "clean" if row["level"] == 0 else str(row["level"]),
            "" if math.isnan(row["bits_per_pixel"]) else f"{row['bits_per_pixel']:.2f}",
            *(_spread(row, name) for name in ("baseline", "continued", "retrained")),
            f"{row['total']:+.3f}",
            f"{row['longer_training']:+.3f}",
            f"{row['compression']:+.3f}{star}",
            f"[{row['compression_low']:+.3f}, {row['compression_high']:+.3f}]",
            _percent(row, "attributable_gap_closed_clean"),
            _percent(row, "gap_closed_clean"),
            f"{row['share_of_score']:.0%}",
            f"{row['clean_cost']:+.3f}",
        )
    return table


def _table(title: str, headings: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="left" if heading in {"cell", "metric", "recipe"} else "right")
    return table


def _spread(row: pd.Series, name: str) -> str:
    deviation = row[f"{name}_sd"]
    return f"{row[name]:.3f}" + ("" if math.isnan(deviation) else f" ±{deviation:.3f}")


def _percent(row: pd.Series, name: str) -> str:
    """A ratio in percent; its interval is in the files only."""
    if row["level"] == 0:
        return ""
    return "small" if row[f"{name}_too_small"] else f"{row[name]:.0%}"


def _matrix(rows: pd.DataFrame) -> Table:
    """The train x test matrix: networks in rows, conditions in columns."""
    conditions = list(dict.fromkeys(rows["condition"]))
    table = _table("trained (row) x tested (column)", ["cell", *conditions])
    for cell, of_cell in rows.groupby("cell", sort=False):
        values = dict(zip(of_cell["condition"], of_cell["value"], strict=True))
        table.add_row(str(cell), *(f"{values[condition]:.3f}" if condition in values else "" for condition in conditions))
    return table
