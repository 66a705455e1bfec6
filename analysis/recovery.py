"""Every estimand of a study, by cell, condition and metric, as tidy tables. To add a column, add it to `_row`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.estimands import (
    Mode,
    attributable_gap_closed_terms,
    clean_cost,
    compression,
    gap_closed_terms,
    holm,
    interval,
    longer_training,
    p_value,
    ratio,
    share_of_score,
    total,
)
from analysis.paper import IN_PERCENT
from analysis.results import Results, newest_setups

Scores = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Values (S,) and replicates (S, R) of one network's seeds under one condition."""
CLEAN = ("", 0)
NETWORKS = {"B": "baseline", "C": "continued", "R": "retrained"}
CONTRASTS = ("total", "longer_training", "compression", "clean_cost")
RATIOS = ("attributable_gap_closed", "gap_closed")
REFERENCES = ("clean", "mildest")
COLUMNS = (
    *("cell", "architecture", "task", "codec", "recipe", "streams", "dataset", "metric", "primary", "mode", "condition", "level"),
    *("bits_per_pixel", "seen", "matched", "recalibrated", "epochs", "seeds"),
    *(f"{name}{of}" for name in NETWORKS.values() for of in ("", "_sd")),
    *(f"{name}{of}" for name in CONTRASTS for of in ("", "_low", "_high", "_sd")),
    *("interval", "p", "share_of_score"),
    *(f"{name}_{ref}{of}" for ref in REFERENCES for name in RATIOS for of in ("", "_low", "_high", "_too_small")),
    "p_holm",
)
"""Of the table that `recovery` returns."""
BESIDE = (
    *("table", "metric", "our_metric", "level", "architecture", "streams", "dataset", "paper_baseline", "paper_retrained"),
    *("baseline", "continued", "retrained", "retrained_at_this_level"),
)
"""Of the table that `beside_paper` returns."""
FLAGS = ("primary", "seen", "matched", "recalibrated", *(f"{name}_{ref}_too_small" for ref in REFERENCES for name in RATIOS))


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """A retrained cell with its baseline and control, seed by seed."""

    cell: str
    codec: str
    ladder: tuple[int, ...]
    training_levels: tuple[int | None, ...]
    labels: Mapping[str, Any]
    """What every row says of the cell: architecture, task, recipe, data set."""
    primary: str
    recalibrated: bool
    epochs: int
    """Of training beyond its baseline; 0 for what is only recalibrated."""
    seeds: tuple[int, ...]
    retrained: tuple[str, ...]
    baseline: tuple[str, ...]
    control: tuple[str, ...]

    @property
    def matched_level(self) -> int | None:
        """The one level that it was trained at, if there is one."""
        return self.training_levels[0] if len(self.training_levels) == 1 else None


