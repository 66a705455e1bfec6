"""The estimands of the study and their intervals, as pure functions on numbers and arrays.

They compare three networks: the baseline B, the continued control C (the baseline trained on, on clean, for as long as a retrained
network) and the retrained network R. `q` is a test condition. `reference` is the condition that a loss is measured from: clean, or
the mildest level, as in the paper's tables. Every function takes numbers or arrays that broadcast: a score, scores of S seeds (S,),
or their R bootstrap replicates (S, R).

Differences are oriented: positive is better, whatever the metric's mode. Nothing is clipped.

A ratio is computed in two steps: `..._terms` returns (numerator, denominator) on a last axis of length 2, and `quotient` divides
them. The interval of a ratio (`ratio`) needs both terms per seed and per resample, never the quotients.

Each interval names its kind. "these networks": seeds are fixed and only test items are resampled. "this recipe": seeds also count
as sampled. To add an estimand, write it here as a function of scores (a ratio as `..._terms`); `interval` and `ratio` apply to it
unchanged. To add an interval, add a `Kind`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Mode = Literal["max", "min"]
Kind = Literal["these networks", "this recipe"]
FloatArray = npt.NDArray[np.float64]
MIN_RESAMPLES = 2
"""Fewest resamples from which a variance can be estimated."""


# --- in points --------------------------------------------------------------------------------------------------------


def sign(mode: Mode) -> int:
    """+1 where a higher metric is better ("max"), -1 where a lower one is ("min"). Raises ValueError for any other mode."""
    if mode == "max":
        return 1
    if mode == "min":
        return -1
    raise ValueError(f"unknown mode {mode!r}: expected 'max' or 'min'")


def total(retrained: npt.ArrayLike, baseline: npt.ArrayLike, mode: Mode) -> FloatArray:
    """R_q - B_q, oriented: the total gain of retraining at q, in the metric's units.

    Equals `longer_training` plus `compression`. Shapes broadcast; scalars give a numpy scalar.
    """
    return _oriented(retrained, baseline, mode)


def longer_training(continued: npt.ArrayLike, baseline: npt.ArrayLike, mode: Mode) -> FloatArray:
    """C_q - B_q, oriented: the part of `total` that longer training on clean gains too."""
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
    """(R_q - C_q, C_ref - C_q) on a last axis of 2: how much retraining wins back, and the gap that compression opens.

    Both terms use the continued network as control, so neither is credited with longer training.
    """
    return _terms(_oriented(retrained, continued, mode), _oriented(continued_reference, continued, mode))


def gap_closed_terms(
    retrained: npt.ArrayLike, baseline: npt.ArrayLike, baseline_reference: npt.ArrayLike, mode: Mode
) -> FloatArray:
    """(R_q - B_q, B_ref - B_q) on a last axis of 2: the same against the baseline, comparable with the paper.

    The denominator differs from that of the attributable gap, so the two ratios must not be subtracted.
    """
    return _terms(_oriented(retrained, baseline, mode), _oriented(baseline_reference, baseline, mode))


def share_of_score_terms(retrained: npt.ArrayLike, baseline: npt.ArrayLike, mode: Mode) -> FloatArray:
    """(R_q - B_q, R_q) on a last axis of 2: the definition behind the paper's "up to 78.4 %" (abstract).

    For a metric where lower is better only the difference changes sign: (B_q - R_q) / R_q is the baseline's excess error relative
    to the retrained network's error, and it may exceed 1. The paper's "20 %" for depth (section IV-B) is another definition,
    (B_q - R_q) / B_q: the error removed, relative to the baseline's error. On the same cell this function gives 25 %.
    """
    own = np.asarray(retrained, dtype=np.float64)
    return _terms(_oriented(retrained, baseline, mode), own)


def quotient(terms: npt.ArrayLike) -> FloatArray:
    """Numerator over denominator, (..., 2) -> (...). NaN where the denominator is zero, never infinite.

    Average the terms over seeds first: `ratio` bounds the ratio of the means, and the seed with the smallest gap would dominate a
    mean of ratios.
    """
    pair = np.asarray(terms, dtype=np.float64)
    numerator, denominator = pair[..., 0], pair[..., 1]
    out = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    value: FloatArray = out[()]  # one pair of terms gives a numpy scalar
    return value


def attributable_gap_closed(
    retrained: npt.ArrayLike, continued: npt.ArrayLike, continued_reference: npt.ArrayLike, mode: Mode
) -> FloatArray:
    """(R_q - C_q) / (C_ref - C_q): 1 closes the whole gap; NaN where there is no gap. Not clipped."""
    return quotient(attributable_gap_closed_terms(retrained, continued, continued_reference, mode))


def gap_closed(
    retrained: npt.ArrayLike,
    baseline: npt.ArrayLike,
    baseline_reference: npt.ArrayLike,
    mode: Mode,
) -> FloatArray:
    """(R_q - B_q) / (B_ref - B_q): 1 closes the whole gap; NaN where there is no gap. Not clipped."""
    return quotient(gap_closed_terms(retrained, baseline, baseline_reference, mode))


def share_of_score(retrained: npt.ArrayLike, baseline: npt.ArrayLike, mode: Mode) -> FloatArray:
    """(R_q - B_q) / R_q with an oriented difference (see `share_of_score_terms` for "min"). NaN where R_q is zero."""
    return quotient(share_of_score_terms(retrained, baseline, mode))


# --- intervals --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A contrast with its interval, in the metric's units.

    `value` is the mean over seeds. `df` are the degrees of freedom of Student's t; infinite means normal. All are NaN where a point
    is not finite, a replicate is infinite, or fewer than two resamples have values. `dropped` counts the resamples left out because
    a score is NaN on them.
    """

    value: float
    low: float
    high: float
    kind: Kind
    df: float
    dropped: int = 0


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A ratio (mean numerator over mean denominator) with Fieller's confidence set, as fractions: 1 is 100 %.

    `gap_too_small`: the set is unbounded, `low` and `high` are infinite, and only points should be printed. Where an
    `Interval` would be NaN, all values are NaN and the flag is off. `dropped` is that of `Interval`.
    """

    value: float
    low: float
    high: float
    gap_too_small: bool
    kind: Kind
    df: float
    dropped: int = 0


def interval(
    points: npt.ArrayLike,
    replicates: npt.ArrayLike,
    *,
    kind: Kind | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Confidence interval of a contrast: mean over seeds -+ t * standard error.

    "these networks" uses the variance of the mean over seeds across replicates, and the normal quantile. (Percentiles of the
    replicates would serve as well. With a normal interval both kinds share one centre, and "this recipe" is never the narrower.)

    "this recipe" uses S2_seed / S + V(mean over seeds) - [mean over seeds of V_s - V(mean)] / (S - 1), floored at V(mean), where V
    is the variance over replicates. Both S2_seed and V(mean) contain the item noise that seeds do not share; the last term removes
    it once. The quantile is Student's t with Satterthwaite's degrees of freedom (Satterthwaite 1946), at least S - 1: only S2_seed
    counts as uncertain, because the items are many. (A percentile bootstrap over 3 seeds is far too narrow.)

    A resample on which any of the scores is NaN is left out for all seeds, and counted in `dropped`.

    Args:
        points: (S,), the contrast on the test set per seed.
        replicates: (S, R), the contrast on R >= 2 resamples of the test items; every seed uses the same resamples.
        kind: default "this recipe", or "these networks" for a single seed; the result names it.
        confidence: in (0, 1).

    Raises:
        ValueError: shapes do not match, "this recipe" is asked of one seed, or the confidence is outside (0, 1).

    """
    moments = _moments(points, replicates, kind, width=1)
    value, error, df = float(moments.mean[0]), float(np.sqrt(moments.covariance[0, 0])), moments.df
    reach = _quantile(confidence, df) * error
    return Interval(value=value, low=value - reach, high=value + reach, kind=moments.kind, df=df, dropped=moments.dropped)


