from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from trainables.contracts import Source
from trainables.tasks import DATASETS
from trainables.tasks.pose.grouping import MOST, PUBLISHED, THRESHOLDS, Found, Peaks, links, peaks, people
from trainables.tasks.pose.metrics import score, statistics
from trainables.tasks.pose.skeleton import KEYPOINTS, LIMBS, PARTS, People, labelled, with_neck
from trainables.tasks.pose.targets import fields, heat_maps

Floats = npt.NDArray[np.float32]
STRIDE, HEIGHT, SIGMA = 8, 368, 7.0
"""Published values, in pixels."""


def empty_maps(grid: tuple[int, int] = (20, 30)) -> Floats:
    return np.zeros((len(PARTS), *grid), np.float32)


def by_loops(maps: Floats, least: float) -> set[tuple[int, int, int]]:
    """(part, row, column) of cells above `least` and above all eight neighbours."""
    found = set()
    _, height, width = maps.shape
    for part, i, j in np.argwhere(maps > least):
        around = [
            maps[part, row, column]
            for row in range(max(0, i - 1), min(height, i + 2))
            for column in range(max(0, j - 1), min(width, j + 2))
            if (row, column) != (i, j)
        ]
        if maps[part, i, j] > max(around):
            found.add((int(part), int(i), int(j)))
    return found


def test_peaks_equal_a_reference_implementation() -> None:
    maps = np.random.default_rng(0).random((len(PARTS), 9, 11)).astype(np.float32)
    found = peaks(maps, 0.5)
    cells = set(
        zip(found.part.tolist(), np.floor(found.y).astype(int).tolist(), np.floor(found.x).astype(int).tolist(), strict=True)
    )
    expected = by_loops(maps, 0.5)
    assert len(found.part) == len(expected)
    # Refinement moves a peak by up to half a cell, onto the border of the next cell.
    assert len(cells & expected) >= len(expected) - 2


def test_two_equal_neighbours_form_one_peak() -> None:
    maps = empty_maps()
    maps[0, 5, 5:7] = maps[3, 5:7, 5] = maps[4, [5, 6], [5, 6]] = maps[5, [6, 5], [5, 6]] = 0.9
    assert peaks(maps, 0.1).part.tolist() == [0, 3, 4, 5]


@pytest.mark.parametrize("place", [(100.3, 61.7), (96.0, 64.0), (103.9, 60.1), (3.0, 2.0)])
def test_a_gaussians_peak_is_located_to_a_hundredth_of_a_cell(place: tuple[float, float]) -> None:
    parts = np.zeros((1, len(PARTS), 3), np.float32)
    parts[0, 4] = (*place, 2)
    found = peaks(heat_maps(parts, (20, 30), stride=STRIDE, sigma=SIGMA)[:-1], 0.1)
    at_edge = 0.5 if min(place) < STRIDE / 2 else 0.01
    assert (found.x * STRIDE).tolist() == pytest.approx([place[0]], abs=at_edge * STRIDE)
    assert (found.y * STRIDE).tolist() == pytest.approx([place[1]], abs=at_edge * STRIDE)


def test_only_the_highest_peaks_of_a_part_are_used() -> None:
    maps = np.random.default_rng(1).random((len(PARTS), 40, 40)).astype(np.float32)
    found = peaks(maps, 0.0)
    assert np.bincount(found.part).tolist() == [MOST] * len(PARTS)
    assert found.score.min() > 0.9


def peaks_at(*places: tuple[str, float, float]) -> Peaks:
    """Peaks of confidence 0.8, from (part, x, y) in cells."""
    ordered = sorted((PARTS.index(name), x, y) for name, x, y in places)
    part, x, y = (np.array(each) for each in zip(*ordered, strict=True))
    return Peaks(part.astype(np.int64), x.astype(np.float32), y.astype(np.float32), np.full(len(part), 0.8, np.float32))


def test_a_link_scores_the_mean_field_along_its_line_and_does_not_exist_against_it() -> None:
    limb = LIMBS.index(("left_elbow", "left_wrist"))
    grid = np.zeros((2 * len(LIMBS), 20, 30), np.float32)
    grid[2 * limb] = 0.6
    right = links(peaks_at(("left_elbow", 5, 10), ("left_wrist", 11, 10)), grid)
    assert (right.limb.tolist(), right.score.tolist()) == ([limb], pytest.approx([0.6]))
    assert not len(links(peaks_at(("left_elbow", 11, 10), ("left_wrist", 5, 10)), grid).limb)


def test_a_link_longer_than_half_the_image_scores_less() -> None:
    limb = LIMBS.index(("left_elbow", "left_wrist"))
    grid = np.zeros((2 * len(LIMBS), 20, 30), np.float32)
    grid[2 * limb] = 1
    long = links(peaks_at(("left_elbow", 2, 10), ("left_wrist", 22, 10)), grid)
    assert long.score.tolist() == pytest.approx([1 + (0.5 * 20 / 20 - 1)])


def test_a_link_needs_the_field_along_its_whole_line() -> None:
    limb = LIMBS.index(("left_elbow", "left_wrist"))
    grid = np.zeros((2 * len(LIMBS), 20, 30), np.float32)
    grid[2 * limb, :, :9] = 1
    assert not len(links(peaks_at(("left_elbow", 5, 10), ("left_wrist", 12, 10)), grid).limb)