class Study:
    """Results arranged for contrasts: which trials are whose baseline and control, and their scores."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.trials = newest_setups(results.trials)
        indexed = results.scores.set_index(["codec", "level", "metric", "trial"]).sort_index()
        self._values: Mapping[Any, float] = indexed["value"].to_dict()
        self._replicates: Mapping[Any, npt.NDArray[np.float64]] = indexed["replicates"].to_dict()
        self._rates: Mapping[Any, float] = indexed["bits_per_pixel"].to_dict()
        self.modes: Mapping[str, Mode] = dict(zip(results.scores["metric"], results.scores["mode"], strict=True))

    def scores(self, trials: Sequence[str], condition: tuple[str, int], metric: str) -> Scores | None:
        """Of trials under a condition (codec, level); None where any lacks it."""
        keys = [(*condition, metric, trial) for trial in trials]
        if not all(key in self._values for key in keys):
            return None
        return np.array([self._values[key] for key in keys]), np.stack([self._replicates[key] for key in keys])

    def bits_per_pixel(self, trial: str, condition: tuple[str, int], metric: str) -> float:
        """The rate of a condition; NaN for clean."""
        return float(self._rates.get((*condition, metric, trial), math.nan))

    def metrics(self, trial: str) -> list[str]:
        """The metrics that a trial was scored by, in their order."""
        return list(dict.fromkeys(self.results.scores.loc[self.results.scores["trial"] == trial, "metric"]))

    def conditions(self, cell: Retrained) -> list[tuple[str, int]]:
        """Clean, then the ladder."""
        return [CLEAN, *((cell.codec, level) for level in cell.ladder)]

    @cached_property
    def retrained(self) -> list[Retrained]:
        """Every cell that has a control, with the seeds for which baseline and control are finished too."""
        known = set(self.results.trials.index)
        found = []
        candidates = self.trials[self.trials["control"] != ""]
        for (name, _), group in candidates.groupby(["cell", "dataset"], sort=False):
            ordered = group.sort_values("seed")
            whole = ordered[
                [
                    control in known and baseline in known
                    for control, baseline in zip(ordered["control"], ordered["baseline"], strict=True)
                ]
            ]
            if whole.empty:
                continue
            first = whole.iloc[0]
            found.append(
                Retrained(
                    cell=str(name),
                    codec=first["codec"],
                    ladder=tuple(first["ladder"][first["codec"]]),
                    training_levels=tuple(first["training_levels"]),
                    labels={label: first[label] for label in ("architecture", "task", "codec", "recipe", "streams", "dataset")},
                    primary=first["metric"],
                    recalibrated=bool(first["recalibrated"]),
                    epochs=int(first["epochs"]),
                    seeds=tuple(int(seed) for seed in whole["seed"]),
                    retrained=tuple(whole.index),
                    baseline=tuple(whole["baseline"]),
                    control=tuple(whole["control"]),
                )
            )
        return found


def recovery(study: Study) -> pd.DataFrame:
    """One row a retrained cell, condition and metric: B, C and R, points, both ratios at both references, clean cost.

    Without any cell whose baseline and control are finished the table has no row, and all its columns.

    Points and scores are in the metric's own unit, ratios are fractions; NaN where the gap is too small for a ratio, which the
    columns `..._too_small` say. Intervals are 95 %, of the kind in `interval`. `p_holm` is given for the family: the primary
    metric of each task over all cells and coded conditions.
    """
    rows = []
    for cell in study.retrained:
        for metric in study.metrics(cell.retrained[0]):
            for condition in study.conditions(cell):
                row = _row(study, cell, metric, condition)
                if row is not None:
                    rows.append(row)
    table = pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(FLAGS, bool))
    table["p_holm"] = np.nan
    family = table["primary"] & (table["level"] != 0)
    for _, members in table[family].groupby("task"):
        table.loc[members.index, "p_holm"] = holm(members["p"].to_numpy(float))
    return table


def _row(study: Study, cell: Retrained, metric: str, condition: tuple[str, int]) -> dict[str, Any] | None:
    codec, level = condition
    mode = study.modes[metric]
    mildest = (cell.codec, cell.ladder[0])
    wanted = {
        "B": (cell.baseline, condition), "C": (cell.control, condition), "R": (cell.retrained, condition),
        "B_clean": (cell.baseline, CLEAN), "C_clean": (cell.control, CLEAN), "R_clean": (cell.retrained, CLEAN),
        "B_mildest": (cell.baseline, mildest), "C_mildest": (cell.control, mildest),
    }  # fmt: skip
    found = {name: study.scores(trials, at, metric) for name, (trials, at) in wanted.items()}
    scores = {name: score for name, score in found.items() if score is not None}
    if len(scores) < len(wanted):
        return None
    row: dict[str, Any] = {
        "cell": cell.cell,
        **cell.labels,
        "metric": metric,
        "primary": metric == cell.primary,
        "mode": mode,
        "condition": f"{codec}-{level}" if codec else "clean",
        "level": level,
        "bits_per_pixel": study.bits_per_pixel(cell.retrained[0], condition, metric),
        "seen": (level or None) in cell.training_levels,
        "matched": level != 0 and level == cell.matched_level,
        "recalibrated": cell.recalibrated,
        "epochs": cell.epochs,
        "seeds": len(cell.seeds),
    }
    for name, label in NETWORKS.items():
        values = scores[name][0]
        row[label] = values.mean()
        row[f"{label}_sd"] = values.std(ddof=1) if len(values) > 1 else math.nan
    (b, b_rep), (c, c_rep), (r, r_rep) = scores["B"], scores["C"], scores["R"]
    contrasts = {
        "total": (total(r, b, mode), total(r_rep, b_rep, mode)),
        "longer_training": (longer_training(c, b, mode), longer_training(c_rep, b_rep, mode)),
        "compression": (compression(r, c, mode), compression(r_rep, c_rep, mode)),
        "clean_cost": tuple(clean_cost(scores["R_clean"][i], scores["C_clean"][i], mode) for i in (0, 1)),
    }
    for name, (values, replicates) in contrasts.items():
        bounds = interval(values, replicates)
        row |= {
            name: bounds.value,
            f"{name}_low": bounds.low,
            f"{name}_high": bounds.high,
            f"{name}_sd": values.std(ddof=1) if len(values) > 1 else math.nan,
        }
        row["interval"] = bounds.kind
    row["p"] = p_value(*contrasts["compression"])
    row["share_of_score"] = float(share_of_score(r.mean(), b.mean(), mode))
    for reference in REFERENCES:
        (b_ref, b_ref_rep), (c_ref, c_ref_rep) = scores[f"B_{reference}"], scores[f"C_{reference}"]
        terms = {
            "attributable_gap_closed": (
                attributable_gap_closed_terms(r, c, c_ref, mode),
                attributable_gap_closed_terms(r_rep, c_rep, c_ref_rep, mode),
            ),
            "gap_closed": (gap_closed_terms(r, b, b_ref, mode), gap_closed_terms(r_rep, b_rep, b_ref_rep, mode)),
        }
        for name, (values, replicates) in terms.items():
            closed = ratio(values, replicates)
            shown = (math.nan,) * 3 if closed.gap_too_small else (closed.value, closed.low, closed.high)
            row |= dict(zip((f"{name}_{reference}{suffix}" for suffix in ("", "_low", "_high")), shown, strict=True))
            row[f"{name}_{reference}_too_small"] = closed.gap_too_small
    return row


def matrix(study: Study) -> pd.DataFrame:
    """The train x test matrix, long: every finished cell's score under every condition, by metric, with its spread over seeds.

    `role` is baseline, continued or retrained, `trained_on` the codec of training (empty for clean) and `trained_at` its one level
    (0 where there were several, or none); `codec` and `level` are the test's, and `matched` where they are the training's.
    """
    trials = study.trials
    alone = [levels[0] if len(levels) == 1 else None for levels in trials["training_levels"]]
    described = trials[["cell", "architecture", "task", "recipe", "dataset", "seed", "epochs", "role", "recalibrated"]].assign(
        trained_on=trials["codec"],
        trained_at=[level or 0 for level in alone],
        of_trial=trials["metric"],
    )
    merged = study.results.scores.merge(described, left_on="trial", right_index=True)
    merged["primary"] = merged["metric"] == merged["of_trial"]
    merged["condition"] = [
        f"{codec}-{level}" if codec else "clean" for codec, level in zip(merged["codec"], merged["level"], strict=True)
    ]
    merged["matched"] = (
        (merged["level"] != 0) & (merged["level"] == merged["trained_at"]) & (merged["codec"] == merged["trained_on"])
    )
    keys = ["cell", "architecture", "task", "recipe", "dataset", "role", "trained_on", "trained_at", "recalibrated", "epochs"]
    keys += ["metric", "primary", "mode", "condition", "codec", "level", "matched"]
    grouped = merged.groupby(keys, sort=False)
    table: pd.DataFrame = grouped.agg(
        bits_per_pixel=("bits_per_pixel", "mean"), value=("value", "mean"), sd=("value", "std"), seeds=("value", "size")
    ).reset_index()
    return table


def ordered(matrix: pd.DataFrame) -> pd.DataFrame:
    """Rows by network: baseline, continued, those of one level (mildest first), of several levels, recalibrated ones."""
    places = {level: place for place, level in enumerate(dict.fromkeys(matrix["level"]))}
    roles = matrix["role"].map({"baseline": 0, "continued": 1, "retrained": 3}).astype(int)
    single = (matrix["trained_at"] != 0).astype(int)
    kind = roles + single * (2 * matrix["recalibrated"].astype(int) - 1)
    place = matrix["trained_at"].map(lambda level: places.get(level, len(places)))
    order = np.lexsort((np.arange(len(matrix)), place, kind))
    return matrix.iloc[order]


def select(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows of a table whose columns hold these values."""
    kept = np.ones(len(table), bool)
    for column, value in wanted.items():
        kept &= (table[column] == value).to_numpy(bool)
    return table[kept]


