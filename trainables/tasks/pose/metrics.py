"""Pose metrics: COCO's average precision over likenesses of key points, as the paper's Table IV, and joints missed and made up.

What each image contributes (`Sighting`) is found once for every threshold of `grouping.THRESHOLDS`; a resample then only weighs
images. To add a metric of joints, count it by image in `_joints` and divide in `score`; to add an average precision, give it a line
in `CURVES`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from trainables.tasks.average_precision import Bools, Floats, area, assigned, outcomes, outside
from trainables.contracts import Calibration
from trainables.tasks.pose.grouping import PUBLISHED, THRESHOLDS, Found
from trainables.tasks.pose.skeleton import People, asked_for, likeness

SIZES = np.array([(0, 1e10), (32**2, 96**2), (96**2, 1e10)])
"""Least and most area, in pixels, of COCO's people: all, medium, large."""
MOST = 20
"""People in an image that COCO looks at."""
NEAR = 0.5
"""The likeness of a single joint from which on it is found."""
CURVES: Mapping[str, tuple[int, slice]] = {
    "oks_map": (0, slice(None)),
    "ap50": (0, slice(0, 1)),
    "ap75": (0, slice(5, 6)),
    "ap_medium": (1, slice(None)),
    "ap_large": (2, slice(None)),
}
"""Of each average precision: which of `SIZES`, and which of `LEVELS` it is the mean over."""


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """What one image contributes."""

    scores: tuple[npt.NDArray[np.float32], ...]
    """(D,) of the people found at each threshold, falling."""
    states: tuple[npt.NDArray[np.int8], ...]
    """(D, 3, 10), what became of each for every one of `SIZES` and `LEVELS`."""
    people: npt.NDArray[np.int64]
    """(3,), how many there are to be found of each of `SIZES`."""
    joints: npt.NDArray[np.int64]
    """(thresholds, 3): joints found, those of them that are right, and joints that there are."""


def statistics(predictions: Sequence[Sequence[Found]], truths: Sequence[People]) -> list[Sighting]:
    """What each image contributes, from the people found at each threshold and the true ones, both in native pixels."""
    return [_sighting(found, truth) for found, truth in zip(predictions, truths, strict=True)]


def _sighting(found: Sequence[Found], truth: People) -> Sighting:
    unasked = ~asked_for(truth)
    beyond = outside(truth["areas"], SIZES) | unasked
    every = [_ranked(each) for each in found]
    return Sighting(
        scores=tuple(each.scores for each in every),
        states=tuple(
            outcomes(assigned(similarity(each.keypoints, truth), beyond, truth["crowd"]), beyond, outside(_extents(each), SIZES))
            for each in every
        ),
        people=(~beyond).sum(axis=1),
        joints=np.array([_joints(each.keypoints, truth) for each in found], np.int64),
    )


def _ranked(found: Found) -> Found:
    order = np.argsort(-found.scores, kind="stable")[:MOST]
    return Found(found.keypoints[order], found.scores[order])


def _extents(found: Found) -> Floats:
    """(P,) areas of the boxes around found people's key points, those that are nowhere included, as COCO's program takes them."""
    places = found.keypoints[..., :2].astype(np.float64)
    return np.asarray((places.max(axis=1) - places.min(axis=1)).prod(axis=-1))


def similarity(keypoints: npt.NDArray[np.float32], truth: People) -> Floats:
    """(P, N) object key-point similarities of found people (P, 17, 3) and true ones, in 0..1: the mean over labelled points.

    Where somebody has none, the distance to a box of three times the size stands for that to the points, as in COCO's program.
    """
    labelled = truth["keypoints"][..., 2] > 0
    anybody: Bools = np.asarray(labelled.any(axis=1))[:, None]
    found = keypoints[:, None, :, :2].astype(np.float64)
    start, end = truth["boxes"][:, None, :2], truth["boxes"][:, None, 2:]
    around = found - np.clip(found, 2 * start - end, 2 * end - start)
    apart = np.where(anybody[..., None], found - truth["keypoints"][..., :2], around)
    counted = labelled | ~anybody
    return np.asarray((likeness(apart, truth["areas"]) * counted).sum(axis=-1) / counted.sum(axis=-1))


