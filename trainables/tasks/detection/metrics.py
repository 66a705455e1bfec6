"""Detection metrics: COCO's and VOC 2007's average precision, and the objects' fates at one threshold (section III-C).

The contribution of each image (`Matches`) is computed once; a resample only reweights images. To add a metric at the threshold,
count it per image in `_counts` and divide in `_at_threshold`; to add an average precision, give it a line in `_curves`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.contracts import CLEAN, Calibration, Condition, Source
from trainables.tasks.average_precision import (
    CHUNK,
    IGNORED,
    MATCH_THRESHOLDS,
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
    share,
)
from trainables.tasks.detection.boxes import Truth

SIZES = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)])
"""Smallest and largest area, in pixels, of COCO's size ranges: all, small, medium, large."""
BACKGROUND = 0.1
"""A detection whose overlap with every object is below this is on the background (Hoiem et al. 2012)."""
MOST = 100
"""COCO scores at most this many detections of a class per image."""
THRESHOLD = 0.5
"""Score threshold of detections where none was chosen on validation."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """Contribution of one image: D detections, ordered by class and falling score, and K classes."""

    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int16]
    coco: npt.NDArray[np.int8]
    """(D, 4, 10), outcomes of the detections for each of `SIZES` and `MATCH_THRESHOLDS`."""
    voc: npt.NDArray[np.int8]
    """(D,), outcomes by VOC 2007's rules."""
    background: Bools
    """(D,), whether a detection is on the background."""
    objects: npt.NDArray[np.int32]
    """(4, K), number of counted objects for each of `SIZES` and each class."""
    fates: npt.NDArray[np.float32]
    """(objects, 3), highest threshold up to which an object is found; misclassified; mislocalised. -1: at no threshold."""


def overlaps(boxes: npt.NDArray[Any], others: npt.NDArray[Any]) -> tuple[Floats, Floats]:
    """Two (D, G) arrays for boxes (D, 4) and others (G, 4): intersection over union, and intersection over the box's own area.

    VOC 2007 counts pixels inclusively, xmax - xmin + 1; boxes here have exclusive ends, so x1 - x0 is the same number.
    """
    one, other = boxes.astype(np.float64)[:, None], others.astype(np.float64)[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    both = np.clip(sides, 0, None).prod(axis=-1)
    area, other_area = ((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (one, other))
    union = area + other_area - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0), both / np.where(area > 0, area, 1)


def statistics(predictions: Sequence[Mapping[str, Any]], batch: Mapping[str, Any], source: Source) -> list[Matches]:
    """Contribution of each image, from its detections (boxes (D, 4), scores (D,), labels (D,)) and the batch's `truths`."""
    return [
        _matches(prediction, truth, len(source.classes)) for prediction, truth in zip(predictions, batch["truths"], strict=True)
    ]


def _matches(prediction: Mapping[str, Any], truth: Truth, classes: int) -> Matches:
    order = _ranked(prediction["scores"], prediction["labels"])
    boxes, scores, labels = (prediction[name][order] for name in ("boxes", "scores", "labels"))
    crowd, flagged = truth["crowd"], truth["crowd"] | truth["difficult"]
    union, share = overlaps(boxes, truth["boxes"])
    overlap = np.where(crowd, share, union)
    same_class = labels[:, None] == truth["labels"]
    excluded = outside(truth["areas"], SIZES) | flagged
    found = assigned(np.where(same_class, overlap, 0), excluded, crowd)
    areas = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1)
    counted = np.flatnonzero(~flagged)
    near = (overlap >= BACKGROUND) & (overlap < MATCH_THRESHOLDS[0])
    fates = [
        found[:, 0, :1] == counted,
        ((overlap >= MATCH_THRESHOLDS[0]) & ~same_class)[:, counted],
        (near & same_class)[:, counted],
    ]
    return Matches(
        scores=scores.astype(np.float32),
        labels=labels.astype(np.int16),
        coco=outcomes(found, excluded, outside(areas, SIZES)),
        voc=_voc(np.where(same_class, union, 0), flagged),
        background=np.asarray((overlap < BACKGROUND).all(axis=1)),
        objects=np.array([np.bincount(truth["labels"][~each], minlength=classes) for each in excluded], np.int32),
        fates=np.stack([np.where(each, scores[:, None], -1).max(axis=0, initial=-1) for each in fates], axis=1).astype(np.float32),
    )


