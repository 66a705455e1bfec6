"""Average precision as COCO's program computes it (Lin et al. 2014), for whatever is matched by a likeness in 0..1.

Boxes are matched by intersection over union, people by the likeness of their key points. What each image contributes is found once
(`assigned`, `outcomes`); a resample of images then only weighs them (`area`). Predictions of equal scores are one point of the
precision-recall curve: no threshold tells them apart, and no figure hangs on the order of files. COCO's own program ranks them by
that order; without ties the figures are equal.

To read the curve at other recalls, write a function like `coco_steps`.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVELS = np.linspace(0.5, 0.95, 10)
"""The likenesses from which on COCO takes a truth for found."""
RECALLS = np.linspace(0, 1, 101)
"""At which COCO reads the precision."""
CHUNK = 2**25
"""Predictions x resamples that are looked at together: what scoring needs of memory."""

RIGHT, WRONG, IGNORED = 1, 0, -1
"""What becomes of a prediction. It is ignored where it found what is not asked for."""

Steps = Callable[[npt.NDArray[np.int64], Floats], npt.NDArray[np.int64]]
"""(right ones (P, R), truths (R,)) to how many of the recalls at which precision is read are reached."""


def outside(areas: npt.NDArray[np.floating], sizes: npt.NDArray[np.float64]) -> Bools:
    """(S, N): which of N areas are none of each of S sizes, (S, 2) least and most."""
    return np.asarray((areas < sizes[:, :1]) | (areas > sizes[:, 1:]))


def assigned(likeness: Floats, beyond: Bools, crowd: Bools) -> npt.NDArray[np.int64]:
    """Which truth each prediction found, (D, S, 10), -1 for none, as COCO's program assigns them.

    In the order of their scores, predictions take the free truth that they are most like, the last of equals, one that is asked for
    before one that is not; a crowd is never taken. `likeness` (D, G) is 0 between classes; `beyond` (S, G) are not asked for.
    """
    found = np.full((len(likeness), len(beyond), len(LEVELS)), -1)
    free = np.ones((len(beyond), len(LEVELS), len(crowd)), np.bool_)
    for place in np.flatnonzero((likeness >= LEVELS[0]).any(axis=1)):
        enough = free & (likeness[place] >= LEVELS[:, None])
        for wanted in (enough & ~beyond[:, None], enough & beyond[:, None]):
            best = len(crowd) - 1 - np.where(wanted, likeness[place], -1)[..., ::-1].argmax(axis=-1)
            found[place] = np.where((found[place] < 0) & wanted.any(axis=-1), best, found[place])
        free &= crowd | (np.arange(len(crowd)) != found[place][..., None])
    return found


def outcomes(found: npt.NDArray[np.int64], beyond: Bools, without: Bools) -> npt.NDArray[np.int8]:
    """(D, S, 10), what became of each prediction.

    One that found nothing is wrong, or of no interest where it has itself not the size that is asked for: `without` (S, D).
    """
    alone = np.where(without, IGNORED, WRONG).T[..., None]
    unwanted = np.pad(beyond, ((0, 0), (0, 1)))[np.arange(len(beyond))[:, None], found]  # the last column is for -1
    return np.where(found < 0, alone, np.where(unwanted, IGNORED, RIGHT)).astype(np.int8)


def coco_steps(right: npt.NDArray[np.int64], truths: Floats) -> npt.NDArray[np.int64]:
    """How many of `RECALLS` are reached, in the floating-point numbers that COCO's program compares."""
    return np.searchsorted(RECALLS, right / truths, side="right")


def area(
    states: npt.NDArray[np.int8],
    scores: npt.NDArray[np.floating],
    image: npt.NDArray[np.int64],
    times: npt.NDArray[np.int32],
    truths: Floats,
    reading: tuple[Steps, int] = (coco_steps, len(RECALLS)),
) -> Floats:
    """(R,) areas under the curves of D predictions in the order of their scores; 0 without truths.

    `image` (D,) says where each is from, `times` (images, R) how often images count, `truths` (R,) how many there are to be found.
    Precision rises nowhere but where a prediction is right: the curve is evaluated at the scores of those alone.
    """
    steps, levels = reading
    asked = np.flatnonzero(states != IGNORED)
    right = states[asked] == RIGHT
    ends = np.flatnonzero(np.append(np.diff(scores[asked]) != 0, True))
    if not right.any():
        return np.zeros(times.shape[1])
    points = ends[np.logical_or.reduceat(right, np.concatenate([[0], ends[:-1] + 1]))]
    starts = np.concatenate([[0], points[:-1] + 1])
    given = np.add.reduceat(times[image[asked[: points[-1] + 1]]], starts, axis=0, dtype=np.int64).cumsum(axis=0)
    finders = np.flatnonzero(right)
    found = np.add.reduceat(times[image[asked[finders]]], np.searchsorted(finders, starts), axis=0, dtype=np.int64).cumsum(axis=0)
    precision = np.divide(found, given, out=np.zeros(found.shape), where=given > 0)
    best = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    reached = steps(found, np.where(truths > 0, truths, 1))
    under = (best * np.diff(reached, axis=0, prepend=0)).sum(axis=0) / levels
    return np.where(truths > 0, under, 0)
