"""Decoding of heat maps and affinity fields into people (Cao et al. 2017): peaks, links between peaks, assembly of people.

Peaks and links are computed once, for all pairs of peaks at a time. A confidence threshold then only removes peaks, so that many
thresholds cost little more than one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trainables.tasks.pose.skeleton import KEYPOINTS, LIMB_ENDS, PARTS, REDUNDANT

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
"""Confidences that a peak must exceed to become a joint; people are decoded at each of these thresholds."""
PUBLISHED = THRESHOLDS.index(0.1)
"""Index of the published threshold."""
MOST = 40
"""At most this many peaks per part are used, the highest; an untrained network yields hundreds."""

PLACES = np.linspace(0, 1, 10, dtype=np.float32)
"""Sampling positions along a limb, as fractions of its length."""
AFFINITY, MISSES = 0.05, 1
"""The field's component along a limb must exceed `AFFINITY` at all sampling positions except at most `MISSES`."""
MIN_PARTS, MIN_SCORE = 3, 0.2
"""Smallest number of parts of a person, and smallest total score of its parts and limbs per part."""


class Found(NamedTuple):
    """The P people found at one threshold."""

    keypoints: Floats
    """(P, 17, 3): x, y and confidence; zeros for missing key points."""
    scores: Floats
    """(P,) in 0..1: sum of the confidences of the parts found, divided by the number of parts of a body (18)."""


@dataclass(frozen=True)
class Peaks:
    """K candidate positions of parts, ordered by part and falling score."""

    part: Integers
    x: Floats
    y: Floats
    """Coordinates in cells; the centre of cell i is i + 0.5."""
    score: Floats


@dataclass(frozen=True)
class Links:
    """C pairs of peaks joined by the fields, ordered by limb and falling score."""

    limb: Integers
    first: Integers
    second: Integers
    score: Floats


def people(maps: Floats, fields: Floats, thresholds: Sequence[float] = THRESHOLDS) -> list[Found]:
    """Decode heat maps (18 or more, h, w) and fields (38, h, w) into people at each threshold, with coordinates in cells."""
    found = peaks(maps[: len(PARTS)], min(thresholds))
    joined = links(found, fields)
    return [_people(found, joined, threshold) for threshold in thresholds]


def peaks(maps: Floats, least: float) -> Peaks:
    """Local maxima of maps (18, h, w) above `least`, among eight neighbours, with sub-cell coordinates.

    The sub-cell offset is the top of a Gaussian through the peak and its two neighbours along each axis.
    """
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    height, width = maps.shape[1:]
    top = maps > least
    for row in range(3):
        for column in range(3):
            neighbour = padded[:, row : row + height, column : column + width]
            if (row, column) < (1, 1):  # among equal neighbours the last is the peak
                top &= maps >= neighbour
            elif (row, column) > (1, 1):
                top &= maps > neighbour
    part, i, j = np.nonzero(top)
    score = maps[part, i, j]
    order = np.lexsort((-score, part))
    ranks = np.arange(len(part)) - np.searchsorted(part[order], part[order])
    order = order[ranks < MOST]
    part, i, j, score = part[order], i[order], j[order], score[order]
    x = j + 0.5 + _offset(padded[part, i + 1, j], score, padded[part, i + 1, j + 2])
    y = i + 0.5 + _offset(padded[part, i, j + 1], score, padded[part, i + 2, j + 1])
    return Peaks(part, x.astype(np.float32), y.astype(np.float32), score)


def _offset(before: Floats, top: Floats, after: Floats) -> Floats:
    """Offset of a Gaussian's top from the centre of the middle cell, at most half a cell; 0 at the border of the map."""
    inside = np.isfinite(before) & np.isfinite(after)
    # Neighbours are raised to a thousandth of the top: networks also output negative values, which have no logarithm.
    low, middle, high = (np.log(np.maximum(np.where(inside, each, top), top / 1000)) for each in (before, top, after))
    bend = low - 2 * middle + high
    return np.asarray(np.clip(np.divide((low - high) / 2, bend, out=np.zeros_like(bend), where=bend < -1e-6), -0.5, 0.5))


def links(found: Peaks, fields: Floats) -> Links:
    """Pairs of peaks joined by a limb's field. The score is the field's mean along the line, reduced for distant pairs."""
    starts = np.searchsorted(found.part, np.arange(len(PARTS) + 1))
    pairs = []
    for limb, (one, other) in enumerate(LIMB_ENDS):
        first, second = np.meshgrid(np.arange(starts[one], starts[one + 1]), np.arange(starts[other], starts[other + 1]))
        pairs.append(np.stack([np.full(first.size, limb), first.ravel(), second.ravel()]))
    limb, first, second = np.concatenate(pairs, axis=1)
    for places in (PLACES[1::3], PLACES):  # a few positions rule out most pairs
        along, length = _along(found, fields, limb, first, second, places)
        kept = (along <= AFFINITY).sum(axis=1) <= MISSES
        limb, first, second, along, length = limb[kept], first[kept], second[kept], along[kept], length[kept]
    score = along.mean(axis=1) + np.minimum(0.5 * fields.shape[1] / length - 1, 0)
    order = np.lexsort((-score, limb))
    order = order[score[order] > 0]
    return Links(limb[order], first[order], second[order], score[order])


