"""The estimands of the study, and their intervals, as pure functions on numbers and arrays.

Three kinds of network are compared: the baseline B, the continued control C (trained on, on clean, for as long as a
retrained network) and the retrained R. `q` is a test condition, `reference` the condition to which a loss is compared:
clean, or the mildest level, which is what the paper's tables use. Every function takes numbers or arrays that
broadcast, so the same line serves the scores of a network, its bootstrap replicates (S, R) and its seeds (S,).

Differences are oriented: positive is better, whatever the metric's mode. Nothing is clipped.

A ratio comes in two steps, `..._terms` -> (numerator, denominator) on a last axis of two, then `quotient`: the interval
of a ratio (`ratio`) needs both terms, seed by seed and resample by resample, never the quotients.

Intervals are of two kinds, and say which they are. "these networks": the seeds are fixed, only the test items are
resampled. "this recipe": other seeds might have been drawn as well. To add an estimand, write it as a function of
scores here (as terms, where it is a ratio); the intervals then apply to it as they stand. To add an interval, give it a
`Kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Mode = Literal["max", "min"]
Kind = Literal["these networks", "this recipe"]
FloatArray = npt.NDArray[np.float64]


# --- in points --------------------------------------------------------------------------------------------------------


def sign(mode: Mode) -> int:
    """+1 where a higher metric is better ("max"), -1 where a lower one is ("min").

    Raises:
        ValueError: any other mode.

    """
    if mode == "max":
        return 1
    if mode == "min":
        return -1
    raise ValueError(f"mode {mode!r}: it is 'max' or 'min'")


def total(retrained: npt.ArrayLike, baseline: npt.ArrayLike, mode: Mode) -> FloatArray:
    """R_q - B_q, oriented: what retraining gains at q, in the metric's own units.

    It is `longer_training` plus `compression`, exactly. Shapes broadcast; scalars give a numpy scalar.
    """
    return _oriented(retrained, baseline, mode)


def longer_training(continued: npt.ArrayLike, baseline: npt.ArrayLike, mode: Mode) -> FloatArray:
    """C_q - B_q, oriented: the part of `total` that training on, on clean, gains too."""
    return _oriented(continued, baseline, mode)


def compression(retrained: npt.ArrayLike, continued: npt.ArrayLike, mode: Mode) -> FloatArray:
    """R_q - C_q, oriented: the part of `total` that is due to compression in training."""
    return _oriented(retrained, continued, mode)


def clean_cost(retrained_clean: npt.ArrayLike, continued_clean: npt.ArrayLike, mode: Mode) -> FloatArray:
    """R_clean - C_clean, oriented: negative where compression in training costs score on clean imagery."""
    return _oriented(retrained_clean, continued_clean, mode)


# --- as ratios --------------------------------------------------------------------------------------------------------


def attributable_gap_closed_terms(
    retrained: npt.ArrayLike, continued: npt.ArrayLike, continued_reference: npt.ArrayLike, mode: Mode
) -> FloatArray:
    """(R_q - C_q, C_ref - C_q) on a last axis of two: the gap that compression opens, and how much of it is won back.

    Every control term is the continued network's, so that longer training is credited to neither side.
    """
    return _terms(_oriented(retrained, continued, mode), _oriented(continued_reference, continued, mode))


def gap_closed_terms(
    retrained: npt.ArrayLike, baseline: npt.ArrayLike, baseline_reference: npt.ArrayLike, mode: Mode
) -> FloatArray:
    """(R_q - B_q, B_ref - B_q) on a last axis of two: the same against the baseline, comparable with the paper.

    Its denominator is another one than that of the attributable gap: the two ratios are never subtracted.
    """
    return _terms(_oriented(retrained, baseline, mode), _oriented(baseline_reference, baseline, mode))


def share_of_score_terms(retrained: npt.ArrayLike, baseline: npt.ArrayLike, mode: Mode) -> FloatArray:
    """(R_q - B_q, R_q) on a last axis of two: the definition behind the paper's "up to 78.4 %" (abstract).

    For a metric where lower is better only the difference changes sign: (B_q - R_q) / R_q, by how much the baseline's
    error exceeds the retrained network's, as a share of the latter. It is no share of a whole there and may exceed 1.
    It is also not the paper's "20 %" for depth (section IV-B), which is (B_q - R_q) / B_q, the error removed as a share
    of the baseline's; on the same cell this definition gives 25 %.
    """
    own = np.asarray(retrained, dtype=np.float64)
    return _terms(_oriented(retrained, baseline, mode), own)


def quotient(terms: npt.ArrayLike) -> FloatArray:
    """Numerator over denominator of (..., 2) terms, as (...): NaN where the denominator is zero, never infinite.

    Of several seeds, average the terms first: the ratio of the means is what `ratio` bounds, while a mean of ratios is
    ruled by the seed with the smallest gap.
    """
    pair = np.asarray(terms, dtype=np.float64)
    numerator, denominator = pair[..., 0], pair[..., 1]
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    value: FloatArray = out[()]  # a numpy scalar where the terms were one pair
    return value


def attributable_gap_closed(
    retrained: npt.ArrayLike, continued: npt.ArrayLike, continued_reference: npt.ArrayLike, mode: Mode
) -> FloatArray:
    """(R_q - C_q) / (C_ref - C_q); 1 is all of the gap, NaN where there is none. Not clipped."""
    return quotient(attributable_gap_closed_terms(retrained, continued, continued_reference, mode))


def gap_closed(
    retrained: npt.ArrayLike,
    baseline: npt.ArrayLike,
    baseline_reference: npt.ArrayLike,
    mode: Mode,
) -> FloatArray:
    """(R_q - B_q) / (B_ref - B_q); 1 is all of the gap, NaN where there is none. Not clipped."""
    return quotient(gap_closed_terms(retrained, baseline, baseline_reference, mode))


def share_of_score(retrained: npt.ArrayLike, baseline: npt.ArrayLike, mode: Mode) -> FloatArray:
    """(R_q - B_q) / R_q with the difference oriented; see `share_of_score_terms` for "min". NaN where R_q is zero."""
    return quotient(share_of_score_terms(retrained, baseline, mode))


# --- intervals --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A contrast with its interval, in the units of the points.

    `value` is the mean over seeds, `df` the degrees of freedom of its t (infinite: normal). All NaN where an input is
    not finite.
    """

    value: float
    low: float
    high: float
    kind: Kind
    df: float


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio (mean numerator over mean denominator) with Fieller's set, as fractions: 1 is 100 %.

    Where `gap_too_small`, the set is unbounded, `low` and `high` are infinite, and only points should be printed.
    All NaN, and not flagged, where an input is not finite.
    """

    value: float
    low: float
    high: float
    gap_too_small: bool
    kind: Kind
    df: float


def interval(
    points: npt.ArrayLike,
    replicates: npt.ArrayLike,
    *,
    kind: Kind | None = None,
    confidence: float = 0.95,
) -> Interval:
    """The interval of a contrast: mean over seeds -+ t * standard error.

    "these networks": the variance is that of the replicates of the mean over seeds, the quantile the normal one. (The
    replicates' own percentiles would do as well; a normal interval is taken so that both kinds have one centre and
    "this recipe" is never the narrower of the two.)

    "this recipe": variance = S2_seed / S + V(mean over seeds) - [mean over seeds of V_s - V(mean)] / (S - 1), where V
    is the variance over replicates. S2_seed holds the noise of the items that the seeds do not share, and so does
    V(mean): the last term takes it out once. The result is floored at V(mean). The quantile is Student's, with
    Satterthwaite's degrees of freedom (Satterthwaite 1946): only S2_seed counts as uncertain, since the items are many,
    and never fewer than the S - 1 that the seeds alone give. (A percentile bootstrap over 3 seeds is far too short.)

    Args:
        points: (S,), the contrast on the test set, seed by seed.
        replicates: (S, R), the same on R >= 2 resamples of the test items, the same resamples in every seed.
        kind: by default "this recipe", or "these networks" where there is but one seed; the result names it.
        confidence: in (0, 1).

    Raises:
        ValueError: shapes that do not fit; "this recipe" of one seed; a confidence outside (0, 1).

    """
    moments = _moments(points, replicates, kind, width=1)
    value, error, df = float(moments.mean[0]), float(np.sqrt(moments.covariance[0, 0])), moments.df
    reach = _quantile(confidence, df) * error
    return Interval(value=value, low=value - reach, high=value + reach, kind=moments.kind, df=df)


def ratio(
    points: npt.ArrayLike,
    replicates: npt.ArrayLike,
    *,
    kind: Kind | None = None,
    confidence: float = 0.95,
) -> Ratio:
    """Fieller's set of a ratio of two means (Fieller 1954): every r for which numerator - r * denominator may be zero.

    The 2 x 2 covariance is that of `interval`; its seed part, S2_seed / S less the correction, is projected onto the
    positive semidefinite matrices, which is the floor at V(mean) in two dimensions. Of the numerator's and the
    denominator's degrees of freedom the smaller is taken. The set is bounded if and only if the denominator differs
    from zero at this confidence; otherwise `gap_too_small`.

    Args:
        points: (S, 2), numerator and denominator, seed by seed (`..._terms`).
        replicates: (S, R, 2), the same on R >= 2 resamples of the test items, the same resamples in every seed.
        kind: as for `interval`.
        confidence: in (0, 1).

    Raises:
        ValueError: as for `interval`.

    """
    moments = _moments(points, replicates, kind, width=2)
    (a, b), (v, df) = moments.mean, (moments.covariance, moments.df)
    t = _quantile(confidence, df)
    value = float(quotient(moments.mean))
    # (a - r b)^2 <= t^2 var(a - r b) is a quadratic in r: lead r^2 - 2 half r + rest <= 0
    lead = b**2 - t**2 * v[1, 1]
    half = a * b - t**2 * v[0, 1]
    rest = a**2 - t**2 * v[0, 0]
    if np.isnan([lead, half, rest]).any():
        return Ratio(value=np.nan, low=np.nan, high=np.nan, gap_too_small=False, kind=moments.kind, df=df)
    if lead <= 0:
        return Ratio(value=value, low=-np.inf, high=np.inf, gap_too_small=True, kind=moments.kind, df=df)
    # a / b solves the inequality, so the root is real; the guard is against rounding where the variance is zero
    root = float(np.sqrt(max(half**2 - lead * rest, 0.0)))
    low, high = float((half - root) / lead), float((half + root) / lead)
    return Ratio(value=value, low=low, high=high, gap_too_small=False, kind=moments.kind, df=df)


def p_value(points: npt.ArrayLike, replicates: npt.ArrayLike, *, kind: Kind | None = None) -> float:
    """Two-sided p-value of "the contrast is zero", by the t, the variance and the arguments of `interval`.

    It is below 1 - confidence exactly where that interval excludes zero. With no variance at all it is 0, or 1 where
    the contrast is zero itself; NaN where an input is not finite.
    """
    moments = _moments(points, replicates, kind, width=1)
    value, error = float(moments.mean[0]), float(np.sqrt(moments.covariance[0, 0]))
    if np.isnan(value) or np.isnan(error):
        return float("nan")
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stats.t.sf(abs(value) / error, moments.df))


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given, (m,) -> (m,), at most 1.

    A NaN stays NaN but still counts as a member of the family: a test that is missing makes no other more significant.

    Raises:
        ValueError: more than one axis, or a value outside [0, 1].

    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"p-values of shape {p.shape}: one axis is needed")
    if ((p < 0) | (p > 1)).any():
        raise ValueError("a p-value lies outside [0, 1]")
    order = np.argsort(p)  # NaN last, where it takes the smallest factors
    stepped = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


# --- inside -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Mean over seeds (width,), its covariance (width, width), and what was assumed."""

    mean: FloatArray
    covariance: FloatArray
    df: float
    kind: Kind