def _ranked(scores: npt.NDArray[Any], labels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Indices of the `MOST` highest scores per class, ordered by class and falling score; equal scores keep their order."""
    order = np.lexsort((-scores, labels))
    by_class = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return np.concatenate([each[:MOST] for each in by_class])


def _voc(overlap: Floats, excluded: Bools) -> npt.NDArray[np.int8]:
    """Outcomes by VOC 2007's rules: each detection is compared with the object it overlaps most, even if that is already found.

    The IoU must exceed 0.5; the first detection of an object is right, later ones are wrong.
    """
    states = np.full(len(overlap), WRONG, np.int8)
    taken = np.zeros(len(excluded), np.bool_)
    for place in np.flatnonzero((overlap > 0.5).any(axis=1)):
        best = overlap[place].argmax()
        if excluded[best]:
            states[place] = IGNORED
        elif not taken[best]:
            states[place], taken[best] = RIGHT, True
    return states


def score(matches: Sequence[Matches], weights: npt.NDArray[np.int64], *, threshold: float = THRESHOLD) -> dict[str, Floats]:
    """Metrics of N images under weights (R, N), each (R,), in 0..1.

    Average precisions, averaged over the classes with objects (in that size range): `map` (COCO's, over IoU .50:.95), `ap50`,
    `ap75`, `ap_small`, `ap_medium`, `ap_large`, `voc07_ap50` (11 points). The other metrics pool all classes, at IoU 0.5, over
    detections with a score of at least `threshold`: `precision`, `recall`, `confidence` (mean score of true positives),
    `background` (share of detections with IoU below 0.1). Each object is either found, or `misclassified` (IoU 0.5 with a
    detection of another class), or `mislocalised` (IoU 0.1 to 0.5 with one of its class), or `missed`; these shares and `recall`
    sum to 1. A share of no detections is 0, and so is a share of objects (of a size) that no image has. A resample without objects
    in a split that has some is NaN.
    """
    detections = sum(len(each.scores) for each in matches)
    parts = np.array_split(weights, max(1, detections * len(weights) // CHUNK))
    scored = [{**_average_precisions(matches, part), **_at_threshold(matches, part, threshold)} for part in parts if len(part)]
    return {name: np.concatenate([part[name] for part in scored]) for name in scored[0]}


def calibrate(validation: Callable[[Condition], Sequence[Matches]], _: Condition) -> Calibration:
    """`score` with the threshold that is best on clean validation images, for all conditions.

    A user of the network would have chosen it before compressing anything.
    """
    threshold = best_threshold(validation(CLEAN))
    return Calibration(partial(score, threshold=threshold), {"threshold": threshold})


def best_threshold(matches: Sequence[Matches]) -> float:
    """Threshold with the best F1 at IoU 0.5, the highest among equals; `THRESHOLD` if no detection is right."""
    states, scores = (np.concatenate(part) for part in zip(*((each.coco[:, 0, 0], each.scores) for each in matches), strict=True))
    counted = states != IGNORED
    values, places = np.unique(-scores[counted], return_inverse=True)
    right = np.cumsum(np.bincount(places, states[counted] == RIGHT, minlength=len(values)))
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
        members = np.flatnonzero(labels == label)
        members = members[np.argsort(-scores[members], kind="stable")]
        states = np.concatenate([coco[members].reshape(len(members), -1), voc[members, None]], axis=1)
        for name, (size, columns, steps) in curves.items():
            for column in columns:
                under = area(states[:, column], scores[members], image[members], times, objects[:, size, label], steps)
                sums[name] += under / len(columns)
    present = {name: (objects[:, size] > 0).sum(axis=1).astype(np.float64) for name, (size, _, _) in curves.items()}
    return {name: share(sums[name], present[name], supported=bool(every[:, size].any())) for name, (size, _, _) in curves.items()}


def _curves() -> Iterable[tuple[str, tuple[int, Sequence[int], tuple[Steps, int]]]]:
    """Each average precision by name: index into `SIZES`, columns of the outcomes to average over, recalls to read at."""
    many = len(MATCH_THRESHOLDS)
    yield "map", (0, range(many), (coco_steps, len(RECALLS)))
    yield "ap50", (0, [0], (coco_steps, len(RECALLS)))
    yield "ap75", (0, [5], (coco_steps, len(RECALLS)))
    for size, name in enumerate(("ap_small", "ap_medium", "ap_large"), start=1):
        yield name, (size, range(size * many, (size + 1) * many), (coco_steps, len(RECALLS)))
    yield "voc07_ap50", (0, [len(SIZES) * many], (_voc_steps, 11))


def _voc_steps(right: npt.NDArray[np.int64], objects: Floats) -> npt.NDArray[np.int64]:
    """Number of the recalls 0, 0.1, ... 1 that are reached, in exact integer arithmetic."""
    return 10 * right // objects.astype(np.int64) + 1


def _at_threshold(matches: Sequence[Matches], weights: npt.NDArray[np.int64], threshold: float) -> dict[str, Floats]:
    counts = np.array([_counts(each, threshold) for each in matches], np.float64)
    right, given, confidence, background, objects, *fates = (weights @ counts).T
    shares = {
        "precision": (right, given),
        "confidence": (confidence, right),
        "background": (background, given),
        **{name: (fate, objects) for name, fate in zip(("recall", "misclassified", "mislocalised", "missed"), fates, strict=True)},
    }
    supported = bool(counts[:, 4].any())
    return {name: share(part, whole, supported=supported and whole is objects) for name, (part, whole) in shares.items()}


def _counts(matches: Matches, threshold: float) -> tuple[float, ...]:
    """Counts of one image.

    True positives, counted detections, sum of the true positives' scores, detections on the background, objects, and objects of
    each fate: found, misclassified, mislocalised, missed.
    """
    shown = matches.scores >= threshold
    state = matches.coco[:, 0, 0]
    right = shown & (state == RIGHT)
    given = shown & (state != IGNORED)
    fates = np.concatenate([matches.fates >= threshold, np.ones((len(matches.fates), 1), np.bool_)], axis=1)
    first = np.bincount(fates.argmax(axis=1), minlength=4)
    confidence = matches.scores[right].sum(dtype=np.float64)
    return right.sum(), given.sum(), confidence, (given & matches.background).sum(), len(fates), *first
