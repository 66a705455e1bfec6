"""The paper's tables as data, and its arithmetic done again: `python -m analysis.paper [--json]`.

The paper is Poyser, Atapour-Abarghouei and Breckon (2020), "On the Impact of Lossy Image and Video Compression on the
Performance of Deep Convolutional Neural Network Architectures". `paper_tables.csv` holds its Tables I to V as printed,
to the last digit: tables A are the baseline tested at each level ("pretrained"), tables B the network retrained at that
level, mildest level first. At the mildest level nothing was retrained: both tables hold one figure, the reference.

The command prints every other level by the three definitions of a gain (points, gap closed, share of score), then every
figure that the paper's text quotes with the formula by which it comes out of the tables, if it does. Verdicts are
computed. To add a quote, add a `Quote` to `QUOTES`: its `value` is a function of the tables, its `claimed` the figure.
Where the text names no number ("retraining decreases performance") `claimed` counts the cases that would have to hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise, product
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis.estimands import Mode, gap_closed, share_of_score, sign, total

Condition = Literal["pretrained", "retrained"]
Relation = Literal["rounds to", "at most", "below", "above"]
Source = Literal["tables", "file sizes", "another paper", "judgement"]
Verdict = Literal["yes", "no", "not from the tables"]

SCHEMA = 1
WIDTH = 120

# The metric by which a statement about a whole task is read.
PRIMARY: Mapping[str, str] = {
    "segmentation": "miou",
    "depth": "rmse",
    "detection": "map",
    "pose": "oks_map",
    "action": "top1_fusion",
}

IN_PERCENT = frozenset({"top1_spatial", "top1_motion", "top1_fusion"})
"""Metrics that the paper prints in percent, the others as fractions."""

TABLE_NOTES: Mapping[str, str] = {
    "III": "The paper's mAP is in all likelihood VOC 2007's 11-point average precision at IoU 0.5, voc07_ap50 here; map is COCO's.",
    "IV": "oks_map is at the published joint confidence of 0.1, oks_map_tuned at the one that is best on validation at each level, "
    "for each network: the paper's own suggestion (section IV-D).",
    "V": "The paper's row at CRF 23 does not belong with those below it: from 23 to 25, which hardly changes a frame, its motion "
    "stream falls from 70.1 to 44.9 % and its spatial stream not at all. Most likely the flow of that row was extracted in another "
    "way. Here one extractor serves every level and the source. Read the paper's losses in motion and fusion from 25 on.",
}
"""What a reader must know before he compares with a table: by its number."""

# Mean file size in KB of COCO val2017 re-encoded at each JPEG quality: a measurement, not a figure of the paper, which
# does not say on which images its storage figures were taken.
COCO_KILOBYTES: Mapping[int, float] = {95: 160.9, 75: 62.1, 50: 40.7, 15: 18.0, 10: 13.9, 5: 9.3}


# --- the tables -------------------------------------------------------------------------------------------------------


def paper_tables() -> pd.DataFrame:
    """Tables I to V of the paper, one row per printed figure: 126 rows, in the order of the file.

    Columns: `table` (IA ... VB), `task`, `architecture`, `dataset`, `metric`, `better` (higher / lower), `codec`,
    `level` (int: JPEG quality or H.264 CRF), `condition` (pretrained / retrained), `value` (float: a fraction, or
    percent for the top-1 accuracies, as printed; depth errors in the paper's unstated unit).
    """
    return _printed().assign(value=lambda frame: frame["value"].astype(float))


def _printed() -> pd.DataFrame:
    """The same with `value` as text: the digits say how finely a figure was rounded."""
    with (files("analysis") / "paper_tables.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"level": int, "value": str})


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric of one table: its figures by level, before and after retraining, mildest level first."""

    table: str
    task: str
    architecture: str
    dataset: str
    metric: str
    mode: Mode
    codec: str
    decimals: int
    pretrained: Mapping[int, float]
    retrained: Mapping[int, float]

    @property
    def levels(self) -> tuple[int, ...]:
        """The ladder, mildest first."""
        return tuple(self.pretrained)

    @property
    def mildest(self) -> int:
        """The reference level, at which nothing was retrained."""
        return self.levels[0]

    @property
    def harder(self) -> tuple[int, ...]:
        """The levels beyond the reference."""
        return self.levels[1:]

    @property
    def reference(self) -> float:
        """The baseline's score at the mildest level."""
        return self.pretrained[self.mildest]

    def scores(self, condition: Condition) -> Mapping[int, float]:
        """Table A's figures or table B's, by level."""
        return self.pretrained if condition == "pretrained" else self.retrained

    def loss(self, condition: Condition, level: int) -> float:
        """What is lost since the reference as a fraction of the reference, positive is worse: the text's "drop"."""
        return float(total(self.reference, self.scores(condition)[level], self.mode)) / self.reference

    def steepest_beyond(self, level: int) -> bool:
        """Whether the baseline loses more per unit of level in every step beyond `level` than in any step before it.

        Per unit, since a ladder's steps differ: from JPEG 50 to 15 is seven times as far as from 15 to 10.
        """
        slopes = {
            harder: float(total(self.pretrained[milder], self.pretrained[harder], self.mode)) / abs(harder - milder)
            for milder, harder in pairwise(self.levels)
        }
        beyond = self.levels[self.levels.index(level) + 1 :]
        return min(slopes[q] for q in beyond) > max(slope for q, slope in slopes.items() if q not in beyond)


Paper = Mapping[str, Series]  # by metric: no metric occurs in two tables


def paper_series() -> Paper:
    """The tables by metric, each table's A and B joined. A metric's name occurs in one table only."""
    printed = _printed()
    joined = {}
    for metric, rows in printed.groupby("metric", sort=False):
        first = rows.iloc[0]
        figures = {
            str(condition): {int(q): float(v) for q, v in zip(half["level"], half["value"], strict=True)}
            for condition, half in rows.groupby("condition", sort=False)
        }
        joined[str(metric)] = Series(
            table=str(first["table"]).removesuffix("A"),
            task=str(first["task"]),
            architecture=str(first["architecture"]),
            dataset=str(first["dataset"]),
            metric=str(metric),
            mode="max" if first["better"] == "higher" else "min",
            codec=str(first["codec"]),
            decimals=len(str(first["value"]).partition(".")[2]),
            pretrained=figures["pretrained"],
            retrained=figures["retrained"],
        )
    return joined


# --- every level by the three definitions -----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LevelCell:
    """One metric at one level beyond the mildest, by the three definitions; reference: the mildest level.

    `gap_low` and `gap_high` are what the gap closed may be, given that each printed figure may be off by half a unit in
    its last place. They and `gap_closed` are NaN where `gap_too_small`: where that leaves open whether there is a gap.
    """

    series: Series
    level: int
    baseline: float
    retrained: float
    points: float
    gap_closed: float
    gap_low: float
    gap_high: float
    gap_too_small: bool
    share_of_score: float


def level_cells(paper: Paper) -> tuple[LevelCell, ...]:
    """All cells in the order of the tables: 52 of 63 pairs, the 11 at the mildest level being the reference."""
    return tuple(_level_cell(series, level) for series in paper.values() for level in series.harder)


def _level_cell(series: Series, level: int) -> LevelCell:
    baseline, retrained = series.pretrained[level], series.retrained[level]
    # the printed figures are whole numbers of units, so this is exact; the gap's rounding is +- one unit
    gap_too_small = abs(round((series.reference - baseline) * 10**series.decimals)) <= 1
    closed = low = high = float("nan")
    if not gap_too_small:
        closed = float(gap_closed(retrained, baseline, series.reference, series.mode))
        # the ratio is monotone in each figure while the others stay, so its extremes are at corners of the box
        half = 0.5 * 10**-series.decimals
        printed = np.array([retrained, baseline, series.reference])
        after, before, reference = (printed + np.array(list(product((-half, half), repeat=3)))).T
        ratios = gap_closed(after, before, reference, series.mode)
        low, high = float(ratios.min()), float(ratios.max())
    return LevelCell(
        series=series,
        level=level,
        baseline=baseline,
        retrained=retrained,
        points=float(total(retrained, baseline, series.mode)),
        gap_closed=closed,
        gap_low=low,
        gap_high=high,
        gap_too_small=gap_too_small,
        share_of_score=float(share_of_score(retrained, baseline, series.mode)),
    )


# --- what the text quotes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A figure of the paper's text.

    `section` and `words` say where it stands, `claimed` is the figure ("78.4 %", "0.0600", or a count of cases),
    `formula` says in words what `value` computes (as a fraction where `claimed` is in percent), and `relation` how the
    two must stand for the quote to come out. A quote whose `source` is not "tables" has no verdict of its own; `value`
    may still be computed for it, or be absent. `note` computes something worth printing beside it.
    """

    section: str
    words: str
    claimed: str
    formula: str
    value: Callable[[Paper], float] | None = None
    relation: Relation = "rounds to"
    source: Source = "tables"
    note: Callable[[Paper], str] | None = None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A quote beside what was computed: `agrees` says whether the relation holds, None where nothing is computed."""

    quote: Quote
    value: float | None
    agrees: bool | None
    note: str

    @property
    def verdict(self) -> Verdict:
        """Whether the figure comes out of the tables."""
        if self.quote.source != "tables" or self.agrees is None:
            return "not from the tables"
        return "yes" if self.agrees else "no"


def check(quote: Quote, paper: Paper) -> Checked:
    """Compute the quote's formula and compare."""
    note = quote.note(paper) if quote.note else ""
    if quote.value is None:
        return Checked(quote=quote, value=None, agrees=None, note=note)
    value = float(quote.value(paper))
    return Checked(quote=quote, value=value, agrees=_holds(value, quote.relation, quote.claimed), note=note)


def _holds(value: float, relation: Relation, claimed: str) -> bool:
    """Compare as printed: a percentage in percent, rounded to as many digits as the claim has."""
    number = claimed.removesuffix(" %")
    scaled = value * 100 if number != claimed else value
    if relation == "rounds to":
        return f"{scaled:.{len(number.partition('.')[2])}f}" == number
    if relation == "at most":
        return scaled <= float(number)
    return scaled < float(number) if relation == "below" else scaled > float(number)


def _loss(metric: str, condition: Condition, level: int) -> Callable[[Paper], float]:
    return lambda paper: paper[metric].loss(condition, level)


def _score(metric: str, condition: Condition, level: int) -> Callable[[Paper], float]:
    return lambda paper: paper[metric].scores(condition)[level]


def _primary(paper: Paper, codec: str | None = None) -> tuple[Series, ...]:
    return tuple(paper[m] for m in PRIMARY.values() if codec in (None, paper[m].codec))


def _largest_share(paper: Paper) -> LevelCell:
    return max(level_cells(paper), key=lambda cell: cell.share_of_score)


def _where(cell: LevelCell) -> str:
    return f"{cell.series.task} {cell.series.metric} at {cell.series.codec} {cell.level}"


def _note_largest_share(paper: Paper) -> str:
    cells = sorted(level_cells(paper), key=lambda cell: -cell.share_of_score)
    best, second = cells[0], cells[1]
    closed = max((c for c in cells if not c.gap_too_small), key=lambda cell: cell.gap_closed)
    return (
        f"it is {_where(best)}, where the gap closed is {_percent(best.gap_closed)}; next {_where(second)}, "
        f"{_percent(second.share_of_score)}; the largest gap closed is {_percent(closed.gap_closed)}, {_where(closed)}"
    )


def _note_rmse_at_5(paper: Paper) -> str:
    cell = next(c for c in level_cells(paper) if (c.series.metric, c.level) == ("rmse", 5))
    return (
        f"share of the baseline's error; at jpeg 5 the share of score is {_percent(cell.share_of_score)}, "
        f"the gap closed {_percent(cell.gap_closed)}"
    )


def _error_removed(metric: str) -> Callable[[Paper], float]:
    """The largest (B - R) / B over the levels: the definition behind the paper's "20 %"."""

    def value(paper: Paper) -> float:
        series = paper[metric]
        gains = (float(total(series.retrained[q], b, series.mode)) / b for q, b in series.pretrained.items())
        return max(gains)

    return value


def _note_below_09(paper: Paper) -> str:
    first = next(q for q, score in paper["global_accuracy"].retrained.items() if score < 0.9)
    return f"the first level below 0.9 is {first}, at {paper['global_accuracy'].retrained[first]}"


def _as_lossy_as(metric: str, level: int) -> Callable[[Paper], float]:
    """The level at which the retrained network's loss is nearest to the baseline's at `level`."""
    return lambda paper: min(
        paper[metric].levels,
        key=lambda q: abs(paper[metric].loss("retrained", q) - paper[metric].loss("pretrained", level)),
    )


def _hardest_within(metric: str, loss: float) -> Callable[[Paper], float]:
    """The hardest level up to which the retrained network never loses more than `loss`."""

    def value(paper: Paper) -> float:
        series = paper[metric]
        exceeded = [q for q in series.levels if series.loss("retrained", q) > loss]
        return series.levels[series.levels.index(exceeded[0]) - 1] if exceeded else series.levels[-1]

    return value


def _gains(series: Series, level: int) -> bool:
    return float(total(series.retrained[level], series.pretrained[level], series.mode)) > 0


def _note_gains(paper: Paper) -> str:
    streams = (s for s in paper.values() if s.task == "action")
    counts = (f"{s.metric} {sum(_gains(s, q) for q in s.harder)} of {len(s.harder)}" for s in streams)
    return f"levels at which retraining gains: {', '.join(counts)}"


def _note_cells_gained(paper: Paper) -> str:
    cells = level_cells(paper)
    return f"cells in which retraining gains: {sum(cell.points > 0 for cell in cells)} of {len(cells)}"


def _smallest_loss_beyond_mildest(series: Series) -> float:
    return min(series.loss("retrained", q) for q in series.harder)


def _safe_at_85(paper: Paper) -> float:
    """Tasks whose retrained network loses at most 10 %: at JPEG 15, and for video at any CRF beyond the mildest."""
    stills = [s.loss("retrained", 15) for s in _primary(paper, "jpeg")]
    videos = [_smallest_loss_beyond_mildest(s) for s in _primary(paper, "h264")]
    return sum(loss <= 0.1 for loss in (*stills, *videos))


def _note_safe_at_85(paper: Paper) -> str:
    action = paper[PRIMARY["action"]]
    worst = max(s.loss("retrained", 15) for s in _primary(paper, "jpeg"))
    least = _smallest_loss_beyond_mildest(action)
    return f"largest loss at jpeg 15: {_percent(worst)}; smallest loss of {action.metric} at any CRF: {_percent(least)}"


def _note_crf_slope(paper: Paper) -> str:
    series = paper[PRIMARY["action"]]
    steps = (
        f"{a} to {b}: {float(total(series.pretrained[a], series.pretrained[b], series.mode)) / abs(b - a):.2f}"
        for a, b in pairwise(series.levels)
    )
    return f"points of {series.metric} lost per unit of CRF, {', '.join(steps)}"


def _note_lost_at_15(paper: Paper) -> str:
    losses = (f"{s.task} {_percent(s.loss('pretrained', 15))}" for s in _primary(paper, "jpeg"))
    return f"lost at 15 itself: {', '.join(losses)}"


def _note_streams_at_50(paper: Paper) -> str:
    streams = (s for s in paper.values() if s.task == "action")
    losses = (f"{s.metric} {', '.join(_percent(s.loss('pretrained', q)) for q in s.harder)}" for s in streams)
    return f"lost at CRF 25, 30, 40, 50: {'; '.join(losses)}"


def _times_smaller(level: int) -> float:
    return COCO_KILOBYTES[95] / COCO_KILOBYTES[level]


STEEPER = "the loss per unit of level is larger in every step beyond it than in any before"

QUOTES: tuple[Quote, ...] = (
    Quote(
        section="abstract",
        words="decreases significantly below a JPEG ... 15%",
        claimed="4",
        formula=f"JPEG tasks of 4 (primary metric) in which, from 15, {STEEPER}",
        value=lambda paper: sum(s.steepest_beyond(15) for s in _primary(paper, "jpeg")),
        note=_note_lost_at_15,
    ),
    Quote(
        section="abstract",
        words="a H.264 Constant Rate Factor (CRF) of 40",
        claimed="1",
        formula=f"video tasks of 1 (fusion) in which, from CRF 40, {STEEPER}",
        value=lambda paper: sum(s.steepest_beyond(40) for s in _primary(paper, "h264")),
        note=_note_crf_slope,
    ),
    Quote(
        section="abstract",
        words="recovers network performance by up to 78.4%",
        claimed="78.4 %",
        formula="share of score (R - B) / R, its maximum over all 52 cells",
        value=lambda paper: _largest_share(paper).share_of_score,
        note=_note_largest_share,
    ),
    Quote(
        section="II",
        words="performance drops only for JPEG quality < 10",
        claimed="10",
        relation="below",
        formula="of Dodge and Karam [5]",
        source="another paper",
    ),
    Quote(
        section="II",
        words="as much as 59% performance increase",
        claimed="59 %",
        formula="of Zanjani et al. [17]",
        source="another paper",
    ),
    Quote(
        section="II",
        words="levelling off when 75% of MV are corrupted",
        claimed="75 %",
        formula="of Tom et al. [19]",
        source="another paper",
    ),
    Quote(
        section="II",
        words="sudden performance degradation around 128kbps",
        claimed="128",
        formula="of Klare and Burge [7]",
        source="another paper",
    ),
    Quote(
        section="III",
        words="tested six times",
        claimed="6",
        formula="levels of every JPEG table",
        value=lambda paper: min(len(s.levels) for s in paper.values() if s.codec == "jpeg"),
    ),
    Quote(
        section="III",
        words="retrained ... at each of the five higher levels",
        claimed="5",
        formula="levels beyond the mildest, the fewest of any table",
        value=lambda paper: min(len(s.harder) for s in paper.values()),
        note=lambda paper: ", ".join(
            f"{codec}: {min(len(s.harder) for s in paper.values() if s.codec == codec)}"
            for codec in dict.fromkeys(s.codec for s in paper.values())
        ),
    ),
    Quote(
        section="IV-A",
        words="global accuracy reduce by 14%",
        claimed="14 %",
        formula="(B_95 - B_5) / B_95, global accuracy",
        value=_loss("global_accuracy", "pretrained", 5),
    ),
    Quote(
        section="IV-A",
        words="down to 78.2%",
        claimed="78.2 %",
        formula="B_5, global accuracy",
        value=_score("global_accuracy", "pretrained", 5),
    ),
    Quote(
        section="IV-A",
        words="95% less storage cost on average per input image",
        claimed="95 %",
        formula="1 - size at 5 / size at 95, COCO",
        value=lambda _: 1 - 1 / _times_smaller(5),
        source="file sizes",
    ),
    Quote(
        section="IV-A",
        words="performance loss is reduced to 3.5%",
        claimed="3.5 %",
        formula="(B_95 - R_5) / B_95, global accuracy",
        value=_loss("global_accuracy", "retrained", 5),
    ),
    Quote(
        section="IV-A",
        words="level of 5, ... narrowly dropping below 0.9",
        claimed="0.9",
        relation="below",
        formula="R_5, global accuracy",
        value=_score("global_accuracy", "retrained", 5),
        note=_note_below_09,
    ),
    Quote(
        section="IV-B",
        words="level of 15, RMSE ... not ... more than 1.9%",
        claimed="1.9 %",
        relation="at most",
        formula="(B_15 - B_95) / B_95, RMSE",
        value=_loss("rmse", "pretrained", 15),
    ),
    Quote(
        section="IV-B",
        words="10 and lower, ... begins to dramatically decline",
        claimed="1",
        formula=f"metrics of 1 (RMSE) in which, from 15, {STEEPER}",
        value=lambda paper: paper["rmse"].steepest_beyond(15),
    ),
    Quote(
        section="IV-B",
        words="level of 5, RMSE ... under 0.0600",
        claimed="0.0600",
        relation="below",
        formula="R_5, RMSE",
        value=_score("rmse", "retrained", 5),
    ),
    Quote(
        section="IV-B",
        words="improving performance by as much as 20%",
        claimed="20 %",
        formula="(B - R) / B, RMSE, its maximum over the levels",
        value=_error_removed("rmse"),
        note=_note_rmse_at_5,
    ),
    Quote(
        section="IV-C",
        words="degrades rapidly at ... 15 or less",
        claimed="1",
        formula=f"metrics of 1 (mAP) in which, from 50, {STEEPER}",
        value=lambda paper: paper["map"].steepest_beyond(50),
    ),
    Quote(
        section="IV-C",
        words="level of 15 leads to a 22.5% drop",
        claimed="22.5 %",
        formula="(B_95 - B_15) / B_95, mAP",
        value=_loss("map", "pretrained", 15),
    ),
    Quote(
        section="IV-C",
        words="down to mAP of 0.545",
        claimed="0.545",
        formula="B_15, mAP",
        value=_score("map", "pretrained", 15),
    ),
    Quote(
        section="IV-C",
        words="level of 5 causes mAP to drop by ... 73.4%",
        claimed="73.4 %",
        formula="(B_95 - B_5) / B_95, mAP",
        value=_loss("map", "pretrained", 5),
    ),
    Quote(
        section="IV-C",
        words="delayed from ... level of 15 to ... level of 5",
        claimed="5",
        formula="the level whose loss retrained is nearest to the loss at 15 before, mAP",
        value=_as_lossy_as("map", 15),
    ),
    Quote(
        section="IV-C",
        words="an mAP above 0.6 even at ... 10",
        claimed="0.6",
        relation="above",
        formula="R_10, mAP",
        value=_score("map", "retrained", 10),
    ),
    Quote(
        section="IV-C",
        words="reducing ... degradation to only 10.8%",
        claimed="10.8 %",
        formula="(B_95 - R_10) / B_95, mAP",
        value=_loss("map", "retrained", 10),
    ),
    Quote(
        section="IV-C",
        words="almost 10-fold higher",
        claimed="10",
        formula="size at 95 / size at 10, COCO",
        value=lambda _: _times_smaller(10),
        source="file sizes",
    ),
    Quote(
        section="IV-D",
        words="performance falling by 41.9%",
        claimed="41.9 %",
        formula="(B_95 - B_15) / B_95, pose mAP",
        value=_loss("oks_map", "pretrained", 15),
    ),
    Quote(
        section="IV-D",
        words="by 41.9% to 0.413 mAP",
        claimed="0.413",
        formula="B_15, pose mAP",
        value=_score("oks_map", "pretrained", 15),
    ),
    Quote(
        section="IV-D",
        words="15% ... before ... degradation exceeds 10%",
        claimed="15",
        formula="the hardest level with (B_95 - R_q) / B_95 <= 10 %, pose mAP",
        value=_hardest_within("oks_map", 0.1),
    ),
    Quote(
        section="IV-E",
        words="dramatically increases when we apply CRF factor 50",
        claimed="3",
        formula=f"streams of 3 in which, from CRF 40, {STEEPER}",
        value=lambda paper: sum(s.steepest_beyond(40) for s in paper.values() if s.task == "action"),
        note=_note_streams_at_50,
    ),
    Quote(
        section="IV-E",
        words="reduces ... performance (aside from ... CRF 50",
        claimed="4",
        formula="CRFs of 4 at which fusion gains (50) or does not (25, 30, 40)",
        value=lambda paper: sum(_gains(paper["top1_fusion"], q) == (q == 50) for q in paper["top1_fusion"].harder),
        note=_note_gains,
    ),
    Quote(
        section="V",
        words="Across all challenges, retraining ... recovers",
        claimed="5",
        formula="tasks of 5 whose primary metric gains at the hardest level",
        value=lambda paper: sum(_gains(s, s.levels[-1]) for s in _primary(paper)),
        note=_note_cells_gained,
    ),
    Quote(
        section="V",
        words="compression can safely reach as high as 85%",
        claimed="85 %",
        formula="1 - size at 15 / size at 95, COCO; if 85 % means quality 15",
        value=lambda _: 1 - 1 / _times_smaller(15),
        source="file sizes",
    ),
    Quote(
        section="V",
        words="as high as 85% across all domains",
        claimed="5",
        formula="tasks of 5 that lose at most 10 % (as in IV-D) retrained: at JPEG 15; video, at the best CRF over 23",
        value=_safe_at_85,
        note=_note_safe_at_85,
    ),
    Quote(
        section="V",
        words="a twentieth of the original storage cost",
        claimed="20",
        formula="size at 95 / size at 5, COCO",
        value=lambda _: _times_smaller(5),
        source="file sizes",
    ),
    Quote(
        section="V",
        words="even a 1 or 2% performance loss",
        claimed="2 %",
        formula="a judgement, no measurement",
        source="judgement",
    ),
)


# --- output -----------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the cells and the quotes, as text of at most 120 columns or as JSON. Returns 0: a "no" is no failure."""
    parser = argparse.ArgumentParser(prog="python -m analysis.paper", description="The paper's arithmetic, done again.")
    parser.add_argument("--json", action="store_true", help='the same as JSON, with "schema": 1')
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
    """Cells, quotes and counts as plain values: ratios as fractions, null where there is none."""
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
        "The paper's tables by three definitions. B: pre-trained, R: retrained at the level; reference: mildest level.",
        "points = R - B, positive is better; gap closed = (R - B) / (B_ref - B), [what the rounding of the figures",
        "leaves open]; share of score = (R - B) / R, and (B - R) / R where lower is better.",
    ]
    names = f"{'B':>8}  {'R':>8}  {'points':>9}  {'gap closed':>18}  {'by rounding':>22}  {'share of score':>14}"
    header = f"  {'level':>5}  {names}"
    previous = None
    for cell in cells:
        series = cell.series
        if series is not previous:
            lines += [
                "",
                _series_line(series),
                header,
            ]
            previous = series
        closed, rounding = "gap too small", ""
        if not cell.gap_too_small:
            closed, rounding = _percent(cell.gap_closed), f"[{_percent(cell.gap_low)}, {_percent(cell.gap_high)}]"
        digits = series.decimals
        lines.append(
            f"  {cell.level:>5}  {cell.baseline:>8.{digits}f}  {cell.retrained:>8.{digits}f}  "
            f"{cell.points:>+9.{digits}f}  {closed:>18}  {rounding:>22}  {_percent(cell.share_of_score):>14}"
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
        "What the text quotes, and whether it comes out of the tables.",
        "Rounded to as many digits as quoted. COCO: mean file sizes of COCO val2017 re-encoded, measured, in no table.",
        "",
    ]
    lines.append(f"{'where':<9} {'quote':<50} {'claimed':>13} {'computed':>10}  verdict")
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
        f"{len(checks)} figures: {counts['yes']} come out of the tables, {counts['no']} do not, "
        f"{sources.total()} are from elsewhere ({others})."
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
        return "another paper's"
    return checked.verdict


def _wrapped(text: str) -> list[str]:
    # no line may begin with the percent sign of the number before it
    kept = text.replace(" %", "\N{NO-BREAK SPACE}%")
    lines = textwrap.wrap(kept, WIDTH, initial_indent=" " * 10, subsequent_indent=" " * 10)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


if __name__ == "__main__":
    raise SystemExit(main())
