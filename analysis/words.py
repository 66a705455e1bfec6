"""What came out of a study, in plain sentences, and the words that they are made of. To explain a word, add it to `GLOSSARY`.

Differences are oriented before they come here: positive is better, whatever the metric. The sentences therefore say "better" and
"worse", never "higher" and "lower".
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.estimands import total

SIGNIFICANT = 0.05
SCALE_NOTE = "Small-scale results say how the method behaves, not what the published networks score."
NO_RECOVERY = "No retrained network with its baseline and control is finished: there are scores here, and no recovery."

GLOSSARY: Mapping[str, str] = {
    "codec, level, ladder": "What compresses, its own parameter (a JPEG quality, an H.264 CRF), and its levels, mildest first.",
    "bit/px": "The size after coding, in bits per pixel, over all test items.",
    "clean": "Imagery as the data set distributes it; that may be compressed already.",
    "baseline (B)": "The network trained on clean imagery, or a user's own weights.",
    "continued (C)": "The control: the baseline trained on, on clean, for as long as a retrained network. Without it, longer "
    "training would be taken for recovery.",
    "retrained (R)": "The baseline trained on, for as long as the control, on imagery compressed at one level (constant-5) or at a "
    "level drawn anew for each sample (uniform).",
    "recalibrated": "The baseline with its batch-norm statistics taken at one level, nothing trained; its control is the baseline.",
    "cell, condition": "What is trained: architecture/codec/recipe. What it is tested on: clean, or a codec at a level.",
    "matched": "Tested at the one level that was trained at: the diagonal of the train x test matrix.",
    "R - B = (C - B) + (R - C)": "The total gain is longer training plus compression in training. R - C is the answer. "
    "Differences are oriented: above zero is better, also where a lower metric is better.",
    "attributable gap closed": "(R - C) / (C on clean - C): of what compression costs the control, the share that compression in "
    "training wins back.",
    "gap closed": "(R - B) / (B on clean - B): the same against the baseline, comparable with the paper; longer training counts.",
    "share of score": "(R - B) / R: the definition behind the paper's 78.4 %.",
    "clean cost": "R - C on clean imagery: below zero where compression in training costs score on clean.",
    "reference": "What a gap is measured from: clean, or the mildest level, which is the paper's.",
    "small": "The gap is not distinguishable from zero, so that a share of it would mean nothing.",
    "these networks": "A 95 % interval over other test items, for the very networks that were trained.",
    "this recipe": "A 95 % interval that counts in that other seeds might have been drawn; from two seeds on.",
    "Holm": "p-values adjusted over a task's coded conditions of its primary metric; everything else is exploratory.",
}


def better(rows: pd.DataFrame) -> str:
    """Which way the metric of some rows is better."""
    return "higher is better" if rows["mode"].iloc[0] == "max" else "lower is better"


def arrow(rows: pd.DataFrame) -> str:
    """The same as an arrow."""
    return "\N{UPWARDS ARROW}" if rows["mode"].iloc[0] == "max" else "\N{DOWNWARDS ARROW}"


def decimals(values: npt.ArrayLike) -> int:
    """After the point, so that the largest of some scores has three significant digits."""
    finite = np.abs(np.asarray(values, float))
    largest = float(finite[np.isfinite(finite)].max(initial=0.0))
    return 3 if largest == 0 else min(max(2 - math.floor(math.log10(largest)), 0), 6)


def condition(codec: str, level: int) -> str:
    """A test condition as it is read aloud."""
    return f"{codec} {level}" if codec else "clean"


def fall(scores: pd.DataFrame, codec: str) -> list[str]:
    """What the codec's heaviest level does to the networks trained on clean.

    `scores` are of one architecture, data set and metric in the table of `analysis.recovery.matrix`.
    """
    digits = decimals(scores["value"])
    said = []
    for role in ("baseline", "continued"):
        of_role = scores[scores["role"] == role]
        clean, coded = of_role[of_role["codec"] == ""], of_role[of_role["codec"] == codec]
        if clean.empty or coded.empty:
            continue
        heaviest, was = coded.iloc[-1], clean["value"].iloc[0]
        cost = float(total(heaviest["value"], was, heaviest["mode"]))
        said.append(
            f"The {'baseline' if role == 'baseline' else 'control (the baseline trained on, on clean)'} scores {was:.{digits}f} on "
            f"clean and {heaviest['value']:.{digits}f} at {condition(codec, heaviest['level'])}, {_sized(cost, digits)}."
        )
    coded = scores[scores["codec"] == codec]
    if not coded.empty:
        rates = coded.drop_duplicates("level").set_index("level")["bits_per_pixel"]
        said.append(
            f"{condition(codec, rates.index[-1])} takes {rates.iloc[-1]:.2f} bit/px, {condition(codec, rates.index[0])} "
            f"{rates.iloc[0]:.2f}."
        )
    return said


def heaviest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that answer for the heaviest level: networks trained at it, then at several levels, or all where there are none.

    `rows` are of one architecture, data set, codec and metric in the table of `analysis.recovery.recovery`.
    """
    at = rows.groupby("cell", sort=False).tail(1)
    matched_cells = set(rows.loc[rows["matched"], "cell"])
    answering = at[at["matched"] | ~at["cell"].isin(matched_cells)]
    return (at if answering.empty else answering).sort_values("matched", ascending=False, kind="stable")


