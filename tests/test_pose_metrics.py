import contextlib
import io
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from trainables.contracts import CLEAN, Condition
from trainables.tasks.pose.grouping import PUBLISHED, THRESHOLDS, Found
from trainables.tasks.pose.metrics import Matches, best_for_joints, best_for_people, calibrate, oks, score, statistics
from trainables.tasks.pose.skeleton import KEYPOINTS, TOLERANCES, People

COCO_NAMES = {"oks_map": 0, "ap50": 1, "ap75": 2, "ap_medium": 3, "ap_large": 4}
"""Positions in pycocotools' summary."""
Image = tuple[list[Found], People]


def people(*keypoints: npt.ArrayLike, areas: Any = None, crowd: Any = (), height: int = 480, width: int = 640) -> People:
    """True people with boxes around their labelled key points; `crowd` are indices."""
    points = np.array(keypoints, np.float32).reshape(-1, 17, 3)
    boxes = [
        (*each[each[:, 2] > 0, :2].min(0), *each[each[:, 2] > 0, :2].max(0)) if (each[:, 2] > 0).any() else (0, 0, 20, 40)
        for each in points
    ]
    return People(
        keypoints=points,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        areas=np.array([50.0**2] * len(points) if areas is None else areas, np.float32),
        crowd=np.isin(np.arange(len(points)), crowd),
        unlabelled=np.zeros((height, width), np.bool_),
    )


def found(keypoints: npt.ArrayLike, scores: npt.ArrayLike) -> list[Found]:
    """A prediction with the same people at every threshold."""
    every = Found(np.array(keypoints, np.float32).reshape(-1, 17, 3), np.array(scores, np.float32))
    return [every] * len(THRESHOLDS)


def body(left: float = 100, top: float = 100, size: float = 100) -> npt.NDArray[np.float32]:
    """Seventeen visible key points, (17, 3), spread over a square."""
    places = np.random.default_rng(5).uniform(0, 1, (17, 2)) * size + [left, top]
    return np.concatenate([places, np.full((17, 1), 2)], axis=1).astype(np.float32)


def image(rng: np.random.Generator) -> Image:
    """People of all sizes, partly labelled, unlabelled or crowds; predictions near them, repeated, and elsewhere."""
    count = int(rng.integers(0, 6))
    sides = np.exp(rng.uniform(np.log(20), np.log(250), count))
    bodies = [body(rng.uniform(0, 400), rng.uniform(0, 400), side) for side in sides]
    for each in bodies:
        each[rng.random(17) < 0.3] = 0
    for place in np.flatnonzero(rng.random(count) < 0.2):
        bodies[place][:] = 0
    crowd = np.flatnonzero(rng.random(count) < 0.15)
    for place in crowd:
        bodies[place][:] = 0
    truth = people(*bodies, areas=sides**2 * rng.uniform(0.3, 0.6, count), crowd=crowd)
    near = np.repeat(np.arange(count), rng.integers(0, 4, count))
    moved = [
        body(rng.uniform(0, 400), rng.uniform(0, 400), 80) if not bodies[place].any() else bodies[place].copy() for place in near
    ]
    for place, each in zip(near, moved, strict=True):
        each[:, :2] += rng.normal(0, rng.choice([0.01, 0.05, 0.2]) * sides[place], (17, 2))
        each[rng.random(17) < 0.15] = 0
    moved += [body(rng.uniform(0, 400), rng.uniform(0, 400), rng.uniform(20, 200)) for _ in range(rng.integers(0, 3))]
    return found(moved, rng.random(len(moved))), truth


def images(seed: int, number: int = 12) -> list[Image]:
    rng = np.random.default_rng(seed)
    return [image(rng) for _ in range(number)]


def matches(every: list[Image]) -> list[Matches]:
    source: Any = None  # not used
    return statistics([prediction for prediction, _ in every], {"truths": [truth for _, truth in every]}, source)


def values(*every: Image, **how: int) -> dict[str, float]:
    once = np.ones((1, len(every)), np.int64)
    return {name: float(each[0]) for name, each in score(matches(list(every)), once, **how).items()}


def by_pycocotools(every: list[Image]) -> dict[str, float]:
    annotations, results = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, (prediction, truth) in enumerate(every):
        for place, keypoints in enumerate(truth["keypoints"]):
            x0, y0, x1, y1 = truth["boxes"][place].astype(float).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "keypoints": keypoints.astype(float).ravel().tolist(), "num_keypoints": int((keypoints[:, 2] > 0).sum()),
                    "area": float(truth["areas"][place]), "iscrowd": int(truth["crowd"][place]),
                }
            )  # fmt: skip
        results += [
            {"image_id": number, "category_id": 1, "keypoints": each.astype(float).ravel().tolist(), "score": float(value)}
            for each, value in zip(*prediction[PUBLISHED], strict=True)
        ]
    with contextlib.redirect_stdout(io.StringIO()):
        truths = COCO()
        truths.dataset = {
            "images": [{"id": number} for number in range(len(every))],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person", "keypoints": list(KEYPOINTS)}],
            "info": {},
        }
        truths.createIndex()
        program = COCOeval(truths, truths.loadRes(results), "keypoints")
        program.evaluate()
        program.accumulate()
        program.summarize()
    return {name: max(0.0, float(program.stats[place])) for name, place in COCO_NAMES.items()}


@pytest.mark.parametrize("seed", range(12))
def test_average_precisions_equal_pycocotools(seed: int) -> None:
    every = images(seed)
    ours = values(*every)
    assert {name: ours[name] for name in COCO_NAMES} == pytest.approx(by_pycocotools(every), abs=1e-9)


