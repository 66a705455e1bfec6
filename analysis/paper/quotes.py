"""The figures that the paper's text quotes, and the formula by which the tables reproduce each one, if they do.

Verdicts are computed from the tables. To add a quote, add a `Quote` to `QUOTES`: `claimed` is the quoted figure and `value` a
function of the tables. Where the text gives no number ("retraining decreases performance"), `claimed` counts the cases in which
the statement should hold.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from analysis.estimands import total
from analysis.paper.tables import COCO_KILOBYTES, PRIMARY, LevelCell, Network, Paper, Series, level_cells, percent

Relation = Literal["rounds to", "at most", "below", "above"]
Source = Literal["tables", "file sizes", "another paper", "judgement"]
Verdict = Literal["yes", "no", "not from the tables"]


@dataclass(frozen=True, kw_only=True)
class Quote:
    """A figure in the paper's text, with the formula that should reproduce it."""

    section: str
    words: str
    claimed: str
    """The figure as quoted: "78.4 %", "0.0600", or a count of cases."""
    formula: str
    """The computation of `value`, in words."""
    value: Callable[[Paper], float] | None = None
    """The computed figure, as a fraction where `claimed` is in percent; None where there is nothing to compute."""
    relation: Relation = "rounds to"
    """How the computed figure must relate to `claimed` for the quote to be reproduced."""
    source: Source = "tables"
    """Origin of the figure; only quotes from the tables get the verdict yes or no."""
    note: Callable[[Paper], str] | None = None
    """A further computed fact, printed below the quote."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A quote with its computed figure. `agrees`: whether the relation holds; None where nothing is computed."""

    quote: Quote
    value: float | None
    agrees: bool | None
    note: str

    @property
    def verdict(self) -> Verdict:
        """Whether the tables reproduce the figure."""
        if self.quote.source != "tables" or self.agrees is None:
            return "not from the tables"
        return "yes" if self.agrees else "no"


def check(quote: Quote, paper: Paper) -> Checked:
    """Compute the quote's formula and compare the result with the quoted figure."""
    note = quote.note(paper) if quote.note else ""
    if quote.value is None:
        return Checked(quote=quote, value=None, agrees=None, note=note)
    value = float(quote.value(paper))
    return Checked(quote=quote, value=value, agrees=_holds(value, quote.relation, quote.claimed), note=note)


def _holds(value: float, relation: Relation, claimed: str) -> bool:
    """Compare at the printed precision: in percent where the claim is, rounded to as many digits as the claim has."""
    number = claimed.removesuffix(" %")
    scaled = value * 100 if number != claimed else value
    if relation == "rounds to":
        return f"{scaled:.{len(number.partition('.')[2])}f}" == number
    if relation == "at most":
        return scaled <= float(number)
    return scaled < float(number) if relation == "below" else scaled > float(number)


def _loss(metric: str, network: Network, level: int) -> Callable[[Paper], float]:
    return lambda paper: paper[metric].loss(network, level)


def _score(metric: str, network: Network, level: int) -> Callable[[Paper], float]:
    return lambda paper: paper[metric].scores(network)[level]


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
        f"found for {_where(best)}, where the gap closed is {percent(best.gap_closed)}; next: {_where(second)}, "
        f"{percent(second.share_of_score)}; largest gap closed: {percent(closed.gap_closed)}, {_where(closed)}"
    )