def _joints(keypoints: npt.NDArray[np.float32], truth: People) -> tuple[int, int, int]:
    """Joints found, those of them that are right, and joints that are labelled.

    Of each kind, the most alike are paired first. What is none, but lies in the box of somebody without labels, is left out.
    """
    there = keypoints[..., 2] > 0
    labelled = (truth["keypoints"][..., 2] > 0) & asked_for(truth)[:, None]
    apart = keypoints[:, None, :, :2].astype(np.float64) - truth["keypoints"][None, :, :, :2]
    near = likeness(apart, truth["areas"]) * there[:, None] * labelled
    right = np.zeros_like(there)
    taken = np.zeros_like(labelled)
    candidates = np.argwhere(near >= NEAR)
    for one, other, joint in candidates[np.argsort(-near[tuple(candidates.T)], kind="stable")]:
        if not right[one, joint] and not taken[other, joint]:
            right[one, joint] = taken[other, joint] = True
    boxes = truth["boxes"][~asked_for(truth)]
    places = keypoints[..., None, :2]
    within = ((places >= boxes[:, :2]) & (places <= boxes[:, 2:])).all(axis=-1).any(axis=-1)
    return int((there & (right | ~within)).sum()), int(right.sum()), int(labelled.sum())


def score(
    sightings: Sequence[Sighting], weights: npt.NDArray[np.int64], *, joints: int = PUBLISHED, tuned: int = PUBLISHED
) -> dict[str, Floats]:
    """Metrics of N images under weights (R, N), each (R,), all in 0..1.

    At the published threshold, average precisions over COCO's ten likenesses: `oks_map`, `ap50`, `ap75`, `ap_medium`, `ap_large`.
    At the threshold number `tuned`: `oks_map_tuned`. At `joints`: `missed_joints`, of those there are, and `false_joints`, of those
    found. What is undefined is 0: a precision without anybody of that size, a share of no joints.
    """
    found = {name: _average_precision(sightings, weights, PUBLISHED, name) for name in CURVES}
    found["oks_map_tuned"] = found["oks_map"] if tuned == PUBLISHED else _average_precision(sightings, weights, tuned, "oks_map")
    given, right, there = (weights @ np.array([each.joints[joints] for each in sightings], np.float64)).T
    for name, part, whole in (("missed_joints", there - right, there), ("false_joints", given - right, given)):
        found[name] = np.divide(part, whole, out=np.zeros(len(weights)), where=whole > 0)
    return found


def _average_precision(sightings: Sequence[Sighting], weights: npt.NDArray[np.int64], threshold: int, name: str) -> Floats:
    """(R,) mean areas under the curves of `CURVES`."""
    size, levels = CURVES[name]
    scores = np.concatenate([each.scores[threshold] for each in sightings])
    order = np.argsort(-scores, kind="stable")
    image = np.repeat(np.arange(len(sightings)), [len(each.scores[threshold]) for each in sightings])[order]
    states = np.concatenate([each.states[threshold] for each in sightings])[order, size, levels]
    people = weights.astype(np.float64) @ np.array([each.people[size] for each in sightings], np.float64)
    times = np.ascontiguousarray(weights.T.astype(np.int32))
    return np.asarray(np.mean([area(column, scores[order], image, times, people) for column in states.T], axis=0))


def calibrate(clean: Sequence[Sighting], same: Sequence[Sighting]) -> Calibration:
    """`score` at the best thresholds on validation: for joints on `clean` imagery, the tuned one under the `same` condition."""
    joints, tuned = best_for_joints(clean), best_for_people(same)
    chosen = {"joint_threshold": THRESHOLDS[joints], "tuned_threshold": THRESHOLDS[tuned]}
    return Calibration(partial(score, joints=joints, tuned=tuned), chosen)


def best_for_joints(sightings: Sequence[Sighting]) -> int:
    """The number of the threshold of the best F1 of joints, the published one if there is no best."""
    given, right, there = np.sum([each.joints for each in sightings], axis=0).astype(np.float64).T
    return _best(2 * right / np.maximum(given + there, 1))


def best_for_people(sightings: Sequence[Sighting]) -> int:
    """The number of the threshold of the best `oks_map`, the published one if there is no best."""
    once = np.ones((1, len(sightings)), np.int64)
    return _best(np.array([_average_precision(sightings, once, place, "oks_map")[0] for place in range(len(THRESHOLDS))]))


def _best(values: Floats) -> int:
    return PUBLISHED if values[PUBLISHED] == values.max() else int(values.argmax())
