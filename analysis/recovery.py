"""A study's estimands as tidy tables, by cell, condition and metric. To add a column, add it to `_row` and `COLUMNS`."""

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
from analysis.results import Results, newest_setups, on_newest_ladders

Scores = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
"""Values (S,) and replicates (S, R) of one cell's seeds under one condition."""
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
    *("interval", "dropped", "p", "share_of_score"),
    *(f"{name}_{ref}{of}" for ref in REFERENCES for name in RATIOS for of in ("", "_low", "_high", "_too_small")),
    "p_holm",
)
"""Columns of the table that `recovery` returns."""
BESIDE = (
    *("table", "metric", "our_metric", "level", "architecture", "streams", "dataset", "paper_baseline", "paper_retrained"),
    *("baseline", "continued", "retrained", "retrained_at_this_level"),
)
"""Columns of the table that `beside_paper` returns."""
FLAGS = ("primary", "seen", "matched", "recalibrated", *(f"{name}_{ref}_too_small" for ref in REFERENCES for name in RATIOS))


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """A retrained cell with its baseline and control; one trial key per seed in each of the three."""

    cell: str
    codec: str
    ladder: tuple[int, ...]
    """The levels tested with its codec, mildest first."""
    training_levels: tuple[int | None, ...]
    labels: Mapping[str, Any]
    """Columns that describe the cell in every row: architecture, task, codec, recipe, streams, data set."""
    primary: str
    recalibrated: bool
    epochs: int
    """Training epochs beyond the baseline; 0 where it is only recalibrated."""
    seeds: tuple[int, ...]
    retrained: tuple[str, ...]
    baseline: tuple[str, ...]
    control: tuple[str, ...]

    @property
    def matched_level(self) -> int | None:
        """The training level, where there is exactly one."""
        return self.training_levels[0] if len(self.training_levels) == 1 else None


class Study:
    """Results arranged for contrasts: each retrained cell with its baseline, its control and their scores.

    Only trials on the newest ladder of their architecture and data set take part, and of these only the newest setup of each cell.
    """

    def __init__(self, results: Results) -> None:
        self.results = results
        self._tested = on_newest_ladders(results.trials)
        self.trials = newest_setups(self._tested)
        self.table = _on_ladder(results.scores, self._tested["ladder"])
        """The scores of trials on the newest ladder under clean and each of its levels, mildest first."""
        indexed = self.table.set_index(["codec", "level", "metric", "trial"]).sort_index()
        self._values: Mapping[Any, float] = indexed["value"].to_dict()
        self._replicates: Mapping[Any, npt.NDArray[np.float64]] = indexed["replicates"].to_dict()
        self._rates: Mapping[Any, float] = indexed["bits_per_pixel"].to_dict()
        self.modes: Mapping[str, Mode] = dict(zip(results.scores["metric"], results.scores["mode"], strict=True))

    def scores(self, trials: Sequence[str], condition: tuple[str, int], metric: str) -> Scores | None:
        """Scores of some trials under a condition (codec, level); None where any of them lacks it."""
        keys = [(*condition, metric, trial) for trial in trials]
        if not all(key in self._values for key in keys):
            return None
        return np.array([self._values[key] for key in keys]), np.stack([self._replicates[key] for key in keys])

    def bits_per_pixel(self, trial: str, condition: tuple[str, int], metric: str) -> float:
        """Size after coding, in bits per pixel; NaN for clean."""
        return float(self._rates.get((*condition, metric, trial), math.nan))

    def metrics(self, trial: str) -> list[str]:
        """Metrics of a trial, in the order of its scores."""
        return list(dict.fromkeys(self.table.loc[self.table["trial"] == trial, "metric"]))

    def conditions(self, cell: Retrained) -> list[tuple[str, int]]:
        """Clean, then the levels of the ladder."""
        return [CLEAN, *((cell.codec, level) for level in cell.ladder)]

    @cached_property
    def retrained(self) -> list[Retrained]:
        """Every cell with a control, restricted to the seeds whose baseline and control are finished too."""
        known = set(self._tested.index)
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