def _note_rmse_at_5(paper: Paper) -> str:
    cell = next(c for c in level_cells(paper) if (c.series.metric, c.level) == ("rmse", 5))
    return (
        f"this is a share of the baseline's error; at jpeg 5 the share of score is {percent(cell.share_of_score)} and "
        f"the gap closed {percent(cell.gap_closed)}"
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
    return f"the first level below 0.9 is {first}, with {paper['global_accuracy'].retrained[first]}"


def _as_lossy_as(metric: str, level: int) -> Callable[[Paper], float]:
    """The level at which the retrained network's loss is nearest to the baseline's loss at `level`."""
    return lambda paper: min(
        paper[metric].levels,
        key=lambda q: abs(paper[metric].loss("retrained", q) - paper[metric].loss("pretrained", level)),
    )


def _heaviest_within(metric: str, loss: float) -> Callable[[Paper], float]:
    """The heaviest level up to which the retrained network never loses more than `loss`."""

    def value(paper: Paper) -> float:
        series = paper[metric]
        exceeded = [q for q in series.levels if series.loss("retrained", q) > loss]
        return series.levels[series.levels.index(exceeded[0]) - 1] if exceeded else series.levels[-1]

    return value


def _gains(series: Series, level: int) -> bool:
    return float(total(series.retrained[level], series.pretrained[level], series.mode)) > 0


def _note_gains(paper: Paper) -> str:
    streams = (s for s in paper.values() if s.task == "action")
    counts = (f"{s.metric} {sum(_gains(s, q) for q in s.heavier)} of {len(s.heavier)}" for s in streams)
    return f"levels at which retraining gains: {', '.join(counts)}"


def _note_cells_gained(paper: Paper) -> str:
    cells = level_cells(paper)
    return f"cells in which retraining gains: {sum(cell.points > 0 for cell in cells)} of {len(cells)}"


def _smallest_loss_beyond_mildest(series: Series) -> float:
    return min(series.loss("retrained", q) for q in series.heavier)


def _safe_at_85(paper: Paper) -> float:
    """Number of tasks whose retrained network loses at most 10 %: at JPEG 15, or for video at any CRF beyond the mildest."""
    stills = [s.loss("retrained", 15) for s in _primary(paper, "jpeg")]
    videos = [_smallest_loss_beyond_mildest(s) for s in _primary(paper, "h264")]
    return sum(loss <= 0.1 for loss in (*stills, *videos))


def _note_safe_at_85(paper: Paper) -> str:
    action = paper[PRIMARY["action"]]
    worst = max(s.loss("retrained", 15) for s in _primary(paper, "jpeg"))
    least = _smallest_loss_beyond_mildest(action)
    return f"largest loss at jpeg 15: {percent(worst)}; smallest loss of {action.metric} at any CRF: {percent(least)}"


def _note_crf_slope(paper: Paper) -> str:
    series = paper[PRIMARY["action"]]
    steps = (
        f"{float(total(series.pretrained[a], series.pretrained[b], series.mode)) / abs(b - a):.2f} from {a} to {b}"
        for a, b in pairwise(series.levels)
    )
    return f"points of {series.metric} lost per unit of CRF: {', '.join(steps)}"


def _note_lost_at_15(paper: Paper) -> str:
    losses = (f"{s.task} {percent(s.loss('pretrained', 15))}" for s in _primary(paper, "jpeg"))
    return f"loss at 15 itself: {', '.join(losses)}"


def _note_streams_at_50(paper: Paper) -> str:
    streams = (s for s in paper.values() if s.task == "action")
    losses = (f"{s.metric} {', '.join(percent(s.loss('pretrained', q)) for q in s.heavier)}" for s in streams)
    return f"loss at CRF 25, 30, 40, 50: {'; '.join(losses)}"


def _times_smaller(level: int) -> float:
    return COCO_KILOBYTES[95] / COCO_KILOBYTES[level]


def _lose_more_beyond(level: str) -> str:
    return f"lose more per unit of level in every step beyond {level} than in any step before it"


QUOTES: tuple[Quote, ...] = (
    Quote(
        section="abstract",
        words="decreases significantly below a JPEG ... 15%",
        claimed="4",
        formula=f"number of JPEG tasks (of 4, by primary metric) that {_lose_more_beyond('15')}",
        value=lambda paper: sum(s.steepest_beyond(15) for s in _primary(paper, "jpeg")),
        note=_note_lost_at_15,
    ),
    Quote(
        section="abstract",
        words="a H.264 Constant Rate Factor (CRF) of 40",
        claimed="1",
        formula=f"number of video tasks (of 1, by fusion) that {_lose_more_beyond('CRF 40')}",
        value=lambda paper: sum(s.steepest_beyond(40) for s in _primary(paper, "h264")),
        note=_note_crf_slope,
    ),
    Quote(
        section="abstract",
        words="recovers network performance by up to 78.4%",
        claimed="78.4 %",
        formula="largest share of score (R - B) / R over all 52 cells",
        value=lambda paper: _largest_share(paper).share_of_score,
        note=_note_largest_share,
    ),
    Quote(
        section="II",
        words="performance drops only for JPEG quality < 10",
        claimed="10",
        relation="below",
        formula="a result of Dodge and Karam [5]",
        source="another paper",
    ),
    Quote(
        section="II",
        words="as much as 59% performance increase",
        claimed="59 %",
        formula="a result of Zanjani et al. [17]",
        source="another paper",
    ),
    Quote(
        section="II",
        words="levelling off when 75% of MV are corrupted",
        claimed="75 %",
        formula="a result of Tom et al. [19]",
        source="another paper",
    ),
    Quote(
        section="II",
        words="sudden performance degradation around 128kbps",
        claimed="128",
        formula="a result of Klare and Burge [7]",
        source="another paper",
    ),
    Quote(
        section="III",
        words="tested six times",
        claimed="6",
        formula="number of levels in every JPEG table",
        value=lambda paper: min(len(s.levels) for s in paper.values() if s.codec == "jpeg"),
    ),
    Quote(
        section="III",
        words="retrained ... at each of the five higher levels",
        claimed="5",
        formula="number of levels beyond the mildest, in the table with the fewest",
        value=lambda paper: min(len(s.heavier) for s in paper.values()),
        note=lambda paper: ", ".join(
            f"{codec}: {min(len(s.heavier) for s in paper.values() if s.codec == codec)}"
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
        formula=f"number of metrics (of 1, RMSE) that {_lose_more_beyond('15')}",
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
        formula="largest (B - R) / B over the levels, RMSE",
        value=_error_removed("rmse"),
        note=_note_rmse_at_5,
    ),
    Quote(
        section="IV-C",
        words="degrades rapidly at ... 15 or less",
        claimed="1",
        formula=f"number of metrics (of 1, mAP) that {_lose_more_beyond('50')}",
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
        formula="level at which the retrained network's loss is nearest to the baseline's at 15, mAP",
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
        formula="heaviest level with (B_95 - R_q) / B_95 <= 10 %, pose mAP",
        value=_heaviest_within("oks_map", 0.1),
    ),
    Quote(
        section="IV-E",
        words="dramatically increases when we apply CRF factor 50",
        claimed="3",
        formula=f"number of streams (of 3) that {_lose_more_beyond('CRF 40')}",
        value=lambda paper: sum(s.steepest_beyond(40) for s in paper.values() if s.task == "action"),
        note=_note_streams_at_50,
    ),
    Quote(
        section="IV-E",
        words="reduces ... performance (aside from ... CRF 50",
        claimed="4",
        formula="number of CRFs (of 4) where this holds: fusion gains at 50 and does not at 25, 30 and 40",
        value=lambda paper: sum(_gains(paper["top1_fusion"], q) == (q == 50) for q in paper["top1_fusion"].heavier),
        note=_note_gains,
    ),
    Quote(
        section="V",
        words="Across all challenges, retraining ... recovers",
        claimed="5",
        formula="number of tasks (of 5) whose primary metric gains at the heaviest level",
        value=lambda paper: sum(_gains(s, s.levels[-1]) for s in _primary(paper)),
        note=_note_cells_gained,
    ),
    Quote(
        section="V",
        words="compression can safely reach as high as 85%",
        claimed="85 %",
        formula="1 - size at 15 / size at 95, COCO; takes 85 % to mean quality 15",
        value=lambda _: 1 - 1 / _times_smaller(15),
        source="file sizes",
    ),
    Quote(
        section="V",
        words="as high as 85% across all domains",
        claimed="5",
        formula="number of tasks (of 5) that lose at most 10 % retrained (as in IV-D): at JPEG 15, or at the best CRF above 23",
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
        formula="a judgement, not a measurement",
        source="judgement",
    ),
)
