"""A study's results in plain sentences, and a glossary of their terms. To explain a term, add it to `GLOSSARY`.

Every difference is oriented: positive is better, whatever the metric. The sentences therefore say "better" and "worse", never
"higher" and "lower".
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.estimands import total

SIGNIFICANT = 0.05
SCALE_NOTE = "Small-scale results show how the method behaves, not how well the published networks score."
NO_RECOVERY = "No retrained network has a finished baseline and control yet: only scores can be shown, no recovery."

GLOSSARY: Mapping[str, str] = {
    "codec, level, ladder": "A codec compresses the imagery. Its level is its own parameter: a JPEG quality, an H.264 CRF. Its "
    "ladder lists the tested levels, mildest first.",
    "bit/px": "The size after coding, in bits per pixel, over all test items.",
    "clean": "Imagery as the data set distributes it, which may already be compressed.",
    "baseline (B)": "The network trained on clean imagery, or a user's own weights.",
    "continued (C)": "The control: the baseline trained further on clean imagery for as long as a retrained network. Without it, "
    "the gain of longer training would be taken for recovery.",
    "retrained (R)": "The baseline trained further, for as long as the control, on imagery compressed at one level (for example "
    "constant-5) or at a level drawn for each sample (uniform).",
    "recalibrated": "The baseline with its batch-norm statistics re-estimated at one level; no weights are trained. Its control is "
    "the baseline.",
    "cell, condition": "A cell is one network to train, written architecture/codec/recipe. A condition is what it is tested on: "
    "clean, or a codec at a level.",
    "matched": "Tested at the level of training: the diagonal of the train x test matrix.",
    "R - B = (C - B) + (R - C)": "The total gain is the gain of longer training plus the gain of compression in training. R - C is "
    "the answer. Differences are oriented: above zero is better, also for metrics where lower is better.",
    "attributable gap closed": "(R - C) / (C on clean - C): the share of the control's loss to compression that compression in "
    "training wins back.",
    "gap closed": "(R - B) / (B on clean - B): the same against the baseline, comparable with the paper. It includes the gain of "
    "longer training.",
    "share of score": "(R - B) / R: the definition behind the paper's 78.4 %.",
    "clean cost": "R - C on clean imagery. Below zero: compression in training costs score on clean.",
    "reference": "The condition that a gap is measured from: clean, or the mildest level as in the paper.",
    "small": "The gap cannot be distinguished from zero, so a share of it would be meaningless.",
    "these networks": "A 95 % interval that allows for other test items, with the trained networks fixed.",
    "this recipe": "A 95 % interval that also allows for other training seeds; needs at least two seeds.",
    "Holm": "p-values adjusted for multiple tests: the primary metric of a task under all its coded conditions. All other results "
    "are exploratory.",
}


def better(rows: pd.DataFrame) -> str:
    """Whether higher or lower values of the rows' metric are better, in words."""
    return "higher is better" if rows["mode"].iloc[0] == "max" else "lower is better"


def arrow(rows: pd.DataFrame) -> str:
    """Whether higher or lower values of the rows' metric are better, as an arrow."""
    return "\N{UPWARDS ARROW}" if rows["mode"].iloc[0] == "max" else "\N{DOWNWARDS ARROW}"


def decimals(values: npt.ArrayLike) -> int:
    """Number of decimals that gives the largest of some scores three significant digits."""
    finite = np.abs(np.asarray(values, float))
    largest = float(finite[np.isfinite(finite)].max(initial=0.0))
    return 3 if largest == 0 else min(max(2 - math.floor(math.log10(largest)), 0), 6)


def condition(codec: str, level: int) -> str:
    """A test condition in words: "jpeg 5" or "clean"."""
    return f"{codec} {level}" if codec else "clean"