def _moments(points: npt.ArrayLike, replicates: npt.ArrayLike, kind: Kind | None, *, width: int) -> _Moments:
    scores, resampled = _checked(points, replicates, width)
    seeds = len(scores)
    if kind is None:
        kind = "this recipe" if seeds > 1 else "these networks"
    if kind not in ("these networks", "this recipe"):
        raise ValueError(f"kind {kind!r}: it is 'these networks' or 'this recipe'")
    if kind == "this recipe" and seeds < 2:
        raise ValueError("'this recipe' needs two seeds or more; of one seed only 'these networks' is known")
    if not (np.isfinite(scores).all() and np.isfinite(resampled).all()):
        # a NaN score has no interval, rather than one that leaves the NaN out and looks as good as the others
        unknown = np.full((width, width), np.nan)
        return _Moments(mean=unknown[0], covariance=unknown, df=float("nan"), kind=kind)
    mean, items = scores.mean(axis=0), _covariance(resampled.mean(axis=0))
    if kind == "these networks":
        return _Moments(mean=mean, covariance=items, df=float("inf"), kind=kind)
    between = _covariance(scores) / seeds
    within = np.mean([_covariance(one) for one in resampled], axis=0)
    covariance = _projected(between - (within - items) / (seeds - 1)) + items
    df = min(_satterthwaite(float(covariance[i, i]), float(between[i, i]), seeds - 1) for i in range(width))
    return _Moments(mean=mean, covariance=covariance, df=df, kind=kind)


