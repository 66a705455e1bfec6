"""Pose metrics: COCO's average precision over object key-point similarity (OKS, paper table IV), and missed and false joints.

The contribution of each image (`Matches`) is computed once, for every confidence threshold in `grouping.THRESHOLDS`; a resample
only reweights images. To add a metric of joints, count it per image in `_joints` and divide in `score`. To add an average
precision, give it a line in `CURVES`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.contracts import CLEAN, Calibration, Condition, Source
from trainables.tasks.average_precision import Bools, Floats, area, assigned, outcomes, outside, share
from trainables.tasks.pose.grouping import PUBLISHED, THRESHOLDS, Found
from trainables.tasks.pose.skeleton import People, keypoint_similarity, labelled

SIZES = np.array([(0, 1e10), (32**2, 96**2), (96**2, 1e10)])
"""Smallest and largest area, in pixels, of COCO's size ranges of people: all, medium, large."""
MOST = 20
"""COCO scores at most this many detected people per image."""
FOUND = 0.5
"""Smallest key-point similarity at which a joint counts as found."""
CURVES: Mapping[str, tuple[int, slice]] = {
    "oks_map": (0, slice(None)),
    "ap50": (0, slice(0, 1)),
    "ap75": (0, slice(5, 6)),
    "ap_medium": (1, slice(None)),
    "ap_large": (2, slice(None)),
}
"""Each average precision by name: index into `SIZES`, and the `MATCH_THRESHOLDS` it is averaged over."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Contribution of one image."""

    scores: tuple[npt.NDArray[np.float32], ...]
    """Scores (D,) of the people found at each confidence threshold, falling."""
    states: tuple[npt.NDArray[np.int8], ...]
    """Their outcomes, (D, 3, 10), for each of `SIZES` and `MATCH_THRESHOLDS`."""
    people: npt.NDArray[np.int64]
    """(3,), number of counted people for each of `SIZES`."""
    joints: npt.NDArray[np.int64]
    """(thresholds, 3): detected joints, true positives among them, and labelled joints."""


def statistics(predictions: Sequence[Sequence[Found]], batch: Mapping[str, Any], source: Source) -> list[Matches]:  # noqa: ARG001
    """Contribution of each image, from the people found at each threshold and the batch's `truths`, both in native pixels."""
    return [_matches(found, truth) for found, truth in zip(predictions, batch["truths"], strict=True)]


def _matches(found: Sequence[Found], truth: People) -> Matches:
    excluded = outside(truth["areas"], SIZES) | ~labelled(truth)
    every = [_ranked(each) for each in found]
    return Matches(
        scores=tuple(each.scores for each in every),
        states=tuple(
            outcomes(assigned(oks(each.keypoints, truth), excluded, truth["crowd"]), excluded, outside(_extents(each), SIZES))
            for each in every
        ),
        people=(~excluded).sum(axis=1),
        joints=np.array([_joints(each.keypoints, truth) for each in found], np.int64),
    )


def _ranked(found: Found) -> Found:
    order = np.argsort(-found.scores, kind="stable")[:MOST]
    return Found(found.keypoints[order], found.scores[order])


def _extents(found: Found) -> Floats:
    """Areas (P,) of the boxes around all key points of found people; as in COCO's program, missing key points count as (0, 0)."""
    places = found.keypoints[..., :2].astype(np.float64)
    return np.asarray((places.max(axis=1) - places.min(axis=1)).prod(axis=-1))


def oks(keypoints: npt.NDArray[np.float32], truth: People) -> Floats:
    """Object key-point similarity (P, N) in 0..1 of found people (P, 17, 3) and N true ones: the mean over labelled key points.

    As in COCO's program, a person without labelled key points is compared by the distance to a box of three times the size.
    """
    known = truth["keypoints"][..., 2] > 0
    any_known: Bools = np.asarray(known.any(axis=1))[:, None]
    found = keypoints[:, None, :, :2].astype(np.float64)
    start, end = truth["boxes"][:, None, :2], truth["boxes"][:, None, 2:]
    around = found - np.clip(found, 2 * start - end, 2 * end - start)
    offsets = np.where(any_known[..., None], found - truth["keypoints"][..., :2], around)
    counted = known | ~any_known
    return np.asarray((keypoint_similarity(offsets, truth["areas"]) * counted).sum(axis=-1) / counted.sum(axis=-1))


