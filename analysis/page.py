"""A study's report as one self-contained HTML page: no scripts, no fonts, no requests.

`page.html` is the template, which escapes every value; this module computes the values. Figures are inline SVG, pictures of
predictions are data URIs. To add a section, compute its values in `_section` (or `page`) and show them in the template.
"""

import base64
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from matplotlib.image import imread, imsave

from analysis import words
from analysis.figures import Drawing, by_level, by_rate, gains, heat_map
from analysis.paper import TABLE_NOTES
from analysis.provenance import commands, how_made, own_weights, where_from
from analysis.recovery import Study, ordered, select

PICTURE_BYTES = 400_000
"""Largest picture of predictions that is embedded losslessly; larger ones are recompressed at `PICTURE_QUALITY`."""
PICTURE_QUALITY = 80


@dataclass(frozen=True, kw_only=True)
class Page:
    """The HTML page, and all figures to be written beside it."""

    html: str
    drawings: tuple[Drawing, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under headings; line breaks are kept."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Shaded:
    """One field of the train x test matrix: score, shade from 0 (worst) to 1 (best), whether tested at its training level."""

    text: str
    shade: float
    matched: bool


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """The train x test matrix: conditions, and one row of scores per network."""

    conditions: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Shaded, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The part of a section that shows one metric."""

    metric: str
    direction: str
    drawings: tuple[Drawing, ...]
    tables: tuple[Table, ...]
    mildest: tuple[Table, ...]
    matrix: Matrix


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture of predictions as a data URI."""

    title: str
    uri: str
    lossless: bool


@dataclass(frozen=True, kw_only=True)
class Section:
    """One architecture on one data set under one codec."""

    anchor: str
    title: str
    before: tuple[str, ...]
    """Sentences on what compression costs."""
    outcomes: tuple[tuple[str, ...], ...]
    """Sentences on what retraining wins back at the heaviest level, per network."""
    after: tuple[str, ...]
    """Sentences on whether there are enough seeds."""
    primary: Measured
    secondary: tuple[Measured, ...]
    pictures: tuple[Picture, ...]


def page(
    study: Study,
    *,
    recovery: pd.DataFrame,
    matrix: pd.DataFrame,
    beside_paper: pd.DataFrame,
    panels: Mapping[tuple[str, str], bytes],
    tracking_uri: str,
) -> Page:
    """Make the page of a study from its tables. `panels` are PNG bytes by (trial, codec), for the trials that `pictured` names."""
    sections = [
        _section(study, recovery, matrix, panels, architecture, dataset, codec)
        for architecture, dataset, codec in _subjects(matrix)
    ]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((files("analysis") / "page.html").read_text(encoding="utf-8"))
    html = template.render(
        study=study.results.study,
        sections=sections,
        overview=_overview(recovery),
        paper=_paper(beside_paper),
        own_weights=own_weights(study),
        provenance=where_from(study, tracking_uri),
        trained=[how_made(rows) for _, rows in study.trials.groupby(["architecture", "dataset"], sort=False)],
        commands=commands(study.trials, study.results.study),
        glossary=words.GLOSSARY,
        note=words.SCALE_NOTE,
    )
    shown = [drawing for section in sections for measured in (section.primary, *section.secondary) for drawing in measured.drawings]
    matrices = [heat_map(rows) for _, rows in matrix.groupby(["architecture", "dataset", "metric"], sort=False)]
    return Page(html=html, drawings=(*shown, *matrices))


def pictured(study: Study, recovery: pd.DataFrame, matrix: pd.DataFrame) -> set[str]:
    """Keys of the trials whose pictures of predictions the page shows."""
    return {trial for subject in _subjects(matrix) for _, trial in _side_by_side(study, recovery, *subject)}


# --- inside -----------------------------------------------------------------------------------------------------------


def _subjects(matrix: pd.DataFrame) -> Iterator[tuple[str, str, str]]:
    """Architecture, data set and codec of each section; the codec is empty where only clean was tested."""
    for (architecture, dataset), rows in matrix.groupby(["architecture", "dataset"], sort=False):
        for codec in list(dict.fromkeys(codec for codec in rows["codec"] if codec)) or [""]:
            yield str(architecture), str(dataset), str(codec)


def _section(
    study: Study,
    recovery: pd.DataFrame,
    matrix: pd.DataFrame,
    panels: Mapping[tuple[str, str], bytes],
    architecture: str,
    dataset: str,
    codec: str,
) -> Section:
    scores = select(matrix, architecture=architecture, dataset=dataset)
    rows = select(recovery, architecture=architecture, dataset=dataset, codec=codec)
    metrics = list(dict.fromkeys(scores.loc[scores["primary"], "metric"]))
    metrics += [metric for metric in dict.fromkeys(scores["metric"]) if metric not in metrics]
    primary, *secondary = (
        _measured(rows[rows["metric"] == metric], scores[scores["metric"] == metric], codec) for metric in metrics
    )
    of_primary = rows[rows["primary"]]
    answering = words.heaviest(of_primary)
    after = [words.enough(answering)]
    if uneven := words.uneven(scores[scores["primary"]]):
        after.append(uneven)
    if dropped := words.dropped(rows):
        after.append(dropped)
    pictures = [
        _picture(title, panels[trial, codec])
        for title, trial in _side_by_side(study, recovery, architecture, dataset, codec)
        if (trial, codec) in panels
    ]
    return Section(
        anchor="-".join(filter(None, (architecture, dataset, codec))),
        title=f"{architecture} on {dataset}{codec and f', {codec}'}",
        before=tuple(words.fall(scores[scores["primary"]], codec)),
        outcomes=tuple(tuple(words.outcome(row)) for _, row in answering.iterrows()),
        after=tuple(after),
        primary=primary,
        secondary=tuple(secondary),
        pictures=tuple(pictures),
    )


def _measured(rows: pd.DataFrame, scores: pd.DataFrame, codec: str) -> Measured:
    drawings = [by_level(scores, codec)]
    if codec:
        drawings.append(by_rate(scores, codec))
    if not rows.empty:
        drawings.append(gains(rows, codec))
    groups = list(_groups(rows))
    return Measured(
        metric=str(scores["metric"].iloc[0]),
        direction=f"{words.better(scores)} {words.arrow(scores)}",
        drawings=tuple(drawings),
        tables=tuple(_estimands(of_one, caption, "clean") for caption, of_one in groups),
        mildest=tuple(_estimands(of_one, caption, "mildest") for caption, of_one in groups),
        matrix=_matrix(scores),
    )


def _groups(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Captions and rows of tables: one for the matched rows, one for each recipe with several levels."""
    matched = rows[rows["matched"]]
    if not matched.empty:
        yield "Each level after training at that level (matched)", matched
    for cell, of_cell in rows[~rows["cell"].isin(set(matched["cell"]))].groupby("cell", sort=False):
        yield str(cell), of_cell


def _estimands(rows: pd.DataFrame, caption: str, reference: str) -> Table:
    digits = words.decimals(rows[["baseline", "continued", "retrained"]].to_numpy(float))

    def spread(row: "pd.Series[Any]", name: str) -> str:
        deviation = row[f"{name}_sd"]
        return f"{row[name]:.{digits}f}" + ("" if math.isnan(deviation) else f"\n±{deviation:.{digits}f}")

    def share(row: "pd.Series[Any]", name: str) -> str:
        if row["level"] == 0 or (not row[f"{name}_too_small"] and math.isnan(row[name])):
            return ""
        return "small" if row[f"{name}_too_small"] else f"{row[name]:.0%}\n[{row[f'{name}_low']:.0%}, {row[f'{name}_high']:.0%}]"

    return Table(
        caption=caption,
        headings=(
            *(
                "recipe",
                "level",
                "bit/px",
                "baseline\nB",
                "continued\nC",
                "retrained\nR",
                "R - B",
                "C - B",
                "R - C\n[95 %]",
                "p,\nHolm",
            ),
            *("attributable\ngap closed", "gap closed", "share\nof score", "clean\ncost"),
        ),
        rows=tuple(
            (
                str(row["recipe"]),
                str(row["level"] or "clean"),
                "" if math.isnan(row["bits_per_pixel"]) else f"{row['bits_per_pixel']:.2f}",
                *(spread(row, name) for name in ("baseline", "continued", "retrained")),
                *(f"{row[name]:+.{digits}f}" for name in ("total", "longer_training")),
                _points(row, "compression", digits),
                "" if math.isnan(row["p_holm"]) else f"{row['p_holm']:.2g}",
                *(share(row, f"{name}_{reference}") for name in ("attributable_gap_closed", "gap_closed")),
                "" if math.isnan(row["share_of_score"]) else f"{row['share_of_score']:.0%}",
                f"{row['clean_cost']:+.{digits}f}",
            )
            for _, row in rows.iterrows()
        ),
    )


def _points(row: "pd.Series[Any]", name: str, digits: int) -> str:
    """A difference with its interval on the line below."""
    return f"{row[name]:+.{digits}f}\n[{row[f'{name}_low']:+.{digits}f}, {row[f'{name}_high']:+.{digits}f}]"


def _matrix(scores: pd.DataFrame) -> Matrix:
    digits = words.decimals(scores["value"])
    low, high = scores["value"].min(), scores["value"].max()

    def shade(value: float) -> float:
        if math.isnan(value):
            return 0.0
        share = (value - low) / (high - low) if high > low else 0.5
        return float(share if scores["mode"].iloc[0] == "max" else 1 - share)

    conditions = list(dict.fromkeys(scores["condition"]))
    rows = []
    for cell, of_cell in ordered(scores).groupby("cell", sort=False):
        found = {
            row["condition"]: Shaded(text=f"{row['value']:.{digits}f}", shade=shade(row["value"]), matched=bool(row["matched"]))
            for _, row in of_cell.iterrows()
        }
        missing = Shaded(text="", shade=0.0, matched=False)
        rows.append((str(cell), tuple(found.get(condition, missing) for condition in conditions)))
    return Matrix(conditions=tuple(conditions), rows=tuple(rows))


def _overview(recovery: pd.DataFrame) -> Table | None:
    """The results at the heaviest level, one row per retrained network."""
    rows = []
    for (architecture, dataset, codec), of_one in recovery[recovery["primary"]].groupby(
        ["architecture", "dataset", "codec"], sort=False
    ):
        for _, row in words.heaviest(of_one).iterrows():
            digits = words.decimals([row["baseline"], row["continued"], row["retrained"]])
            rows.append(
                (
                    f"{architecture} on {dataset}",
                    f"{row['metric']} {words.arrow(of_one)}",
                    words.condition(str(codec), int(row["level"])),
                    str(row["recipe"]),
                    f"{row['continued']:.{digits}f}",
                    f"{row['retrained']:.{digits}f}",
                    _points(row, "compression", digits).replace("\n", " "),
                    f"{row['clean_cost']:+.{digits}f}",
                    str(row["seeds"]),
                )
            )
    if not rows:
        return None
    headings = ("network", "metric", "at", "recipe", "control", "retrained", "R - C [95 %]", "clean cost", "seeds")
    return Table(caption="At the heaviest level", headings=headings, rows=tuple(rows))


def _paper(rows: pd.DataFrame) -> list[Table]:
    if rows.empty:
        return []
    tables: dict[tuple[str, str, str], Table] = {}
    for (table, architecture, dataset), of_one in rows.groupby(["table", "architecture", "dataset"], sort=False):
        headings, lines = words.beside(of_one)
        caption = f"Table {table} of the paper beside {architecture} on {dataset}"
        tables[str(table), str(architecture), str(dataset)] = Table(caption=caption, headings=headings, rows=tuple(lines))
    last = {key[0]: key for key in tables}  # each note stands once, below the last table that it concerns
    return [replace(made, note=TABLE_NOTES.get(key[0], "")) if last[key[0]] == key else made for key, made in tables.items()]


def _side_by_side(study: Study, recovery: pd.DataFrame, architecture: str, dataset: str, codec: str) -> list[tuple[str, str]]:
    """Titles and trial keys, first seed: the baseline and the network retrained for the heaviest level, where there is one."""
    rows = select(recovery, primary=True, architecture=architecture, dataset=dataset, codec=codec)
    if not rows.empty:
        answering = words.heaviest(rows)
        trained = answering[~answering["recalibrated"]]
        name = (answering if trained.empty else trained)["cell"].iloc[0]
        cell = next(each for each in study.retrained if each.cell == name and each.labels["dataset"] == dataset)
        return [(f"baseline, seed {cell.seeds[0]}", cell.baseline[0]), (f"{name}, seed {cell.seeds[0]}", cell.retrained[0])]
    trials = select(study.trials, architecture=architecture, dataset=dataset)
    baselines = trials[trials["role"] == "baseline"].sort_values("seed")
    return [(f"baseline, seed {row['seed']}", str(trial)) for trial, row in baselines.head(1).iterrows()]


def _picture(title: str, png: bytes) -> Picture:
    pixels = imread(io.BytesIO(png), format="png")

    def webp(**options: int | bool) -> bytes:
        buffer = io.BytesIO()
        imsave(buffer, pixels, format="webp", pil_kwargs=options)
        return buffer.getvalue()

    data = webp(lossless=True)
    lossless = len(data) <= PICTURE_BYTES
    if not lossless:
        data = webp(quality=PICTURE_QUALITY)
    return Picture(title=title, uri=f"data:image/webp;base64,{base64.b64encode(data).decode()}", lossless=lossless)