def _along(
    found: Peaks, fields: Floats, limb: Integers, first: Integers, second: Integers, places: Floats
) -> tuple[Floats, Floats]:
    """Components of the field along the line between two peaks, (C, places), and the lengths of the lines in cells, (C,)."""
    right, down = found.x[second] - found.x[first], found.y[second] - found.y[first]
    length = np.maximum(np.hypot(right, down), np.float32(1e-6))
    x, y = (start[first][:, None] + step[:, None] * places for start, step in ((found.x, right), (found.y, down)))
    across, downwards = (_read(fields, 2 * limb + axis, x, y) for axis in (0, 1))
    return (across * right[:, None] + downwards * down[:, None]) / length[:, None], length


def _read(fields: Floats, channel: Integers, x: Floats, y: Floats) -> Floats:
    """Values (C, K) of one channel per row, bilinearly interpolated at coordinates in cells."""
    height, width = fields.shape[1:]
    x, y = np.clip(x - 0.5, 0, width - 1), np.clip(y - 0.5, 0, height - 1)
    j, i = np.minimum(x.astype(np.int64), max(width - 2, 0)), np.minimum(y.astype(np.int64), max(height - 2, 0))
    right, down = x - j, y - i
    j1, i1, channel = np.minimum(j + 1, width - 1), np.minimum(i + 1, height - 1), channel[:, None]
    upper = fields[channel, i, j] * (1 - right) + fields[channel, i, j1] * right
    lower = fields[channel, i1, j] * (1 - right) + fields[channel, i1, j1] * right
    return np.asarray(upper * (1 - down) + lower * down, np.float32)


@dataclass(eq=False)
class _Person:
    """A person under assembly."""

    peaks: dict[int, int]
    """Index of the peak of each part found so far."""
    total: float
    """Sum of the scores of parts and limbs."""


def _people(found: Peaks, joined: Links, threshold: float) -> Found:
    """People at a threshold, assembled greedily: limb by limb, best link first; each peak is used at most once per limb."""
    allowed = found.score > threshold
    places = np.flatnonzero(allowed[joined.first] & allowed[joined.second])
    limbs = (each[places].tolist() for each in (joined.limb, joined.first, joined.second, joined.score))
    everybody: list[_Person] = []
    taken: set[tuple[int, int, int]] = set()
    confidence, parts = found.score.tolist(), LIMB_ENDS.tolist()
    for limb, first, second, score in zip(*limbs, strict=True):
        if (limb, 0, first) in taken or (limb, 1, second) in taken:
            continue
        taken |= {(limb, 0, first), (limb, 1, second)}
        _add(everybody, dict(zip(parts[limb], (first, second), strict=True)), score, confidence, limb)
    return _kept(found, everybody)


def _add(everybody: list[_Person], ends: dict[int, int], score: float, confidence: list[float], limb: int) -> None:
    """Add a limb to the person who has one of its ends, merge the two people who have one end each, or start a person."""
    owners = [person for person in everybody if ends.items() & person.peaks.items()]
    if not owners:
        if limb < len(LIMB_ENDS) - REDUNDANT:
            everybody.append(_Person(ends, sum(confidence[peak] for peak in ends.values()) + score))
    elif len(owners) == 1:
        (owner,) = owners
        added = {part: peak for part, peak in ends.items() if part not in owner.peaks}
        owner.peaks |= added
        owner.total += sum(confidence[peak] + score for peak in added.values())
    elif not owners[0].peaks.keys() & owners[1].peaks.keys():
        owners[0].peaks |= owners[1].peaks
        owners[0].total += owners[1].total + score
        everybody.remove(owners[1])


def _kept(found: Peaks, everybody: list[_Person]) -> Found:
    """Key points of the people with enough parts and a high enough score."""
    kept = [each for each in everybody if len(each.peaks) >= MIN_PARTS and each.total / len(each.peaks) >= MIN_SCORE]
    parts = np.zeros((len(kept), len(PARTS), 3), np.float32)
    values = np.stack([found.x, found.y, found.score], axis=-1)
    for number, each in enumerate(kept):
        parts[number, list(each.peaks)] = values[list(each.peaks.values())]
    return Found(parts[:, : len(KEYPOINTS)], np.asarray(parts[..., 2].sum(axis=1) / len(PARTS), np.float32))