def test_true_people_as_predictions_score_one() -> None:
    truth = people(body(10, 10, 80), body(200, 150, 130))
    scored = values((found(truth["keypoints"], [0.9, 0.8]), truth))
    assert (scored["oks_map"], scored["missed_joints"], scored["false_joints"]) == (1, 0, 0)


@pytest.mark.parametrize("wanted", [0.52, 0.72, 0.93])
def test_map_counts_the_thresholds_that_a_known_similarity_reaches(wanted: float) -> None:
    truth = people(body(), areas=[60.0**2])
    moved = truth["keypoints"].copy()
    # Move each key point by the distance d with exp(-d^2 / (2 a (2 k)^2)) = wanted.
    moved[..., 0] += np.sqrt(-2 * math.log(wanted)) * 60 * 2 * TOLERANCES
    assert oks(moved, truth) == pytest.approx(wanted, abs=1e-5)
    reached = sum(wanted >= threshold for threshold in np.linspace(0.5, 0.95, 10))
    assert values((found(moved, [0.7]), truth))["oks_map"] == pytest.approx(reached / 10)


def test_a_false_person_with_a_higher_score_halves_the_precision() -> None:
    truth = people(body())
    both = np.concatenate([truth["keypoints"], body(400, 300)[None]])
    assert values((found(both, [0.5, 0.9]), truth))["ap50"] == pytest.approx(0.5)


def test_missed_and_false_joints_are_counted() -> None:
    truth = people(body())
    seen = truth["keypoints"].copy()
    seen[0, 3] = 0
    seen[0, 4, :2] += 200
    scored = values((found(seen, [0.5]), truth))
    assert scored["missed_joints"] == pytest.approx(2 / 17)
    assert scored["false_joints"] == pytest.approx(1 / 16)


def test_a_second_detection_of_a_joint_is_false() -> None:
    truth = people(body())
    twice = np.concatenate([truth["keypoints"]] * 2)
    scored = values((found(twice, [0.5, 0.4]), truth))
    assert (scored["missed_joints"], scored["false_joints"]) == (0, 0.5)


def test_joints_of_unlabelled_people_are_ignored() -> None:
    nobody = np.zeros((17, 3), np.float32)
    truth = people(body(200, 200), nobody)
    truth["boxes"][1] = (10, 10, 120, 120)
    both = np.concatenate([truth["keypoints"][:1], body(15, 15, 90)[None]])
    scored = values((found(both, [0.5, 0.9]), truth))
    assert (scored["oks_map"], scored["missed_joints"], scored["false_joints"]) == (1, 0, 0)


def test_people_found_in_an_image_without_people_are_false() -> None:
    truth = people(body())
    alone = (found(truth["keypoints"], [0.5]), truth)
    empty = (found(body()[None], [0.9]), people())
    assert values(alone, empty)["ap50"] == pytest.approx(0.5)


def test_metrics_are_zero_without_people_and_predictions() -> None:
    empty = (found([], []), people())
    assert set(values(empty).values()) == {0.0}


def test_an_image_of_weight_two_counts_twice() -> None:
    every = matches(images(3, number=6))
    weighed = score(every, np.array([[2, 0, 1, 1, 0, 3]]), joints=4, tuned=3)
    repeated = score([every[place] for place in (0, 0, 2, 3, 5, 5, 5)], np.ones((1, 7), np.int64), joints=4, tuned=3)
    assert {name: value.tolist() for name, value in weighed.items()} == {name: value.tolist() for name, value in repeated.items()}


def at_thresholds(*right: bool) -> list[Image]:
    """One image whose person is found at the thresholds flagged in `right`, and a false person at the others."""
    truth = people(body())
    return [([found(truth["keypoints"] if each else body(400, 300)[None], [0.5])[0] for each in right], truth)]


def test_the_best_threshold_has_the_best_score() -> None:
    every = matches(at_thresholds(*(place == 5 for place in range(len(THRESHOLDS)))))
    assert (best_for_people(every), best_for_joints(every)) == (5, 5)


def test_the_published_threshold_wins_among_equals() -> None:
    for right in (True, False):
        every = matches(at_thresholds(*[right] * len(THRESHOLDS)))
        assert (best_for_people(every), best_for_joints(every)) == (PUBLISHED, PUBLISHED)


def test_calibration_uses_clean_images_for_joints_and_the_condition_for_people() -> None:
    clean = matches(at_thresholds(*(place == 4 for place in range(len(THRESHOLDS)))))
    compressed = matches(at_thresholds(*(place == 6 for place in range(len(THRESHOLDS)))))
    condition = Condition(codec="jpeg", level=5)
    scoring, chosen = calibrate({CLEAN: clean, condition: compressed}.__getitem__, condition)
    assert chosen == {"joint_threshold": THRESHOLDS[4], "tuned_threshold": THRESHOLDS[6]}
    once = np.ones((1, 1), np.int64)
    on_clean, on_compressed = scoring(clean, once), scoring(compressed, once)
    assert (on_clean["missed_joints"][0], on_clean["oks_map_tuned"][0]) == (0, 0)
    assert (on_compressed["missed_joints"][0], on_compressed["oks_map_tuned"][0], on_compressed["oks_map"][0]) == (1, 1, 0)


def test_a_resample_without_people_is_nan_where_the_split_has_some() -> None:
    somebody, nobody = images(3, 1)[0], (found(body()[None], [0.9]), people())
    metrics = score(matches([somebody, nobody]), np.array([[1, 0], [0, 1]]))
    for name in ("oks_map", "ap50", "missed_joints"):
        assert np.isfinite(metrics[name][0])
        assert np.isnan(metrics[name][1])
