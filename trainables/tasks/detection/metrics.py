"""Detection metrics: COCO's average precision, VOC 2007's, and what happened to the objects at one threshold (section III-C).

What each image contributes (`Matches`) is found once; a resample then only weighs images. To add a metric at the threshold, count
it by image in `_counts` and divide in `_at_threshold`; to add an average precision, give it a line in `_curves`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.tasks.average_precision import (
    CHUNK,
    IGNORED,
    LEVELS,
    RECALLS,
    RIGHT,
    WRONG,
    Bools,
    Floats,
    Steps,
    area,
    assigned,
    coco_steps,
    outcomes,
    outside,
)
from trainables.contracts import Calibration
from trainables.tasks.detection.boxes import Truth

SIZES = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)])
"""Least and most area, in pixels, of COCO's objects: all, small, medium, large."""
NEAR = 0.1
"""The overlap below which a detection has nothing to do with an object (Hoiem et al. 2012)."""
MOST = 100
"""Detections of a class in an image that COCO looks at."""
THRESHOLD = 0.5
"""The score from which on a detection counts, where none was chosen on validation."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What one image contributes: D detections, by class and falling score, K classes."""

    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int16]
    coco: npt.NDArray[np.int8]
    """(D, 4, 10), what became of each for every one of `SIZES` and `LEVELS`."""
    voc: npt.NDArray[np.int8]
    """(D,), what became of each by VOC 2007's rules."""
    stray: Bools
    """(D,), whether it lies on nothing."""
    objects: npt.NDArray[np.int32]
    """(4, K), how many there are to be found of each of `SIZES` and class."""
    fates: npt.NDArray[np.float32]
    """(objects, 3), up to which threshold each object is found; taken for another class; found in the wrong place. -1 is never."""


def overlaps(boxes: npt.NDArray[Any], others: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """(D, G) intersections over unions of (D, 4) and (G, 4) boxes, and the shares of the D boxes that lie in the G.

    VOC 2007 measures pixels from first to last, xmax - xmin + 1; boxes here end exclusively, so that x1 - x0 is the same number.
    """
    one, other = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    both = np.clip(sides, 0, None).prod(axis=-1)
    area, its_area = ((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (one, other))
    union = area + its_area - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0), both / np.where(area > 0, area, 1)


def statistics(predictions: Sequence[Mapping[str, Any]], truths: Sequence[Truth], classes: int) -> list[Matches]:
    """What each image contributes, from detections (boxes (D, 4), scores (D,), labels (D,)) and truths."""
    return [_matches(prediction, truth, classes) for prediction, truth in zip(predictions, truths, strict=True)]


def _matches(prediction: Mapping[str, Any], truth: Truth, classes: int) -> Matches:
    order = _ranked(prediction["scores"], prediction["labels"])
    boxes, scores, labels = (prediction[name][order] for name in ("boxes", "scores", "labels"))
    crowd, unasked = truth["crowd"], truth["crowd"] | truth["difficult"]
    union, share = overlaps(boxes, truth["boxes"])
    overlap = np.where(crowd, share, union)
    own = labels[:, None] == truth["labels"]
    beyond = outside(truth["areas"], SIZES) | unasked
    found = assigned(np.where(own, overlap, 0), beyond, crowd)
    areas = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1)
    asked = np.flatnonzero(~unasked)
    near = (overlap >= NEAR) & (overlap < LEVELS[0])
    fates = [found[:, 0, :1] == asked, ((overlap >= LEVELS[0]) & ~own)[:, asked], (near & own)[:, asked]]
    return Matches(
        scores=scores.astype(np.float32),
        labels=labels.astype(np.int16),
        coco=outcomes(found, beyond, outside(areas, SIZES)),
        voc=_voc(np.where(own, union, 0), unasked),
        stray=np.asarray((overlap < NEAR).all(axis=1)),
        objects=np.array([np.bincount(truth["labels"][~each], minlength=classes) for each in beyond], np.int32),
        fates=np.stack([np.where(each, scores[:, None], -1).max(axis=0, initial=-1) for each in fates], axis=1).astype(np.float32),
    )