def perfect(truth: People, *, height: int = HEIGHT, stride: int = STRIDE, sigma: float = SIGMA) -> list[Found]:
    """People decoded from the true maps and fields of an image scaled to `height`, in pixels of the original image."""
    tall, wide = truth["unlabelled"].shape
    scale = height / tall
    grid = -(-height // stride), -(-round(wide * scale) // stride)
    parts = with_neck(truth["keypoints"] * np.array([scale, scale, 1], np.float32))
    maps, along = heat_maps(parts, grid, stride=stride, sigma=sigma), fields(parts, grid, stride=stride, width=1.0)
    to_native = np.array([stride / scale, stride / scale, 1], np.float32)
    return [Found(each.keypoints * to_native, each.scores) for each in people(maps, along)]


def apart(truth: People) -> bool:
    """Whether the boxes of labelled people do not overlap."""
    boxes = truth["boxes"][labelled(truth)]
    overlapping = (np.minimum(boxes[:, None, 2:], boxes[None, :, 2:]) > np.maximum(boxes[:, None, :2], boxes[None, :, :2])).all(-1)
    return int(overlapping.sum()) == len(boxes)


def ceiling(truths: list[People], **how: Any) -> float:
    """OKS mAP of people decoded from true maps and fields."""
    source: Any = None  # not used
    every = statistics([perfect(truth, **how) for truth in truths], {"truths": truths}, source)
    return float(score(every, np.ones((1, len(every)), np.int64))["oks_map"][0])


@pytest.fixture(scope="module")
def street_people() -> Source:
    return DATASETS["street_people"].source(None)


def test_separate_people_are_decoded_from_their_true_maps(street_people: Source) -> None:
    truths = [street_people.test.target(index) for index in range(80)]
    alone = [truth for truth in truths if apart(truth)]
    assert len(alone) >= 30
    assert ceiling(alone) > 0.99


def test_overlapping_people_are_mostly_decoded_from_their_true_maps(street_people: Source) -> None:
    truths = [street_people.test.target(index) for index in range(80)]
    assert not all(apart(truth) for truth in truths)
    assert ceiling(truths) > 0.95
    assert ceiling(truths, height=96, stride=4, sigma=3.0) > 0.9


def test_a_persons_score_is_the_sum_of_confidences_over_the_number_of_parts(street_people: Source) -> None:
    truth = next(t for t in map(street_people.test.target, range(80)) if len(t["areas"]) == 1)
    (found,) = [perfect(truth)[PUBLISHED]]
    assert found.keypoints.shape == (1, 17, 3)
    neck = with_neck(truth["keypoints"])[0, -1, 2] > 0
    confidence = found.keypoints[0, :, 2]
    assert 0.5 < found.scores[0] <= 1
    assert found.scores[0] * len(PARTS) - confidence.sum() == pytest.approx(float(neck), abs=0.2)
    assert ((confidence > 0) == (truth["keypoints"][0, :, 2] > 0)).all()


def test_a_higher_threshold_finds_fewer_joints(street_people: Source) -> None:
    truth = next(t for t in map(street_people.test.target, range(80)) if len(t["areas"]) > 2)
    tall, wide = truth["unlabelled"].shape
    parts = with_neck(truth["keypoints"])
    maps = heat_maps(parts, (tall // 4, wide // 4), stride=4, sigma=3.0)
    dimmed = maps * np.random.default_rng(0).uniform(0.1, 0.6, (len(maps), 1, 1)).astype(np.float32)
    every = people(dimmed, fields(parts, (tall // 4, wide // 4), stride=4, width=1.0))
    joints = [int((found.keypoints[..., 2] > 0).sum()) for found in every]
    assert joints == sorted(joints, reverse=True)
    assert joints[0] > joints[-1]
    for threshold, found in zip(THRESHOLDS, every, strict=True):
        confidence = found.keypoints[..., 2]
        assert (confidence[confidence > 0] > threshold).all()


def test_a_threshold_alone_finds_the_same_people_as_among_others(street_people: Source) -> None:
    truth = street_people.test.target(3)
    tall, wide = truth["unlabelled"].shape
    parts = with_neck(truth["keypoints"])
    maps = heat_maps(parts, (tall // 4, wide // 4), stride=4, sigma=3.0)
    noisy = maps * 0.4 + np.random.default_rng(0).uniform(0, 0.15, maps.shape).astype(np.float32)
    along = fields(parts, (tall // 4, wide // 4), stride=4, width=1.0)
    for threshold, among in zip(THRESHOLDS, people(noisy, along), strict=True):
        (alone,) = people(noisy, along, [threshold])
        assert among.keypoints.tolist() == alone.keypoints.tolist()
        assert among.scores.tolist() == alone.scores.tolist()


def test_two_parts_are_not_a_person(street_people: Source) -> None:
    truth = street_people.test.target(0)
    two = truth["keypoints"][:1].copy()
    kept = [KEYPOINTS.index("left_knee"), KEYPOINTS.index("left_ankle")]
    two[:, [place for place in range(17) if place not in kept]] = 0
    found = perfect(People(**{**truth, "keypoints": two}))[PUBLISHED]  # type: ignore[typeddict-item]
    assert found.keypoints.shape == (0, 17, 3)


def test_people_found_in_noise_lie_within_the_image_and_empty_maps_contain_nobody() -> None:
    rng = np.random.default_rng(0)
    for found in people(rng.random((19, 46, 82)).astype(np.float32), rng.normal(0, 1, (38, 46, 82)).astype(np.float32)):
        assert ((found.keypoints[..., :2] >= 0) & (found.keypoints[..., :2] <= (82, 46))).all()
    empty = people(np.zeros((19, 46, 82), np.float32), np.zeros((38, 46, 82), np.float32))
    assert [len(found.scores) for found in empty] == [0] * len(THRESHOLDS)
