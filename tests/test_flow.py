import os
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from trainables.tasks.action.clips import read_clip
from trainables.tasks.action.flow import EXTRACTORS, Extractor, TvL1, colours, flows

Grey = npt.NDArray[np.uint8]
every_extractor = pytest.mark.parametrize("extractor", EXTRACTORS.values(), ids=EXTRACTORS)
ERROR = {"dis_fast": 0.3, "dis_medium": 0.2, "tvl1": 0.1}
"""Largest mean error of a translation, in pixels."""


def texture(height: int, width: int) -> Grey:
    noise = np.random.default_rng(0).standard_normal((height, width)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5) + 2 * cv2.GaussianBlur(noise, (0, 0), 5)
    return np.asarray(np.clip(128 + 50 * smooth / smooth.std(), 0, 255), np.uint8)


def moved(picture: Grey, right: float, down: float) -> Grey:
    """The picture translated to the right and down."""
    shift = np.array([[1, 0, right], [0, 1, down]], np.float64)
    return np.asarray(cv2.warpAffine(picture, shift, picture.shape[::-1], borderMode=cv2.BORDER_REFLECT_101), np.uint8)


def inner(flow: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return flow[12:-12, 12:-12]


@every_extractor
def test_an_extractor_is_listed_under_its_name(extractor: Extractor) -> None:
    assert EXTRACTORS[extractor.name] is extractor


@every_extractor
@pytest.mark.parametrize(("right", "down"), [(1.5, -0.75), (-3.0, 2.0)])
def test_a_known_translation_is_found(extractor: Extractor, right: float, down: float) -> None:
    picture = texture(72, 96)
    found = extractor.flow(picture, moved(picture, right, down))
    assert (found.shape, found.dtype) == ((72, 96, 2), np.dtype(np.float32))
    assert np.hypot(*(inner(found) - (right, down)).reshape(-1, 2).T).mean() < ERROR[extractor.name]


@every_extractor
def test_a_known_rotation_is_found(extractor: Extractor) -> None:
    picture, angle = texture(72, 96), 2.0
    turn = cv2.getRotationMatrix2D((47.5, 35.5), angle, 1.0)
    turned = np.asarray(cv2.warpAffine(picture, turn, (96, 72), borderMode=cv2.BORDER_REFLECT_101), np.uint8)
    y, x = np.mgrid[0:72, 0:96]
    expected = np.stack([x, y, np.ones_like(x)], axis=-1) @ turn.T - np.stack([x, y], axis=-1)
    assert np.hypot(*(inner(extractor.flow(picture, turned)) - inner(expected)).reshape(-1, 2).T).mean() < 0.4


@every_extractor
def test_equal_frames_have_no_flow(extractor: Extractor) -> None:
    picture = texture(48, 64)
    assert np.abs(extractor.flow(picture, picture)).max() < 0.01


@every_extractor
def test_flow_does_not_depend_on_earlier_calls(extractor: Extractor) -> None:
    picture, other = texture(48, 64), moved(texture(48, 64), 2, 1)
    first = extractor.flow(picture, other)
    extractor.flow(other, picture)
    assert np.array_equal(first, extractor.flow(picture, other))


@every_extractor
def test_flow_does_not_depend_on_the_threads_of_opencv(extractor: Extractor) -> None:
    picture, other, before = texture(48, 64), moved(texture(48, 64), 2, 1), cv2.getNumThreads()
    found = []
    for threads in (1, 2):
        cv2.setNumThreads(threads)
        found.append(extractor.flow(picture, other))
    cv2.setNumThreads(before)
    assert np.array_equal(found[0], found[1])


def test_tv_l1_keeps_the_edge_of_an_object_that_moves_before_a_static_background() -> None:
    background, thing = texture(72, 96), texture(96, 72).T
    frames = []
    for step in (0, 3):
        frame = background.copy()
        frame[24:48, 30 + step : 60 + step] = thing[24:48, 30:60]
        frames.append(frame)
    found = TvL1().flow(*frames)
    assert found[28:44, 36:58, 0].mean() == pytest.approx(3, abs=0.2)
    assert np.abs(found[:16]).mean() < 0.1


def test_flows_are_computed_between_consecutive_frames() -> None:
    grey = [texture(48, 64), moved(texture(48, 64), 1, 0), moved(texture(48, 64), 1, 2)]
    extractor = EXTRACTORS["dis_medium"]
    found = flows(np.repeat(np.stack(grey)[..., None], 3, axis=-1), extractor)
    assert np.array_equal(found, [extractor.flow(grey[0], grey[1]), extractor.flow(grey[1], grey[2])])


def test_directions_have_different_colours_and_no_motion_is_white() -> None:
    flow = np.zeros((4, 32, 2), np.float32)
    flow[1, :, 0], flow[2, :, 0], flow[3, :, 1] = 9, -9, -9
    picture = colours(flow)
    assert (picture.shape, picture.dtype) == ((4, 32, 3), np.dtype(np.uint8))
    rows = [tuple(row[0].tolist()) for row in picture]
    assert rows[0] == (255, 255, 255)
    assert rows[1] == (255, 0, 0)
    assert len(set(rows)) == 4


def test_a_real_clip_has_plausible_flow() -> None:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip("STUDY_TEST_DATA is not set; set it to a folder with ucf101/UCF-101")
    frames = read_clip(Path(place, "ucf101/UCF-101/BaseballPitch/v_BaseballPitch_g01_c01.avi"))
    found = flows(frames[40:46], EXTRACTORS["dis_fast"])
    assert found.shape == (5, 240, 320, 2)
    assert 0.05 < np.abs(found).mean() < 5