def outcome(row: "pd.Series[Any]") -> list[str]:
    """What one retrained network's row at a level says: the gain, whether it is clear, the share of the gap, the clean cost."""
    trained = not row["recalibrated"]
    control = "the control" if trained else "the baseline"
    where = "at this level" if row["matched"] else "at this level among others" if row["seen"] else "at other levels"
    digits = decimals([row["baseline"], row["continued"], row["retrained"]])
    low, high, adjusted = row["compression_low"], row["compression_high"], row["p_holm"]
    how = f"trained {where}" if trained else "nothing trained"
    gain = _sized(row["compression"], digits)
    at = condition(row["codec"], row["level"])
    against = f"against {control}'s {row['continued']:.{digits}f}"
    said = [f"{row['recipe']}, {how}: {row['retrained']:.{digits}f} at {at} {against}, {gain}."]
    if not math.isnan(low):
        clear = not low <= 0 <= high
        holm = f", though not after Holm's adjustment (p = {adjusted:.2g})" if clear and adjusted >= SIGNIFICANT else ""
        said.append(
            f"95 % interval of the difference ({row['interval']}): {low:+.{digits}f} to {high:+.{digits}f}. It "
            f"{'excludes zero' if clear else 'includes zero: neither gain nor loss is shown'}{holm}."
        )
    share, least, most = (row[f"attributable_gap_closed_clean{end}"] for end in ("", "_low", "_high"))
    if row["attributable_gap_closed_clean_too_small"]:
        said.append(f"What compression costs {control} here is not distinguishable from zero, so no share of it is given.")
    elif not math.isnan(share):
        said.append(
            f"Of what compression costs {control}, {100 * share:.0f} % is won back (95 % interval {100 * least:.0f} % to "
            f"{100 * most:.0f} %)."
        )
    said.append(
        f"On clean imagery, against {control}: {_sized(row['clean_cost'], digits)} ({row['clean_cost_low']:+.{digits}f} to "
        f"{row['clean_cost_high']:+.{digits}f})."
    )
    return said


def enough(rows: pd.DataFrame) -> str:
    """Whether the seeds suffice for what some rows of the table of `analysis.recovery.recovery` say."""
    if rows.empty:
        return NO_RECOVERY
    seeds = int(rows["seeds"].min())
    if seeds == 1:
        return "One seed: what other seeds would give is not known; the intervals speak of these networks alone. Use --seeds 3."
    if seeds == 2:
        return "Two seeds: the spread over seeds rests on one difference, so intervals are wide. Use --seeds 3 or more."
    if ((rows["compression_low"] <= 0) & (rows["compression_high"] >= 0)).any():
        return (
            f"{seeds} seeds are too few to tell every difference at the heaviest level from zero; more seeds narrow the intervals."
        )
    if (rows["p_holm"] >= SIGNIFICANT).any():
        return (
            f"{seeds} seeds tell each difference at the heaviest level from zero taken alone, but not all after Holm's adjustment."
        )
    return f"{seeds} seeds suffice to tell the differences at the heaviest level from zero."


def uneven(scores: pd.DataFrame) -> str:
    """A warning where the networks that a figure shows were trained from different numbers of seeds; else nothing."""
    counts: dict[int, list[str]] = {}
    trained = scores[(scores["role"] != "baseline") | (scores["epochs"] > 0)]  # weights brought along are one network for all seeds
    for cell, seeds in trained.groupby("cell", sort=False)["seeds"].max().items():
        counts.setdefault(int(seeds), []).append(str(cell))
    if len(counts) < 2:
        return ""
    parts = (f"{seeds}: {', '.join(cells)}" for seeds, cells in sorted(counts.items(), reverse=True))
    return f"Numbers of seeds differ, so that curves are not of the same seeds. {'; '.join(parts)}."


def _sized(difference: float, digits: int) -> str:
    if math.isnan(difference):
        return "undefined"
    size = f"{abs(difference):.{digits}f}"
    if float(size) == 0:
        return "no better and no worse"
    return f"{size} {'better' if difference > 0 else 'worse'}"


OURS = ("baseline", "continued", "retrained")


def beside(rows: pd.DataFrame) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and lines of one of the paper's tables with ours in columns, from the rows of `recovery.beside_paper` for it.

    Where several of our networks or metrics answer one of the paper's, they have columns of their own, under the streams that were
    retrained or the metric's name.
    """
    several = rows.groupby("metric")["our_metric"].nunique().max() > 1
    names = [
        ", ".join(part for part in (streams, own if several else "") if part)
        for streams, own in zip(rows["streams"], rows["our_metric"], strict=True)
    ]
    named = rows.assign(variant=names)
    # Fusions differ in what was retrained; their baseline is one.
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