def _joints(keypoints: npt.NDArray[np.float32], truth: People) -> tuple[int, int, int]:
    """Numbers of detected joints, of true positives among them, and of labelled joints.

    Per key point, the most similar pairs are matched first. Unmatched detections inside an unlabelled person's box do not count.
    """
    present = keypoints[..., 2] > 0
    known = (truth["keypoints"][..., 2] > 0) & labelled(truth)[:, None]
    offsets = keypoints[:, None, :, :2].astype(np.float64) - truth["keypoints"][None, :, :, :2]
    near = keypoint_similarity(offsets, truth["areas"]) * present[:, None] * known
    right = np.zeros_like(present)
    taken = np.zeros_like(known)
    candidates = np.argwhere(near >= FOUND)
    for one, other, joint in candidates[np.argsort(-near[tuple(candidates.T)], kind="stable")]:
        if not right[one, joint] and not taken[other, joint]:
            right[one, joint] = taken[other, joint] = True
    boxes = truth["boxes"][~labelled(truth)]
    places = keypoints[..., None, :2]
    within = ((places >= boxes[:, :2]) & (places <= boxes[:, 2:])).all(axis=-1).any(axis=-1)
    return int((present & (right | ~within)).sum()), int(right.sum()), int(known.sum())


def score(
    matches: Sequence[Matches], weights: npt.NDArray[np.int64], *, joints: int = PUBLISHED, tuned: int = PUBLISHED
) -> dict[str, Floats]:
    """Metrics of N images under weights (R, N), each (R,), in 0..1.

    Average precisions at the published confidence threshold: `oks_map` (over OKS .50:.95), `ap50`, `ap75`, `ap_medium`, `ap_large`;
    at the threshold with index `tuned`: `oks_map_tuned`. At the threshold with index `joints`: `missed_joints` (share of labelled
    joints) and `false_joints` (share of detected joints). A share of no detected joints is 0, and so is a share of people (of a
    size) that no image has. A resample without people in a split that has some is NaN.
    """
    found = {name: _average_precision(matches, weights, PUBLISHED, name) for name in CURVES}
    found["oks_map_tuned"] = found["oks_map"] if tuned == PUBLISHED else _average_precision(matches, weights, tuned, "oks_map")
    given, right, known = (weights @ np.array([each.joints[joints] for each in matches], np.float64)).T
    labelled_at_all = any(each.joints[joints][2] for each in matches)
    for name, part, whole in (("missed_joints", known - right, known), ("false_joints", given - right, given)):
        found[name] = share(part, whole, supported=whole is known and labelled_at_all)
    return found


def _average_precision(matches: Sequence[Matches], weights: npt.NDArray[np.int64], threshold: int, name: str) -> Floats:
    """One average precision of `CURVES`, (R,)."""
    size, thresholds = CURVES[name]
    scores = np.concatenate([each.scores[threshold] for each in matches])
    order = np.argsort(-scores, kind="stable")
    image = np.repeat(np.arange(len(matches)), [len(each.scores[threshold]) for each in matches])[order]
    states = np.concatenate([each.states[threshold] for each in matches])[order, size, thresholds]
    people = weights.astype(np.float64) @ np.array([each.people[size] for each in matches], np.float64)
    times = np.ascontiguousarray(weights.T.astype(np.int32))
    areas = np.mean([area(column, scores[order], image, times, people) for column in states.T], axis=0)
    supported = any(each.people[size] for each in matches)
    return np.where(people > 0, areas, np.nan if supported else 0.0)


def calibrate(validation: Callable[[Condition], Sequence[Matches]], condition: Condition) -> Calibration:
    """`score` with the best confidence thresholds on validation (paper section IV-D).

    The threshold of joints is chosen on clean images for all conditions, the tuned threshold under the condition itself.
    """
    joints, tuned = best_for_joints(validation(CLEAN)), best_for_people(validation(condition))
    chosen = {"joint_threshold": THRESHOLDS[joints], "tuned_threshold": THRESHOLDS[tuned]}
    return Calibration(partial(score, joints=joints, tuned=tuned), chosen)


def best_for_joints(matches: Sequence[Matches]) -> int:
    """Index of the threshold with the best F1 of joints; the published one where it is among the best."""
    given, right, known = np.sum([each.joints for each in matches], axis=0).astype(np.float64).T
    return _best(2 * right / np.maximum(given + known, 1))


def best_for_people(matches: Sequence[Matches]) -> int:
    """Index of the threshold with the best `oks_map`; the published one where it is among the best."""
    once = np.ones((1, len(matches)), np.int64)
    return _best(np.array([_average_precision(matches, once, place, "oks_map")[0] for place in range(len(THRESHOLDS))]))


def _best(values: Floats) -> int:
    return PUBLISHED if values[PUBLISHED] == values.max() else int(values.argmax())
