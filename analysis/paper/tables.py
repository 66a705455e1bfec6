"""Tables I to V of the paper as data, and each level's gain by three definitions: points, gap closed, share of score.

`tables.csv` holds the tables as printed, to the last digit. Tables A test the baseline ("pretrained") at each level; tables B test
the network retrained at that level. Levels run from mildest to heaviest. At the mildest level nothing was retrained: both tables
hold the same figure there, and it is the reference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise, product
from typing import Literal

import numpy as np
import pandas as pd

from analysis.estimands import Mode, gap_closed, share_of_score, total

Network = Literal["pretrained", "retrained"]
"""The paper's names for the networks of tables A and B: the column `condition` of `tables.csv`."""

PRIMARY: Mapping[str, str] = {
    "segmentation": "miou",
    "depth": "rmse",
    "detection": "map",
    "pose": "oks_map",
    "action": "top1_fusion",
}
"""Metric that decides a statement about a whole task, by task."""

IN_PERCENT = frozenset({"top1_spatial", "top1_motion", "top1_fusion"})
"""Metrics that the paper prints in percent; the others are fractions."""

TABLE_NOTES: Mapping[str, str] = {
    "III": "The paper's mAP is most likely VOC 2007's 11-point average precision at IoU 0.5, called voc07_ap50 here; map is "
    "COCO's.",
    "IV": "oks_map uses the published joint-confidence threshold of 0.1. oks_map_tuned uses the threshold that is best on "
    "validation, per level and network, as the paper itself suggests (section IV-D).",
    "V": "The paper's row at CRF 23 does not fit the rows below it: from CRF 23 to 25, which hardly changes a frame, its motion "
    "stream falls from 70.1 to 44.9 % and its spatial stream not at all. Most likely the optical flow of that row was extracted in "
    "another way. This study uses one extractor for every level and for the source. Read the paper's losses in motion and fusion "
    "from CRF 25 on.",
}
"""Notes that a reader needs before comparing with a table, by the table's number."""

COCO_KILOBYTES: Mapping[int, float] = {95: 160.9, 75: 62.1, 50: 40.7, 15: 18.0, 10: 13.9, 5: 9.3}
"""Mean file size in KB of COCO val2017 re-encoded at each JPEG quality.

Measured for this project; the paper does not say which images its storage figures refer to.
"""


def paper_tables() -> pd.DataFrame:
    """Tables I to V of the paper: 126 rows, one per printed figure, in the order of the file.

    Columns: `table` (IA ... VB), `task`, `architecture`, `dataset`, `metric`, `better` (higher / lower), `codec`, `level` (int:
    JPEG quality or H.264 CRF), `condition` (pretrained / retrained), `value` (float, as printed: percent for top-1 accuracies,
    otherwise a fraction; the paper gives no unit for depth errors).
    """
    return _printed().assign(value=lambda frame: frame["value"].astype(float))


def _printed() -> pd.DataFrame:
    """The tables with `value` as text, which keeps the number of printed decimals."""
    with (files("analysis.paper") / "tables.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, dtype={"level": int, "value": str})


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric of one table, before and after retraining: level -> figure, mildest level first."""

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
        """The ladder, mildest level first."""
        return tuple(self.pretrained)

    @property
    def mildest(self) -> int:
        """The reference level, which was not retrained."""
        return self.levels[0]

    @property
    def heavier(self) -> tuple[int, ...]:
        """The levels beyond the mildest."""
        return self.levels[1:]

    @property
    def reference(self) -> float:
        """The baseline's score at the mildest level."""
        return self.pretrained[self.mildest]

    def scores(self, network: Network) -> Mapping[int, float]:
        """The figures of table A or B by level."""
        return self.pretrained if network == "pretrained" else self.retrained

    def loss(self, network: Network, level: int) -> float:
        """Loss from the reference as a fraction of the reference, positive is worse: the "drop" of the paper's text."""
        return float(total(self.reference, self.scores(network)[level], self.mode)) / self.reference

    def steepest_beyond(self, level: int) -> bool:
        """Whether every step beyond `level` costs the baseline more per unit of level than any step before it.

        Per unit, because the steps of a ladder differ: JPEG 50 to 15 is seven times as long as 15 to 10.
        """
        slopes = {
            heavier: float(total(self.pretrained[milder], self.pretrained[heavier], self.mode)) / abs(heavier - milder)
            for milder, heavier in pairwise(self.levels)
        }
        beyond = self.levels[self.levels.index(level) + 1 :]
        return min(slopes[q] for q in beyond) > max(slope for q, slope in slopes.items() if q not in beyond)


Paper = Mapping[str, Series]
"""Series by metric; no metric occurs in two tables."""


def paper_series() -> Paper:
    """The tables by metric, with A and B of each table joined."""
    printed = _printed()
    joined = {}
    for metric, rows in printed.groupby("metric", sort=False):
        first = rows.iloc[0]
        figures = {
            str(network): {int(q): float(v) for q, v in zip(half["level"], half["value"], strict=True)}
            for network, half in rows.groupby("condition", sort=False)
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


@dataclass(frozen=True, kw_only=True)
class LevelCell:
    """One metric at one level beyond the mildest by the three definitions; the reference is the mildest level.

    `gap_low` and `gap_high` bound the gap closed, given that each printed figure may be off by half a unit in its last place. All
    three are NaN where `gap_too_small`: rounding leaves open whether there is a gap.
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
    """All 52 cells in the order of the tables: 63 pairs of figures less the 11 at the mildest level, which are the references."""
    return tuple(_level_cell(series, level) for series in paper.values() for level in series.heavier)


def _level_cell(series: Series, level: int) -> LevelCell:
    baseline, retrained = series.pretrained[level], series.retrained[level]
    # Printed figures are whole numbers of units in the last place, so this is exact; the gap is rounded by +- one unit.
    gap_too_small = abs(round((series.reference - baseline) * 10**series.decimals)) <= 1
    closed = low = high = float("nan")
    if not gap_too_small:
        closed = float(gap_closed(retrained, baseline, series.reference, series.mode))
        # The ratio is monotone in each figure while the others are fixed, so its extremes are at corners of the box.
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


def percent(fraction: float) -> str:
    """A fraction as text: 0.784 is "78.4 %"."""
    return f"{100 * fraction:.1f} %"