def fall(scores: pd.DataFrame, codec: str) -> list[str]:
    """Sentences on what the codec's heaviest level costs the networks trained on clean.

    `scores` are the rows of `analysis.recovery.matrix` for one architecture, data set and metric.
    """
    digits = decimals(scores["value"])
    said = []
    for role, name in (("baseline", "baseline"), ("continued", "control (the baseline trained further on clean)")):
        of_role = scores[scores["role"] == role]
        clean, coded = of_role[of_role["codec"] == ""], of_role[of_role["codec"] == codec]
        if clean.empty or coded.empty:
            continue
        heaviest, was = coded.iloc[-1], clean["value"].iloc[0]
        cost = float(total(heaviest["value"], was, heaviest["mode"]))
        said.append(
            f"The {name} scores {was:.{digits}f} on clean and {heaviest['value']:.{digits}f} at "
            f"{condition(codec, heaviest['level'])}, {_sized(cost, digits)}."
        )
    coded = scores[scores["codec"] == codec]
    if not coded.empty:
        rates = coded.drop_duplicates("level").set_index("level")["bits_per_pixel"]
        said.append(
            f"{condition(codec, rates.index[-1])} takes {rates.iloc[-1]:.2f} bit/px, {condition(codec, rates.index[0])} takes "
            f"{rates.iloc[0]:.2f}."
        )
    return said