def ratio(
    points: npt.ArrayLike,
    replicates: npt.ArrayLike,
    *,
    kind: Kind | None = None,
    confidence: float = 0.95,
) -> Ratio:
    """Fieller's confidence set of a ratio of two means (Fieller 1954): every r at which numerator - r * denominator may be zero.

    The 2 x 2 covariance is that of `interval`. Its seed part, S2_seed / S less the correction, is projected onto the positive
    semidefinite matrices: the floor at V(mean) in two dimensions. The degrees of freedom are the smaller of the numerator's and the
    denominator's. The set is bounded exactly where the denominator differs from zero at this confidence; elsewhere the gap is too
    small.

    Args:
        points: (S, 2), numerator and denominator per seed (`..._terms`).
        replicates: (S, R, 2), the terms on R >= 2 resamples of the test items; every seed uses the same resamples.
        kind: as for `interval`.
        confidence: in (0, 1).

    Raises:
        ValueError: as for `interval`.

    """
    moments = _moments(points, replicates, kind, width=2)
    (a, b), (v, df) = moments.mean, (moments.covariance, moments.df)
    how: dict[str, Any] = {"kind": moments.kind, "df": df, "dropped": moments.dropped}
    t = _quantile(confidence, df)
    value = float(quotient(moments.mean))
    # (a - r b)^2 <= t^2 var(a - r b) is a quadratic inequality in r: lead r^2 - 2 half r + rest <= 0
    lead = b**2 - t**2 * v[1, 1]
    half = a * b - t**2 * v[0, 1]
    rest = a**2 - t**2 * v[0, 0]
    if np.isnan([lead, half, rest]).any():
        return Ratio(value=np.nan, low=np.nan, high=np.nan, gap_too_small=False, **how)
    if lead <= 0:
        return Ratio(value=value, low=-np.inf, high=np.inf, gap_too_small=True, **how)
    # r = a / b satisfies the inequality, so the root is real; max() guards against rounding where the variance is zero.
    root = float(np.sqrt(max(half**2 - lead * rest, 0.0)))
    low, high = float((half - root) / lead), float((half + root) / lead)
    return Ratio(value=value, low=low, high=high, gap_too_small=False, **how)