def _on_ladder(scores: pd.DataFrame, ladders: "pd.Series[Any]") -> pd.DataFrame:
    """The scores of these trials under clean and the levels of their ladders, in this order within each trial."""
    places = {
        (trial, *condition): place
        for trial, ladder in ladders.items()
        for place, condition in enumerate([CLEAN, *((codec, level) for codec, levels in ladder.items() for level in levels)])
    }
    place = np.array([places.get(key, -1) for key in zip(scores["trial"], scores["codec"], scores["level"], strict=True)], int)
    order = np.lexsort((place, pd.factorize(scores["trial"])[0]))
    return scores.iloc[order[place[order] >= 0]]


def recovery(study: Study) -> pd.DataFrame:
    """One row per retrained cell, condition and metric: B, C and R, points, both ratios at both references, clean cost.

    Scores and points are in the metric's unit, ratios are fractions. A ratio is NaN where its gap is too small; the column
    `..._too_small` flags this. Intervals are 95 %; the column `interval` names their kind. `p_holm` is given for the primary metric
    only, adjusted over a task's cells and coded conditions. `dropped` is the largest number of bootstrap resamples that an interval
    of the row leaves out because a score is NaN on them. The table is empty where no cell has a finished baseline and control.
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
    dropped = []
    for name, (values, replicates) in contrasts.items():
        bounds = interval(values, replicates)
        dropped.append(bounds.dropped)
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
            dropped.append(closed.dropped)
            shown = (math.nan,) * 3 if closed.gap_too_small else (closed.value, closed.low, closed.high)
            row |= dict(zip((f"{name}_{reference}{suffix}" for suffix in ("", "_low", "_high")), shown, strict=True))
            row[f"{name}_{reference}_too_small"] = closed.gap_too_small
    row["dropped"] = max(dropped)
    return row


def matrix(study: Study) -> pd.DataFrame:
    """The train x test matrix in long form: mean score and standard deviation over seeds, per cell, condition and metric.

    `role` is baseline, continued or retrained. `trained_on` is the training codec (empty for clean) and `trained_at` the training
    level (0 where there is none or several). `codec` and `level` are those of the test; `matched` marks where they equal the
    training codec and level.
    """
    trials = study.trials
    alone = [levels[0] if len(levels) == 1 else None for levels in trials["training_levels"]]
    described = trials[["cell", "architecture", "task", "recipe", "dataset", "seed", "epochs", "role", "recalibrated"]].assign(
        trained_on=trials["codec"],
        trained_at=[level or 0 for level in alone],
        of_trial=trials["metric"],
    )
    merged = study.table.merge(described, left_on="trial", right_index=True)
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
    """Rows sorted by network: baseline, continued, trained at one level (mildest first), at several levels, recalibrated."""
    places = {level: place for place, level in enumerate(dict.fromkeys(matrix["level"]))}
    roles = matrix["role"].map({"baseline": 0, "continued": 1, "retrained": 3}).astype(int)
    single = (matrix["trained_at"] != 0).astype(int)
    kind = roles + single * (2 * matrix["recalibrated"].astype(int) - 1)
    place = matrix["trained_at"].map(lambda level: places.get(level, len(places)))
    order = np.lexsort((np.arange(len(matrix)), place, kind))
    return matrix.iloc[order]


def select(table: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """The rows of a table in which the named columns have these values."""
    kept = np.ones(len(table), bool)
    for column, value in wanted.items():
        kept &= (table[column] == value).to_numpy(bool)
    return table[kept]


def beside_paper(study: Study, paper: pd.DataFrame) -> pd.DataFrame:
    """The paper's tables beside this study's: baseline and matched retraining per level, and the control that the paper lacks.

    One row per metric and level that both the paper and the study's ladder have, for each architecture, way of fusing streams and
    metric of ours that corresponds to the paper's. At the paper's mildest level nothing was retrained: table B is NaN there. The
    paper's percentages become fractions.
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
"""Our metrics for those of the paper that have another name here: (architecture, or "" for any, our metric).

The paper's mAP of 0.703 on VOC2007 is most likely the 11-point average precision at IoU 0.5; COCO's mAP is shown beside it. For
pose, the score with a joint-confidence threshold tuned per level is shown too, as the paper itself suggests (section IV-D).
"""


def _counterpart(scores: pd.DataFrame, architecture: str, metric: str) -> pd.DataFrame:
    ours = scores[scores["metric"] == metric]
    return ours[ours["architecture"] == architecture] if architecture else ours