def _ranked(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """The best of each class, by class and falling score; equal scores keep their order."""
    order = np.lexsort((-scores, labels))
    by_class = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return np.concatenate([each[:MOST] for each in by_class])


def _voc(overlap: Floats, unasked: Bools) -> npt.NDArray[np.int8]:
    """What becomes of detections by VOC 2007's rules: each is held against the object that it overlaps most, taken or not.

    More than half of the union must be shared; the first finder is right, later ones are wrong.
    """
    states = np.full(len(overlap), WRONG, np.int8)
    taken = np.zeros(len(unasked), np.bool_)
    for place in np.flatnonzero((overlap > 0.5).any(axis=1)):
        best = overlap[place].argmax()
        if unasked[best]:
            states[place] = IGNORED
        elif not taken[best]:
            states[place], taken[best] = RIGHT, True
    return states


def score(matches: Sequence[Matches], weights: npt.NDArray[np.int64], *, threshold: float = THRESHOLD) -> dict[str, Floats]:
    """Metrics of N images under weights (R, N), each (R,), all in 0..1.

    Average precisions, means over the classes that have objects (of that size): `map` (COCO's, over IoU .50:.95), `ap50`, `ap75`,
    `ap_small`, `ap_medium`, `ap_large`, `voc07_ap50` (11 points). Over all classes together, at IoU 0.5, of detections that score
    `threshold` or more: `precision`, `recall`, `confidence` (mean score of the right ones), `background` (share of the detections
    that lie on nothing, IoU below 0.1). Each object is found, or else `misclassified` (IoU 0.5 with a detection of another class),
    or else `mislocalised` (IoU 0.1 to 0.5 with one of its own), or else `missed`: with `recall` these shares sum to 1.

    What is undefined is 0: an average precision without any object of that size, a share of no detections.
    """
    detections = sum(len(each.scores) for each in matches)
    parts = np.array_split(weights, max(1, detections * len(weights) // CHUNK))
    scored = [{**_average_precisions(matches, part), **_at_threshold(matches, part, threshold)} for part in parts if len(part)]
    return {name: np.concatenate([part[name] for part in scored]) for name in scored[0]}


def calibrate(matches: Sequence[Matches]) -> Calibration:
    """`score` at the best threshold on these images."""
    threshold = best_threshold(matches)
    return Calibration(partial(score, threshold=threshold), {"threshold": threshold})


def best_threshold(matches: Sequence[Matches]) -> float:
    """The threshold of the best F1 at IoU 0.5 on images, the highest of equals; `THRESHOLD` if none is right."""
    states, scores = (np.concatenate(part) for part in zip(*((each.coco[:, 0, 0], each.scores) for each in matches), strict=True))
    asked = states != IGNORED
    values, places = np.unique(-scores[asked], return_inverse=True)
    right = np.cumsum(np.bincount(places, states[asked] == RIGHT, minlength=len(values)))
    given = np.cumsum(np.bincount(places, minlength=len(values)))
    if not right.any():
        return THRESHOLD
    return float(-values[np.argmax(2 * right / (given + sum(len(each.fates) for each in matches)))])


def _average_precisions(matches: Sequence[Matches], weights: npt.NDArray[np.int64]) -> dict[str, Floats]:
    image = np.repeat(np.arange(len(matches)), [len(each.scores) for each in matches])
    scores, labels, coco, voc = (
        np.concatenate(part) for part in zip(*((each.scores, each.labels, each.coco, each.voc) for each in matches), strict=True)
    )
    times = np.ascontiguousarray(weights.T.astype(np.int32))
    every = np.stack([each.objects for each in matches]).astype(np.float64)
    objects: Floats = np.tensordot(weights.astype(np.float64), every, axes=1)  # (R, 4, K)
    curves = dict(_curves())
    sums = {name: np.zeros(len(weights)) for name in curves}
    for label in np.unique(labels):
        its = np.flatnonzero(labels == label)
        its = its[np.argsort(-scores[its], kind="stable")]
        states = np.concatenate([coco[its].reshape(len(its), -1), voc[its, None]], axis=1)
        for name, (size, columns, steps) in curves.items():
            for column in columns:
                under = area(states[:, column], scores[its], image[its], times, objects[:, size, label], steps)
                sums[name] += under / len(columns)
    present = {name: (objects[:, size] > 0).sum(axis=1) for name, (size, _, _) in curves.items()}
    return {name: np.divide(sums[name], present[name], out=np.zeros(len(weights)), where=present[name] > 0) for name in curves}


def _curves() -> Iterable[tuple[str, tuple[int, Sequence[int], tuple[Steps, int]]]]:
    """Of each average precision: which of `SIZES`, the columns of states that it averages, and where it reads the precision."""
    many = len(LEVELS)
    yield "map", (0, range(many), (coco_steps, len(RECALLS)))
    yield "ap50", (0, [0], (coco_steps, len(RECALLS)))
    yield "ap75", (0, [5], (coco_steps, len(RECALLS)))
    for size, name in enumerate(("ap_small", "ap_medium", "ap_large"), start=1):
        yield name, (size, range(size * many, (size + 1) * many), (coco_steps, len(RECALLS)))
    yield "voc07_ap50", (0, [len(SIZES) * many], (_voc_steps, 11))


def _voc_steps(right: npt.NDArray[np.int64], objects: Floats) -> npt.NDArray[np.int64]:
    """How many of the recalls 0, 0.1, ... 1 are reached, exactly."""
    return 10 * right // objects.astype(np.int64) + 1


def _at_threshold(matches: Sequence[Matches], weights: npt.NDArray[np.int64], threshold: float) -> dict[str, Floats]:
    counts = np.array([_counts(each, threshold) for each in matches], np.float64)
    right, given, confidence, stray, objects, *fates = (weights @ counts).T
    shares = {
        "precision": (right, given),
        "confidence": (confidence, right),
        "background": (stray, given),
        **{name: (fate, objects) for name, fate in zip(("recall", "misclassified", "mislocalised", "missed"), fates, strict=True)},
    }
    return {name: np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0) for name, (part, whole) in shares.items()}


def _counts(matches: Matches, threshold: float) -> tuple[float, ...]:
    """Right detections, all that count, the sum of the right ones' scores, those on nothing; objects, and those of each fate."""
    shown = matches.scores >= threshold
    state = matches.coco[:, 0, 0]
    right = shown & (state == RIGHT)
    given = shown & (state != IGNORED)
    fates = np.concatenate([matches.fates >= threshold, np.ones((len(matches.fates), 1), np.bool_)], axis=1)
    first = np.bincount(fates.argmax(axis=1), minlength=4)
    confidence = matches.scores[right].sum(dtype=np.float64)
    return right.sum(), given.sum(), confidence, (given & matches.stray).sum(), len(fates), *first