def p_value(points: npt.ArrayLike, replicates: npt.ArrayLike, *, kind: Kind | None = None) -> float:
    """Two-sided p-value of the hypothesis that the contrast is zero, with the variance and the t of `interval`.

    It is below 1 - confidence exactly where the interval excludes zero. Without any variance it is 0, or 1 where the contrast
    itself is zero. NaN where the interval is NaN.
    """
    moments = _moments(points, replicates, kind, width=1)
    value, error = float(moments.mean[0]), float(np.sqrt(moments.covariance[0, 0]))
    if np.isnan(value) or np.isnan(error):
        return float("nan")
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stats.t.sf(abs(value) / error, moments.df))


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's step-down adjusted p-values (Holm 1979), (m,) -> (m,) in the given order, at most 1.

    A NaN stays NaN and counts as a member of the family, so a missing test makes no other test more significant.

    Raises:
        ValueError: there is more than one axis, or a value outside [0, 1].

    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1:
        raise ValueError(f"p-values have shape {p.shape}: expected one axis")
    if ((p < 0) | (p > 1)).any():
        raise ValueError(f"p-value {p[(p < 0) | (p > 1)][0]} is outside [0, 1]")
    order = np.argsort(p)  # NaN sorts last and takes the smallest factors
    stepped = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return adjusted


# --- inside -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Mean over seeds (width,), its covariance (width, width), degrees of freedom, kind and resamples left out."""

    mean: FloatArray
    covariance: FloatArray
    df: float
    kind: Kind
    dropped: int