def heaviest(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows at the heaviest level: networks trained at it, then those trained at several levels; all networks where there are none.

    `rows` are those of `analysis.recovery.recovery` for one architecture, data set, codec and metric.
    """
    at = rows.groupby("cell", sort=False).tail(1)
    matched_cells = set(rows.loc[rows["matched"], "cell"])
    answering = at[at["matched"] | ~at["cell"].isin(matched_cells)]
    return (at if answering.empty else answering).sort_values("matched", ascending=False, kind="stable")


def outcome(row: "pd.Series[Any]") -> list[str]:
    """Sentences on one row of `analysis.recovery.recovery`: the gain and its interval, the share of the gap, the clean cost."""
    trained = not row["recalibrated"]
    control = "the control" if trained else "the baseline"
    where = "at this level" if row["matched"] else "at this level among others" if row["seen"] else "at other levels"
    digits = decimals([row["baseline"], row["continued"], row["retrained"]])
    low, high, adjusted = row["compression_low"], row["compression_high"], row["p_holm"]
    how = f"trained {where}" if trained else "no weights trained"
    gain = _sized(row["compression"], digits)
    at = condition(row["codec"], row["level"])
    against = f"against {control}'s {row['continued']:.{digits}f}"
    said = [f"{row['recipe']}, {how}: {row['retrained']:.{digits}f} at {at} {against}, {gain}."]
    if not math.isnan(low):
        clear = not low <= 0 <= high
        holm = f", but not after Holm's adjustment (p = {adjusted:.2g})" if clear and adjusted >= SIGNIFICANT else ""
        said.append(
            f"95 % interval of the difference ({row['interval']}): {low:+.{digits}f} to {high:+.{digits}f}. It "
            f"{'excludes zero' if clear else 'includes zero: neither gain nor loss is shown'}{holm}."
        )
    share, least, most = (row[f"attributable_gap_closed_clean{end}"] for end in ("", "_low", "_high"))
    if row["attributable_gap_closed_clean_too_small"]:
        said.append(f"The loss of {control} to compression here cannot be distinguished from zero, so no share of it is given.")
    elif not math.isnan(share):
        said.append(
            f"{row['recipe']} wins back {100 * share:.0f} % of what compression costs {control} "
            f"(95 % interval {100 * least:.0f} % to {100 * most:.0f} %)."
        )
    said.append(
        f"On clean imagery, against {control}: {_sized(row['clean_cost'], digits)} ({row['clean_cost_low']:+.{digits}f} to "
        f"{row['clean_cost_high']:+.{digits}f})."
    )
    return said


def enough(rows: pd.DataFrame) -> str:
    """A sentence on whether there are enough seeds to tell the differences in rows of `analysis.recovery.recovery` from zero."""
    if rows.empty:
        return NO_RECOVERY
    seeds = int(rows["seeds"].min())
    if seeds == 1:
        return "One seed: the intervals hold for these networks only and say nothing about other seeds. Use --seeds 3."
    if seeds == 2:
        return (
            "Two seeds: the spread over seeds is estimated from a single difference, so intervals are wide. Use --seeds 3 or more."
        )
    if ((rows["compression_low"] <= 0) & (rows["compression_high"] >= 0)).any():
        return (
            f"{seeds} seeds are too few to tell every difference at the heaviest level from zero; more seeds narrow the intervals."
        )
    if (rows["p_holm"] >= SIGNIFICANT).any():
        return (
            f"{seeds} seeds suffice to tell each single difference at the heaviest level from zero, but not all of them together "
            "(Holm's adjustment)."
        )
    return f"{seeds} seeds suffice to tell the differences at the heaviest level from zero."


def dropped(rows: pd.DataFrame) -> str:
    """A sentence on the resamples that the intervals of `analysis.recovery.recovery` leave out; empty if there are none."""
    most = 0 if rows.empty else int(rows["dropped"].max())
    if most == 0:
        return ""
    metrics = ", ".join(dict.fromkeys(rows.loc[rows["dropped"] > 0, "metric"]))
    return f"Intervals leave out up to {most} bootstrap resamples without ground truth to score ({metrics})."


def uneven(scores: pd.DataFrame) -> str:
    """A warning where the networks of a figure have different numbers of seeds, otherwise an empty string."""
    counts: dict[int, list[str]] = {}
    trained = scores[(scores["role"] != "baseline") | (scores["epochs"] > 0)]  # own weights are one network for all seeds
    for cell, seeds in trained.groupby("cell", sort=False)["seeds"].max().items():
        counts.setdefault(int(seeds), []).append(str(cell))
    if len(counts) < 2:
        return ""
    parts = (f"{seeds}: {', '.join(cells)}" for seeds, cells in sorted(counts.items(), reverse=True))
    return f"The networks have different numbers of seeds, so their curves average different seeds. {'; '.join(parts)}."


def _sized(difference: float, digits: int) -> str:
    if math.isnan(difference):
        return "undefined"
    size = f"{abs(difference):.{digits}f}"
    if float(size) == 0:
        return "no better and no worse"
    return f"{size} {'better' if difference > 0 else 'worse'}"


OURS = ("baseline", "continued", "retrained")


def beside(rows: pd.DataFrame) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines that show one of the paper's tables beside ours, from its rows of `analysis.recovery.beside_paper`.

    Where several of our networks or metrics correspond to one of the paper's, each has its own columns, headed by the retrained
    streams or the metric's name.
    """
    several = rows.groupby("metric")["our_metric"].nunique().max() > 1
    names = [
        ", ".join(part for part in (streams, own if several else "") if part)
        for streams, own in zip(rows["streams"], rows["our_metric"], strict=True)
    ]
    named = rows.assign(variant=names)
    # Fusions differ in which streams were retrained, but share one baseline.
    shared = named.groupby(["metric", "level"])["baseline"].nunique().max() == 1
    ours = [
        (name, column)
        for place, name in enumerate(dict.fromkeys(names))
        for column in OURS
        if not (place and shared and column == OURS[0])
    ]
    headings = ("metric", "level", "paper A", "paper B", *(f"{name}\n{column}" if name else column for name, column in ours))
    lines = []
    for (metric, level), of_level in named.groupby(["metric", "level"], sort=False):
        by_name = {row["variant"]: row for _, row in of_level.iterrows()}
        paper = of_level[["paper_baseline", "paper_retrained"]].iloc[0]
        printed = ["not retrained" if math.isnan(value) else f"{value:.3f}" for value in paper]
        lines.append((str(metric), str(level), *printed, *(_ours(by_name[name], column) for name, column in ours)))
    return headings, lines


def _ours(row: pd.Series, column: str) -> str:
    return str(row["retrained_at_this_level"]) if math.isnan(row[column]) else f"{row[column]:.3f}"