def beside_paper(study: Study, paper: pd.DataFrame) -> pd.DataFrame:
    """The paper's tables beside ours: baseline and matched retraining by level, and the control that the paper lacks.

    One row a metric and level of each architecture whose task and codec the paper measured, of each way to fuse streams and of each
    metric of ours that answers the paper's; the reference is the mildest level, whose row in table B is "not retrained" (there both
    of its tables hold one figure). The paper's percentages become fractions.
    """
    scores = recovery(study)
    rows = []
    for (task, codec, metric), printed in paper.groupby(["task", "codec", "metric"], sort=False):
        figures = printed.pivot_table(index="level", columns="condition", values="value", sort=False)
        figures /= 100 if metric in IN_PERCENT else 1
        table = str(printed["table"].iloc[0]).rstrip("AB")
        same = scores[(scores["task"] == task) & (scores["codec"] == codec) & (scores["level"] != 0)]
        ours = pd.concat([_counterpart(same, *counterpart) for counterpart in COUNTERPARTS.get(str(metric), (("", str(metric)),))])
        for (architecture, dataset, streams, own), of_one in ours.groupby(
            ["architecture", "dataset", "streams", "metric"], sort=False
        ):
            for position, level in enumerate(printed["level"].drop_duplicates()):
                at = of_one[of_one["level"] == level]
                matched = at[at["matched"] & ~at["recalibrated"]]
                if at.empty:
                    continue
                known = not matched.empty and position > 0
                rows.append(
                    {
                        "table": table, "metric": metric, "our_metric": own, "level": level,
                        "architecture": architecture, "streams": streams, "dataset": dataset,
                        "paper_baseline": figures.loc[level, "pretrained"],
                        "paper_retrained": figures.loc[level, "retrained"] if position else math.nan,
                        "baseline": at["baseline"].iloc[0],
                        "continued": at["continued"].iloc[0],
                        "retrained": matched["retrained"].iloc[0] if known else math.nan,
                        "retrained_at_this_level": "not retrained" if not position else "yes" if known else "not in this study",
                    }
                )  # fmt: skip
    return pd.DataFrame(rows, columns=BESIDE)


COUNTERPARTS: Mapping[str, Sequence[tuple[str, str]]] = {
    "map": (("", "voc07_ap50"), ("", "map")),
    "oks_map": (("", "oks_map"), ("", "oks_map_tuned")),
    "top1_spatial": (("two_stream_spatial", "top1"),),
    "top1_motion": (("two_stream_motion", "top1"),),
    "top1_fusion": (("two_stream", "top1"),),
}
"""Where a metric of the paper has not the name of ours: (architecture, or any, and our metric).

Its mAP of 0.703 on VOC2007 is in all likelihood the 11-point average precision at IoU 0.5; COCO's stands beside it. Beside its pose
stands also what a joint-confidence threshold that is tuned for each level gives, as it suggests itself (section IV-D).
"""


def _counterpart(scores: pd.DataFrame, architecture: str, metric: str) -> pd.DataFrame:
    ours = scores[scores["metric"] == metric]
    return ours[ours["architecture"] == architecture] if architecture else ours