def _moments(points: npt.ArrayLike, replicates: npt.ArrayLike, kind: Kind | None, *, width: int) -> _Moments:
    scores, resampled = _checked(points, replicates, width)
    seeds = len(scores)
    if kind is None:
        kind = "this recipe" if seeds > 1 else "these networks"
    if kind not in ("these networks", "this recipe"):
        raise ValueError(f"unknown kind {kind!r}: expected 'these networks' or 'this recipe'")
    if kind == "this recipe" and seeds < 2:
        raise ValueError("'this recipe' needs at least two seeds: with one seed use 'these networks'")
    # Only differences on the same items are paired, so a resample is left out for all seeds and terms. The result counts them.
    missing = np.isnan(resampled).any(axis=(0, 2))
    dropped = int(missing.sum())
    if dropped:
        resampled = resampled[:, ~missing]
    if not (np.isfinite(scores).all() and np.isfinite(resampled).all() and resampled.shape[1] >= MIN_RESAMPLES):
        unknown = np.full((width, width), np.nan)
        return _Moments(mean=unknown[0], covariance=unknown, df=float("nan"), kind=kind, dropped=dropped)
    mean, items = scores.mean(axis=0), _covariance(resampled.mean(axis=0))
    if kind == "these networks":
        return _Moments(mean=mean, covariance=items, df=float("inf"), kind=kind, dropped=dropped)
    between = _covariance(scores) / seeds
    within = np.mean([_covariance(one) for one in resampled], axis=0)
    covariance = _projected(between - (within - items) / (seeds - 1)) + items
    df = min(_satterthwaite(float(covariance[i, i]), float(between[i, i]), seeds - 1) for i in range(width))
    return _Moments(mean=mean, covariance=covariance, df=df, kind=kind, dropped=dropped)


def _checked(points: npt.ArrayLike, replicates: npt.ArrayLike, width: int) -> tuple[FloatArray, FloatArray]:
    """Points as (S, width) and replicates as (S, R, width). Raises ValueError, naming both shapes, where they do not match."""
    scores = np.asarray(points, dtype=np.float64)
    resampled = np.asarray(replicates, dtype=np.float64)
    shapes = f"points {scores.shape}, replicates {resampled.shape}"
    if width == 1:
        scores, resampled = scores[..., np.newaxis], resampled[..., np.newaxis]
    if scores.ndim != 2 or resampled.ndim != 3 or scores.shape[-1] != width or resampled.shape[-1] != width:
        tail = "" if width == 1 else f", {width}"
        raise ValueError(f"{shapes}: expected (S{tail or ','}) and (S, R{tail})")
    if len(scores) != len(resampled) or len(scores) == 0:
        raise ValueError(f"{shapes}: expected the same number of seeds in both, at least 1")
    if resampled.shape[1] < MIN_RESAMPLES:
        raise ValueError(f"{shapes}: expected at least {MIN_RESAMPLES} resamples")
    return scores, resampled


def _covariance(rows: FloatArray) -> FloatArray:
    """Sample covariance (divisor n - 1) of (n, width) rows, always (width, width)."""
    centred = rows - rows.mean(axis=0)
    matrix: FloatArray = centred.T @ centred / (len(rows) - 1)
    return matrix


def _projected(matrix: FloatArray) -> FloatArray:
    """The nearest positive semidefinite matrix: negative eigenvalues become zero. For 1 x 1 this is max(., 0)."""
    values, vectors = np.linalg.eigh(matrix)
    nearest: FloatArray = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return nearest


def _satterthwaite(variance: float, between: float, seed_df: int) -> float:
    """Degrees of freedom of a variance; only its part `between` is estimated from few values."""
    if between == 0:
        return float("inf")
    # Satterthwaite's formula is for sums. Here one term is subtracted, so it may fall below the seeds' own degrees of freedom.
    return max(seed_df * (variance / between) ** 2, float(seed_df))


def _quantile(confidence: float, df: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: expected a value between 0 and 1")
    return float(stats.t.ppf((1 + confidence) / 2, df))  # for an infinite df scipy uses the normal distribution


def _oriented(better: npt.ArrayLike, worse: npt.ArrayLike, mode: Mode) -> FloatArray:
    difference: FloatArray = np.asarray(better, dtype=np.float64) - np.asarray(worse, dtype=np.float64)
    return sign(mode) * difference


def _terms(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    return np.stack(np.broadcast_arrays(numerator, denominator), axis=-1)
