import contextlib
import io
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trainables.contracts import CLEAN, Condition
from trainables.tasks.detection.boxes import Truth
from trainables.tasks.detection.metrics import Matches, best_threshold, calibrate, overlaps, score, statistics

CLASSES = 3
SOURCE: Any = SimpleNamespace(classes=("a", "b", "c"))
"""The part of a source that the metrics use."""
AREAS = {"map": (0, 1e10), "ap_small": (0, 32**2), "ap_medium": (32**2, 96**2), "ap_large": (96**2, 1e10)}
COCO_NAMES = ("map", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
Image = tuple[dict[str, npt.NDArray[Any]], Truth]


def truth(*boxes: Sequence[float], labels: Sequence[int] = (), difficult: Sequence[int] = (), crowd: Sequence[int] = ()) -> Truth:
    """Objects, of class 0 without `labels`; `difficult` and `crowd` are indices of the flagged ones."""
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    places = np.arange(len(corners))
    return Truth(
        boxes=corners,
        labels=np.array(labels or [0] * len(corners), np.int64),
        areas=(corners[:, 2:] - corners[:, :2]).prod(axis=1),
        difficult=np.isin(places, difficult),
        crowd=np.isin(places, crowd),
    )


def found(*rows: tuple[Sequence[float], float] | tuple[Sequence[float], float, int]) -> dict[str, npt.NDArray[Any]]:
    """Detections as (box, score) of class 0, or (box, score, class)."""
    return {
        "boxes": np.array([row[0] for row in rows], np.float32).reshape(-1, 4),
        "scores": np.array([row[1] for row in rows], np.float32),
        "labels": np.array([row[2] if len(row) > 2 else 0 for row in rows], np.int64),
    }


def matches(*images: Image) -> list[Matches]:
    return statistics([image[0] for image in images], {"truths": [image[1] for image in images]}, SOURCE)


def values(*images: Image, threshold: float = 0.5) -> dict[str, float]:
    once = np.ones((1, len(images)), np.int64)
    return {name: float(each[0]) for name, each in score(matches(*images), once, threshold=threshold).items()}


def image(rng: np.random.Generator, *, ties: bool = False, crowds: bool = True) -> Image:
    """Objects of all sizes; detections near them, repeated, of other classes and on the background."""
    count = int(rng.integers(0, 6))
    sides = np.exp(rng.uniform(np.log(8), np.log(150), (count, 2)))
    corner = rng.uniform(0, 300, (count, 2))
    boxes = np.concatenate([corner, corner + sides], axis=1)
    labels = rng.integers(0, CLASSES, count)
    near = np.repeat(np.arange(count), rng.integers(0, 4, count))
    moved = boxes[near] + rng.normal(0, 0.08, (len(near), 4)) * np.tile(sides[near], 2)
    corner = rng.uniform(0, 300, (int(rng.integers(0, 4)), 2))
    stray = np.concatenate([corner, corner + rng.uniform(5, 120, corner.shape)], axis=1)
    detections = np.concatenate([moved, stray])
    detections[:, 2:] = np.maximum(detections[:, 2:], detections[:, :2] + 1)
    of_class = np.where(rng.random(len(near)) < 0.85, labels[near], rng.integers(0, CLASSES, len(near)))
    scores = rng.random(len(detections))
    prediction: dict[str, npt.NDArray[Any]] = {
        "boxes": detections.astype(np.float32),
        "scores": (np.round(scores * 4) / 4 if ties else scores).astype(np.float32),
        "labels": np.concatenate([of_class, rng.integers(0, CLASSES, len(stray))]).astype(np.int64),
    }
    crowd = rng.random(count) < (0.15 if crowds else 0)
    return prediction, Truth(
        boxes=boxes.astype(np.float32),
        labels=labels.astype(np.int64),
        areas=((boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * rng.uniform(0.5, 1, count)).astype(np.float32),
        difficult=~crowd & (rng.random(count) < (0 if crowds else 0.2)),
        crowd=crowd,
    )


def images(seed: int, number: int = 12, **how: bool) -> list[Image]:
    rng = np.random.default_rng(seed)
    return [image(rng, **how) for _ in range(number)]


# A reference implementation: every rule in plain loops


def shared(one: Sequence[float], other: Sequence[float], *, crowd: bool = False) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(width, 0) * max(height, 0)
    area, other_area = ((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (area if crowd else area + other_area - both)


def outcomes_by_coco(item: Image, label: int, threshold: float, area: tuple[float, float]) -> tuple[list[tuple[float, bool]], int]:
    """(score, right) of the counted detections, and the number of counted objects."""
    prediction, target = item
    objects = [place for place in range(len(target["labels"])) if target["labels"][place] == label]
    excluded = {
        place: bool(target["crowd"][place] or target["difficult"][place] or not area[0] <= target["areas"][place] <= area[1])
        for place in objects
    }
    detections = [place for place in range(len(prediction["labels"])) if prediction["labels"][place] == label]
    taken: set[int] = set()
    counted = []
    for place in sorted(detections, key=lambda each: -prediction["scores"][each]):
        box = prediction["boxes"][place].astype(float).tolist()
        best = None
        for wanted in (False, True):
            if best is not None:
                break
            least = threshold
            for other in objects:
                crowd = bool(target["crowd"][other])
                if excluded[other] is not wanted or (other in taken and not crowd):
                    continue
                overlap = shared(box, target["boxes"][other].astype(float).tolist(), crowd=crowd)
                if overlap >= least:
                    least, best = overlap, other
        if best is not None:
            taken.add(best)
            if not excluded[best]:
                counted.append((float(prediction["scores"][place]), True))
        elif area[0] <= (box[2] - box[0]) * (box[3] - box[1]) <= area[1]:
            counted.append((float(prediction["scores"][place]), False))
    return counted, sum(not each for each in excluded.values())


def outcomes_by_voc(item: Image, label: int) -> tuple[list[tuple[float, bool]], int]:
    prediction, target = item
    objects = [place for place in range(len(target["labels"])) if target["labels"][place] == label]
    excluded = {place: bool(target["difficult"][place] or target["crowd"][place]) for place in objects}
    taken: set[int] = set()
    counted = []
    detections = [place for place in range(len(prediction["labels"])) if prediction["labels"][place] == label]
    for place in sorted(detections, key=lambda each: -prediction["scores"][each]):
        box = prediction["boxes"][place].astype(float).tolist()
        by_overlap = [(shared(box, target["boxes"][other].astype(float).tolist()), -other) for other in objects]
        overlap, best = max(by_overlap, default=(0.0, 0))
        if overlap > 0.5 and excluded[-best]:
            continue
        counted.append((float(prediction["scores"][place]), overlap > 0.5 and -best not in taken))
        if overlap > 0.5:
            taken.add(-best)
    return counted, sum(not each for each in excluded.values())


def area_under(counted: list[tuple[float, bool]], objects: int, recalls: Sequence[float], slack: float = 0.0) -> float:
    """Mean of the best precision at each recall or above. Each score is one point of the curve, so ties are one point."""
    points = []
    for threshold in sorted({each for each, _ in counted}):
        shown = [right for each, right in counted if each >= threshold]
        points.append((sum(shown) / objects, sum(shown) / len(shown)))
    read = [max((precision for recall, precision in points if recall >= each - slack), default=0.0) for each in recalls]
    return sum(read) / len(recalls)


def literal(items: Sequence[Image]) -> dict[str, float]:
    recalls = np.linspace(0, 1, 101).tolist()

    def mean(outcomes: Any, recalls: Sequence[float], slack: float = 0.0) -> float:
        areas = []
        for label in range(CLASSES):
            counted, objects = [], 0
            for item in items:
                of_image, count = outcomes(item, label)
                counted += of_image
                objects += count
            if objects:
                areas.append(area_under(counted, objects, recalls, slack))
        return sum(areas) / len(areas) if areas else 0.0

    def coco(threshold: float, area: tuple[float, float]) -> float:
        return mean(lambda item, label: outcomes_by_coco(item, label, threshold, area), recalls)

    thresholds = np.linspace(0.5, 0.95, 10).tolist()
    means = {name: float(np.mean([coco(each, area) for each in thresholds])) for name, area in AREAS.items()}
    at = {"ap50": coco(0.5, AREAS["map"]), "ap75": coco(0.75, AREAS["map"])}
    # In floating-point arithmetic 0.1 * 3 exceeds 3 / 10; the recalls are exact numbers, hence the slack.
    return {**means, **at, "voc07_ap50": mean(outcomes_by_voc, [each / 10 for each in range(11)], 1e-12)}


@pytest.mark.parametrize("crowds", [True, False])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_average_precisions_equal_the_reference_implementation(seed: int, ties: bool, crowds: bool) -> None:
    items = images(seed, ties=ties, crowds=crowds)
    ours = values(*items)
    for name, expected in literal(items).items():
        assert ours[name] == pytest.approx(expected, abs=1e-9), name


def by_pycocotools(items: Sequence[Image]) -> dict[str, float]:
    annotations: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for number, (prediction, target) in enumerate(items, start=1):
        for place, (x0, y0, x1, y1) in enumerate(target["boxes"].astype(float).tolist()):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": int(target["labels"][place]),
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": float(target["areas"][place]),
                    "iscrowd": int(target["crowd"][place]),
                }
            )
        for place, (x0, y0, x1, y1) in enumerate(prediction["boxes"].astype(float).tolist()):
            row = {"image_id": number, "category_id": int(prediction["labels"][place])}
            detections.append({**row, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": float(prediction["scores"][place])})
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {
            "info": {},
            "images": [{"id": number} for number in range(1, len(items) + 1)],
            "annotations": annotations,
            "categories": [{"id": label} for label in range(CLASSES)],
        }
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(
        zip(COCO_NAMES, np.maximum(evaluation.stats[:6], 0).tolist(), strict=True)
    )  # pycocotools reports -1 for undefined values


@pytest.mark.parametrize("seed", range(6))
def test_average_precisions_equal_pycocotools(seed: int) -> None:
    items = images(seed + 100, 20)
    ours = values(*items)
    assert {name: ours[name] for name in COCO_NAMES} == pytest.approx(by_pycocotools(items), abs=1e-9)


def test_a_value_that_pycocotools_leaves_undefined_is_zero() -> None:
    item = (found(((0, 0, 10, 10), 0.9)), truth((0, 0, 10, 10)))
    ours = values(item)
    assert {name: ours[name] for name in COCO_NAMES} == pytest.approx(by_pycocotools([item]), abs=1e-9)
    assert ours["ap_large"] == 0


# Worked examples

A, B, FAR = (0, 0, 10, 10), (50, 0, 60, 10), (100, 100, 110, 110)


def voc(*items: Image) -> float:
    return values(*items)["voc07_ap50"]


def test_voc07_ap50_with_a_false_positive_between_two_true_positives() -> None:
    # (recall, precision): (1/2, 1), (1/2, 1/2), (1, 2/3). Precision is 1 at the six recalls 0 to 0.5, 2/3 at the other five.
    assert voc((found((A, 0.9), (FAR, 0.8), (B, 0.7)), truth(A, B))) == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_voc07_ap50_with_missed_objects() -> None:
    # One of three objects is found: precision is 1 at the four recalls 0, 0.1, 0.2 and 0.3.
    assert voc((found((A, 0.9)), truth(A, B, FAR))) == pytest.approx(4 / 11)


def test_voc07_ap50_counts_recall_three_tenths_as_reached_by_three_of_ten() -> None:
    # In floating-point arithmetic 3 * 0.1 exceeds 3 / 10.
    apart = [(20 * place, 0, 20 * place + 10, 10) for place in range(10)]
    assert voc((found(*((box, 0.9) for box in apart[:3])), truth(*apart))) == pytest.approx(4 / 11)


def test_voc07_ap50_counts_a_second_detection_of_an_object_as_a_false_positive() -> None:
    # Right, wrong, right: equal to any other false positive in between.
    assert voc((found((A, 0.9), ((1, 0, 10, 10), 0.8), (B, 0.7)), truth(A, B))) == pytest.approx((6 + 5 * 2 / 3) / 11)


def test_voc_requires_an_iou_above_one_half_and_coco_at_least_one_half() -> None:
    found_values = values((found(((0, 0, 10, 5), 0.9)), truth(A)))
    assert [found_values["voc07_ap50"], found_values["ap50"]] == pytest.approx([0, 1])


def test_voc_compares_a_detection_with_the_object_it_overlaps_most_even_if_that_is_already_found() -> None:
    # The second detection has IoU 1 with the found object and 80 / 120 with the free one; COCO assigns it to the free one.
    item = (found((A, 0.9), (A, 0.8)), truth(A, (0, 2, 10, 12)))
    found_values = values(item)
    assert found_values["voc07_ap50"] == pytest.approx(6 / 11)  # recall 1/2 at precision 1, then a false positive
    assert found_values["ap50"] == pytest.approx(1)


@pytest.mark.parametrize("flag", ["difficult", "crowd"])
def test_an_excluded_object_is_neither_missed_nor_a_false_positive(flag: str) -> None:
    target = truth(A, B, **{flag: [0]})
    for detections in (found((B, 0.8)), found((A, 0.9), (B, 0.8))):
        found_values = values((detections, target))
        assert [found_values[name] for name in ("voc07_ap50", "map", "precision", "recall")] == pytest.approx([1] * 4)


def test_voc_ignores_every_detection_of_a_difficult_object_and_coco_only_the_first() -> None:
    item = (found((A, 0.9), (A, 0.85), (B, 0.8)), truth(A, B, difficult=[0]))
    found_values = values(item)
    assert found_values["voc07_ap50"] == pytest.approx(1)
    assert found_values["ap50"] == pytest.approx(1 / 2)


def test_every_detection_inside_a_crowd_is_ignored() -> None:
    item = (found(((0, 0, 5, 10), 0.9), ((5, 0, 10, 10), 0.85), (B, 0.8)), truth(A, B, crowd=[0]))
    assert values(item)["map"] == pytest.approx(1)


def test_boxes_with_exclusive_ends_have_the_iou_of_vocs_inclusive_pixels() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(1, 40, (50, 2, 2))
    pixels = np.concatenate([first, first + rng.integers(0, 30, first.shape)], axis=-1)  # xmin, ymin, xmax, ymax, counted from 1
    for one, other in pixels:
        width = min(one[2], other[2]) - max(one[0], other[0]) + 1
        height = min(one[3], other[3]) - max(one[1], other[1]) + 1
        areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (one, other)]
        both = width * height if width > 0 and height > 0 else 0
        ours = [np.array([[box[0] - 1, box[1] - 1, box[2], box[3]]]) for box in (one, other)]
        assert overlaps(*ours)[0].item() == pytest.approx(both / (areas[0] + areas[1] - both))


def test_map_of_a_box_shifted_by_a_fifth() -> None:
    # IoU 8 / 12 = 0.667 reaches four of ten thresholds: 0.5, 0.55, 0.6 and 0.65.
    found_values = values((found(((2, 0, 12, 10), 0.9)), truth(A)))
    assert [found_values["map"], found_values["ap50"], found_values["ap75"]] == pytest.approx([0.4, 1, 0])


def test_classes_have_equal_weight_for_any_number_of_objects() -> None:
    item = (found((A, 0.9)), truth(A, B, FAR, labels=[0, 1, 1]))
    assert values(item)["map"] == pytest.approx(1 / 2)


def test_a_class_without_objects_does_not_enter_average_precision() -> None:
    assert values((found((A, 0.9), (B, 0.8, 2)), truth(A)))["map"] == pytest.approx(1)


def test_size_ranges_use_the_area_of_an_object_and_not_of_its_box() -> None:
    large = truth((0, 0, 100, 100))
    small = Truth(**{**large, "areas": np.array([900], np.float32)})
    detection = found(((0, 0, 100, 100), 0.9))
    assert values((detection, large))["ap_large"] == pytest.approx(1)
    assert [values((detection, small))[name] for name in ("ap_small", "ap_large")] == pytest.approx([1, 0])


# At a threshold

MIXED = (
    found((A, 0.9), (B, 0.8, 1), ((204, 0, 214, 10), 0.7), (FAR, 0.6), ((0, 0, 10, 9), 0.55), (FAR, 0.3)),
    truth(A, B, (200, 0, 210, 10), (300, 0, 310, 10)),
)
"""A is found twice, B misclassified, the third mislocalised (IoU 6 / 14), the fourth missed; one is on the background."""


def test_shares_of_the_objects_fates() -> None:
    found_values = values(MIXED)
    expected = {"recall": 1 / 4, "misclassified": 1 / 4, "mislocalised": 1 / 4, "missed": 1 / 4}
    assert {name: found_values[name] for name in expected} == pytest.approx(expected)


def test_precision_confidence_and_background_of_the_detections() -> None:
    found_values = values(MIXED)
    expected = {"precision": 1 / 5, "confidence": 0.9, "background": 1 / 5}
    assert {name: found_values[name] for name in expected} == pytest.approx(expected)


def test_detections_below_the_threshold_do_not_count() -> None:
    found_values = values(MIXED, threshold=0.75)
    expected = {"precision": 1 / 2, "recall": 1 / 4, "misclassified": 1 / 4, "mislocalised": 0, "missed": 1 / 2, "background": 0}
    assert {name: found_values[name] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(3))
def test_recall_and_the_shares_of_errors_sum_to_one(seed: int) -> None:
    found_values = values(*images(seed))
    assert sum(found_values[name] for name in ("recall", "misclassified", "mislocalised", "missed")) == pytest.approx(1)


def test_the_best_threshold_has_the_best_f1() -> None:
    # F1 at the thresholds 0.9, 0.75, 0.5 and 0.25: 2/3, 1/2, 4/5, 2/3.
    item = (found((A, 0.9), (FAR, 0.75), (B, 0.5), (FAR, 0.25)), truth(A, B))
    assert best_threshold(matches(item)) == pytest.approx(0.5)


def test_the_threshold_is_one_half_without_a_true_positive() -> None:
    assert best_threshold(matches((found((FAR, 0.9)), truth(A)))) == 0.5


def test_calibration_uses_the_best_threshold_on_clean_validation_images() -> None:
    validation, test = matches(*images(0)), matches(*images(1))
    once = np.ones((1, len(test)), np.int64)
    by_condition = {CLEAN: validation}
    calibrated = calibrate(by_condition.__getitem__, Condition(codec="jpeg", level=5)).score(test, once)
    plain = score(test, once, threshold=best_threshold(validation))
    assert {name: each.tolist() for name, each in calibrated.items()} == {name: each.tolist() for name, each in plain.items()}


# Empty images


def test_all_objects_are_missed_without_detections() -> None:
    found_values = values((found(), truth(A, B)))
    assert {name for name, value in found_values.items() if value} == {"missed"}
    assert found_values["missed"] == 1


def test_detections_without_objects_are_all_on_the_background() -> None:
    found_values = values((found((A, 0.9)), truth()), (found(), truth()))
    assert {name for name, value in found_values.items() if value} == {"background"}


def test_an_image_without_objects_and_detections_changes_no_metric() -> None:
    items = images(3)
    assert values(*items, (found(), truth())) == pytest.approx(values(*items), abs=1e-12)


# Resamples


@pytest.mark.parametrize("ties", [False, True])
def test_an_image_of_weight_two_counts_twice(ties: bool) -> None:
    items = images(5, 6, ties=ties)
    weights = np.array([[2, 0, 1, 3, 1, 0]])
    repeated = [item for item, times in zip(items, weights[0], strict=True) for _ in range(times)]
    weighed = {name: float(each[0]) for name, each in score(matches(*items), weights).items()}
    assert weighed == pytest.approx(values(*repeated), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_metrics_do_not_depend_on_the_order_of_images(ties: bool) -> None:
    items = images(6, ties=ties)
    assert values(*items) == pytest.approx(values(*items[::-1]), abs=1e-12)


def test_each_replicate_equals_the_metric_under_its_weights() -> None:
    statistics_ = matches(*images(7, 8))
    weights = np.random.default_rng(0).multinomial(8, [1 / 8] * 8, 9)
    together = score(statistics_, weights)
    for row, one in enumerate(weights):
        alone = score(statistics_, one[None])
        assert {name: each[row] for name, each in together.items()} == pytest.approx(
            {name: each[0] for name, each in alone.items()}, nan_ok=True
        )


def test_a_resample_without_objects_is_nan_where_the_split_has_some_and_0_where_it_has_none() -> None:
    ((detections, objects),) = images(9, 1)
    empty = (detections, truth())
    some, none = matches((detections, objects), empty), matches(empty, empty)
    assert np.isfinite(score(some, np.array([[1, 0]]))["map"]).all()
    of_some, of_none = (score(each, np.array([[0, 1]])) for each in (some, none))
    for name in ("map", "ap50", "voc07_ap50", "recall", "missed"):
        assert np.isnan(of_some[name]).all()
        assert of_none[name].tolist() == [0]
    assert of_some["background"].tolist() == of_none["background"].tolist()


def test_scoring_resamples_in_chunks_gives_the_same_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics_, weights = matches(*images(8)), np.random.default_rng(0).integers(0, 3, (7, 12))
    whole = score(statistics_, weights)
    monkeypatch.setattr("trainables.tasks.detection.metrics.CHUNK", 100)
    parts = score(statistics_, weights)
    assert list(parts) == list(whole)
    assert all(np.allclose(parts[name], whole[name], rtol=0, atol=1e-12) for name in whole)


def test_a_resample_without_objects_of_a_class_drops_that_class() -> None:
    statistics_ = matches((found((A, 0.9)), truth(A)), (found(), truth(B, labels=[1])))
    assert score(statistics_, np.array([[1, 1], [2, 0], [0, 2]]))["map"].tolist() == pytest.approx([1 / 2, 1, 0])
