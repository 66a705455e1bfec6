import math

import numpy as np
import numpy.typing as npt
import pytest

from tests.test_pose_metrics import body, people
from trainables import scenes
from trainables.tasks.pose.skeleton import (
    KEYPOINTS,
    LIMB_ENDS,
    LIMBS,
    MIRRORED,
    PARTS,
    REDUNDANT,
    TOLERANCES,
    labelled,
    moved,
    with_neck,
)
from trainables.tasks.pose.targets import FIELDS, FLOOR, MAPS, fields, heat_maps

GRID, STRIDE, SIGMA, WIDTH = (12, 17), 8, 7.0, 1.0
Floats = npt.NDArray[np.float32]


def crowd(seed: int, people: int = 4) -> Floats:
    """(people, 18, 3): parts at random positions on the grid and around it, a third of them missing."""
    rng = np.random.default_rng(seed)
    places = rng.uniform(-20, (GRID[1] * STRIDE + 20, GRID[0] * STRIDE + 20), (people, len(PARTS), 2))
    flags = rng.choice([0, 1, 2], (people, len(PARTS), 1))
    return np.where(flags > 0, np.concatenate([places, flags], axis=-1), 0).astype(np.float32)


def maps_by_loops(parts: Floats) -> Floats:
    found = np.zeros((MAPS, *GRID))
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            for part in range(len(PARTS)):
                for x, y, flag in parts[:, part]:
                    apart = ((column + 0.5) * STRIDE - x) ** 2 + ((row + 0.5) * STRIDE - y) ** 2
                    value = math.exp(-apart / (2 * SIGMA**2))
                    if flag > 0 and value >= FLOOR:
                        found[part, row, column] = max(found[part, row, column], value)
            found[-1, row, column] = 1 - found[:-1, row, column].max()
    return found.astype(np.float32)


def fields_by_loops(parts: Floats) -> Floats:
    found = np.zeros((FIELDS, *GRID))
    for limb, (one, other) in enumerate(LIMB_ENDS):
        for row in range(GRID[0]):
            for column in range(GRID[1]):
                directions = []
                for person in parts:
                    (x0, y0, from_flag), (x1, y1, to_flag) = person[one], person[other]
                    if not (from_flag > 0 and to_flag > 0):
                        continue
                    length = math.hypot(x1 - x0, y1 - y0)
                    right, down = (x1 - x0) / length, (y1 - y0) / length
                    x, y = (column + 0.5) * STRIDE - x0, (row + 0.5) * STRIDE - y0
                    ahead, aside = (right * x + down * y) / STRIDE, (right * y - down * x) / STRIDE
                    if -WIDTH <= ahead <= length / STRIDE + WIDTH and abs(aside) <= WIDTH:
                        directions.append((right, down))
                if directions:
                    found[2 * limb : 2 * limb + 2, row, column] = np.mean(directions, axis=0)
    return found.astype(np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_heat_maps_equal_a_reference_implementation(seed: int) -> None:
    parts = crowd(seed)
    assert heat_maps(parts, GRID, stride=STRIDE, sigma=SIGMA) == pytest.approx(maps_by_loops(parts), abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_fields_equal_a_reference_implementation(seed: int) -> None:
    parts = crowd(seed)
    assert fields(parts, GRID, stride=STRIDE, width=WIDTH) == pytest.approx(fields_by_loops(parts), abs=1e-5)


def test_without_people_there_is_only_background() -> None:
    nobody = np.zeros((0, len(PARTS), 3), np.float32)
    maps = heat_maps(nobody, GRID, stride=STRIDE, sigma=SIGMA)
    assert maps.shape == (19, *GRID)
    assert not maps[:-1].any()
    assert (maps[-1] == 1).all()
    assert not fields(nobody, GRID, stride=STRIDE, width=WIDTH).any()


def test_a_limb_shorter_than_a_cell_has_a_field() -> None:
    parts = np.zeros((1, len(PARTS), 3), np.float32)
    one, other = LIMB_ENDS[LIMBS.index(("nose", "left_eye"))]
    parts[0, one], parts[0, other] = (63.9, 48.1, 2), (65.0, 48.1, 2)
    limb = LIMBS.index(("nose", "left_eye"))
    assert (fields(parts, GRID, stride=STRIDE, width=WIDTH)[2 * limb] == 1).any()


def test_the_number_of_channels_is_that_of_the_published_network() -> None:
    assert (MAPS, FIELDS) == (19, 38)


def test_the_scenes_have_the_same_key_points() -> None:
    assert scenes.JOINTS == KEYPOINTS


def test_tolerances_equal_those_of_pycocotools() -> None:
    from pycocotools.cocoeval import Params

    assert (Params("keypoints").kpt_oks_sigmas).tolist() == pytest.approx(TOLERANCES.tolist())


def test_limbs_connect_all_parts_without_the_redundant_ones() -> None:
    reached = {"neck"}
    for _ in LIMBS:
        for one, other in LIMBS[: len(LIMBS) - REDUNDANT]:
            reached |= {one, other} if {one, other} & reached else set()
    assert reached == set(PARTS)


def test_a_neck_is_the_midpoint_of_two_labelled_shoulders() -> None:
    keypoints = np.zeros((2, 17, 3), np.float32)
    keypoints[:, KEYPOINTS.index("left_shoulder")] = (10, 20, 2)
    keypoints[0, KEYPOINTS.index("right_shoulder")] = (30, 24, 1)
    assert with_neck(keypoints)[:, -1].tolist() == [[20, 22, 1], [0, 0, 0]]


def test_mirroring_exchanges_left_and_right() -> None:
    assert [KEYPOINTS[MIRRORED[MIRRORED[place]]] for place in range(17)] == list(KEYPOINTS)
    keypoints = np.arange(51, dtype=np.float32).reshape(1, 17, 3)
    mirror = np.array([[-1.0, 0, 100], [0, 1, 0]])
    found = moved(keypoints, mirror, mirrored=True)[0, KEYPOINTS.index("left_wrist")]
    right = keypoints[0, KEYPOINTS.index("right_wrist")]
    assert found.tolist() == [100 - right[0], right[1], right[2]]


def test_people_without_key_points_and_crowds_are_not_labelled() -> None:
    truth = people(body(), np.zeros((17, 3)), body(), crowd=[2])
    assert labelled(truth).tolist() == [True, False, False]