def _checked(points: npt.ArrayLike, replicates: npt.ArrayLike, width: int) -> tuple[FloatArray, FloatArray]:
    """Points as (S, width) and replicates as (S, R, width), or a ValueError that names both shapes."""
    scores = np.asarray(points, dtype=np.float64)
    resampled = np.asarray(replicates, dtype=np.float64)
    shapes = f"points {scores.shape}, replicates {resampled.shape}"
    if width == 1:
        scores, resampled = scores[..., np.newaxis], resampled[..., np.newaxis]
    if scores.ndim != 2 or resampled.ndim != 3 or scores.shape[-1] != width or resampled.shape[-1] != width:
        tail = "" if width == 1 else f", {width}"
        raise ValueError(f"{shapes}: (S{tail or ','}) and (S, R{tail}) are needed")
    if len(scores) != len(resampled) or len(scores) == 0:
        raise ValueError(f"{shapes}: as many seeds are needed in both, one at least")
    if resampled.shape[1] < 2:
        raise ValueError(f"{shapes}: two resamples at least are needed")
    return scores, resampled


def _covariance(rows: FloatArray) -> FloatArray:
    """Sample covariance (divisor n - 1) of (n, width) rows, always (width, width)."""
    centred = rows - rows.mean(axis=0)
    matrix: FloatArray = centred.T @ centred / (len(rows) - 1)
    return matrix


def _projected(matrix: FloatArray) -> FloatArray:
    """The nearest positive semidefinite matrix: negative eigenvalues become zero. Of 1 x 1: max(., 0)."""
    values, vectors = np.linalg.eigh(matrix)
    nearest: FloatArray = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return nearest


def _satterthwaite(variance: float, between: float, seed_df: int) -> float:
    """Degrees of freedom of a variance of which only the part `between` is estimated from few values."""
    if between == 0:
        return float("inf")
    # the formula may fall below what the seeds alone give, since one term is subtracted: it was made for sums
    return max(seed_df * (variance / between) ** 2, float(seed_df))


def _quantile(confidence: float, df: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: it lies between 0 and 1")
    return float(stats.t.ppf((1 + confidence) / 2, df))  # scipy takes an infinite df as the normal distribution


def _oriented(better: npt.ArrayLike, worse: npt.ArrayLike, mode: Mode) -> FloatArray:
    difference: FloatArray = np.asarray(better, dtype=np.float64) - np.asarray(worse, dtype=np.float64)
    return sign(mode) * difference


def _terms(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.stack(np.broadcast_arrays(numerator, denominator), axis=-1)
