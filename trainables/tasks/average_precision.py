"""Average precision as COCO's evaluation program computes it (Lin et al. 2014), for any similarity in 0..1.

Boxes are matched by intersection over union (IoU), people by object key-point similarity (OKS). Matches are computed once per image
(`assigned`, `outcomes`); bootstrap resamples only reweight images (`area`). Predictions with equal scores form one point of the
precision-recall curve, so figures do not depend on the order of files. COCO's program ranks ties by file order; without ties the
figures are equal.

To read the curve at other recalls, write a function like `coco_steps`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MATCH_THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Smallest similarities, IoU or OKS, at which COCO counts a prediction as a match."""
RECALLS = np.linspace(0, 1, 101)
"""Recalls at which COCO reads the precision."""
CHUNK = 2**25
"""Largest number of predictions x resamples scored at once; it bounds the memory of scoring."""

RIGHT, WRONG, IGNORED = 1, 0, -1
"""Outcomes of a prediction: true positive, false positive, or not counted (it matches an excluded object)."""

Steps = Callable[[npt.NDArray[np.int64], Floats], npt.NDArray[np.int64]]
"""Maps (true positives (P, R), number of objects (R,)) to the number of recalls reached, among those where precision is read."""


def outside(areas: npt.NDArray[np.floating], sizes: npt.NDArray[np.float64]) -> Bools:
    """(S, N): whether each of N areas lies outside each of S size ranges, given as (S, 2) smallest and largest areas."""
    return np.asarray((areas < sizes[:, :1]) | (areas > sizes[:, 1:]))


def assigned(similarity: Floats, excluded: Bools, crowd: Bools) -> npt.NDArray[np.int64]:
    """Object matched by each prediction, (D, S, 10), -1 for none: D predictions, S size ranges, 10 `MATCH_THRESHOLDS`.

    Predictions are ordered by falling score. Each takes the most similar object that is still free, the last of equals; counted
    objects go before excluded ones; a crowd stays free. `similarity` (D, G) is 0 between classes; `excluded` (S, G) marks objects
    that do not count.
    """
    found = np.full((len(similarity), len(excluded), len(MATCH_THRESHOLDS)), -1)
    free = np.ones((len(excluded), len(MATCH_THRESHOLDS), len(crowd)), np.bool_)
    for place in np.flatnonzero((similarity >= MATCH_THRESHOLDS[0]).any(axis=1)):
        enough = free & (similarity[place] >= MATCH_THRESHOLDS[:, None])
        for wanted in (enough & ~excluded[:, None], enough & excluded[:, None]):
            best = len(crowd) - 1 - np.where(wanted, similarity[place], -1)[..., ::-1].argmax(axis=-1)
            found[place] = np.where((found[place] < 0) & wanted.any(axis=-1), best, found[place])
        free &= crowd | (np.arange(len(crowd)) != found[place][..., None])
    return found


def outcomes(found: npt.NDArray[np.int64], excluded: Bools, off_size: Bools) -> npt.NDArray[np.int8]:
    """Outcome of each prediction, (D, S, 10), from the objects it matched.

    A prediction without a match is wrong, or ignored where its own size is outside the range: `off_size` (S, D).
    """
    unmatched = np.where(off_size, IGNORED, WRONG).T[..., None]
    not_counted = np.pad(excluded, ((0, 0), (0, 1)))[np.arange(len(excluded))[:, None], found]  # the last column is for -1
    return np.where(found < 0, unmatched, np.where(not_counted, IGNORED, RIGHT)).astype(np.int8)


def share(part: Floats, whole: Floats, *, supported: bool) -> Floats:
    """`part` / `whole`, (R,). Where `whole` is 0: NaN if the split has what the resample lacks (`supported`), else 0."""
    empty = np.nan if supported else 0.0
    shares: Floats = np.divide(part, whole, out=np.full(len(part), empty), where=whole > 0)
    return shares


def coco_steps(right: npt.NDArray[np.int64], objects: Floats) -> npt.NDArray[np.int64]:
    """Number of `RECALLS` reached, compared in the same floating-point arithmetic as COCO's program."""
    return np.searchsorted(RECALLS, right / objects, side="right")


def area(
    states: npt.NDArray[np.int8],
    scores: npt.NDArray[np.floating],
    image: npt.NDArray[np.int64],
    times: npt.NDArray[np.int32],
    objects: Floats,
    reading: tuple[Steps, int] = (coco_steps, len(RECALLS)),
) -> Floats:
    """Areas under the precision-recall curves, (R,), of D predictions ordered by falling score; 0 where there are no objects.

    `states` (D,) are outcomes, `image` (D,) is the image of each prediction, `times` (images, R) counts how often each resample
    contains an image, `objects` (R,) is the number of objects. Precision only rises where a prediction is right, so the curve is
    evaluated at those scores alone.
    """
    steps, recalls = reading
    counted = np.flatnonzero(states != IGNORED)
    right = states[counted] == RIGHT
    ends = np.flatnonzero(np.append(np.diff(scores[counted]) != 0, True))
    if not right.any():
        return np.zeros(times.shape[1])
    points = ends[np.logical_or.reduceat(right, np.concatenate([[0], ends[:-1] + 1]))]
    starts = np.concatenate([[0], points[:-1] + 1])
    given = np.add.reduceat(times[image[counted[: points[-1] + 1]]], starts, axis=0, dtype=np.int64).cumsum(axis=0)
    finders = np.flatnonzero(right)
    found = np.add.reduceat(times[image[counted[finders]]], np.searchsorted(finders, starts), axis=0, dtype=np.int64).cumsum(axis=0)
    precision = np.divide(found, given, out=np.zeros(found.shape), where=given > 0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = steps(found, np.where(objects > 0, objects, 1))
    under = (best * np.diff(reached, axis=0, prepend=0)).sum(axis=0) / recalls
    return np.where(objects > 0, under, 0)
