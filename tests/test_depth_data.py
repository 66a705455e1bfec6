import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from search_spaces import SPACES
from study.check.data import data_findings
from tests.conftest import Margin
from trainables import DATASETS, Source, Workload, train
from trainables.contracts import CLEAN, SplitName
from trainables.recipes.recipes import BASELINE
from trainables.scenes import FAR, STREET, STREET_LEVEL, describe, street
from trainables.tasks.depth import DEPTH_GAN
from trainables.tasks.depth.depth_maps import read_depth
from trainables.tasks.depth.rgbd import rgbd
from trainables.tasks.depth.synthia import synthia

PARTS: tuple[SplitName, ...] = ("train", "val", "test")
HEIGHT, WIDTH = 12, 16


def picture(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def steps(seed: int) -> npt.NDArray[np.uint16]:
    """Values of a depth map; some are 0, some 65535."""
    rng = np.random.default_rng(seed)
    values = rng.integers(150, 9000, (HEIGHT, WIDTH), np.uint16)
    values[rng.random(values.shape) < 0.1] = 0
    values[:2] = 65535
    return values


def write(path: Path, image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> Path:
    """Write an image with OpenCV, since Pillow cannot write 16-bit colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
    return path


def in_three_channels(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    return np.stack([values] * 3, axis=-1)


def make_rand(root: Path, count: int = 40, depths: str = "Depth/Depth") -> Path:
    """A tree in the layout of RAND-CITYSCAPES."""
    for number in range(count):
        write(root / "RGB" / f"{number:07d}.png", picture(number))
        write(root / depths / f"{number:07d}.png", in_three_channels(steps(number)))
    return root


def make_sequence(root: Path, count: int = 30) -> Path:
    """A tree in the layout of a video sequence."""
    for number in range(count):
        for view in ("Stereo_Left/Omni_F", "Stereo_Right/Omni_F"):
            write(root / "RGB" / view / f"{number:06d}.png", picture(number))
            write(root / "Depth" / view / f"{number:06d}.png", in_three_channels(steps(number)))
    return root


def make_path(root: Path, count: int = 30) -> Path:
    """A folder of RGB-D frames, JPEG beside PNG."""
    for number in range(count):
        write(root / f"frame-{number:06d}.color.jpg", picture(number))
        write(root / f"frame-{number:06d}.depth.png", steps(number))
    return root


def names(source: Source) -> dict[SplitName, list[str]]:
    return {part: list(source.split(part).names) for part in PARTS}


def refusal(make: Callable[[], object]) -> str:
    """Message of the ValueError that a call raises; it must be one line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        make()
    return str(refused.value)


# SYNTHIA


@pytest.mark.parametrize("depths", ["Depth/Depth", "Depth"])
def test_independent_images_are_paired_with_depth_maps_by_name(tmp_path: Path, depths: str) -> None:
    source = synthia(make_rand(tmp_path, depths=depths))
    found = sorted(name for part in PARTS for name in source.split(part).names)
    assert found == [f"RGB/{number:07d}.png" for number in range(40)]
    image, depth = source.test.files(0)
    assert depth == tmp_path / depths / image.name


def test_each_independent_image_is_its_own_group(tmp_path: Path) -> None:
    source = synthia(make_rand(tmp_path))
    assert all(list(source.split(part).groups) == list(source.split(part).names) for part in PARTS)


def test_an_independent_image_keeps_its_split_when_others_are_added(tmp_path: Path) -> None:
    few = names(synthia(make_rand(tmp_path)))
    many = names(synthia(make_rand(tmp_path, count=60)))
    assert all(set(few[part]) <= set(many[part]) for part in PARTS)


def test_a_sequence_is_split_by_blocks_with_gaps(tmp_path: Path) -> None:
    # 30 frames: two gaps of 3; of the other 24, 70 %, 10 % and the rest
    found = names(synthia(make_sequence(tmp_path)))
    frames = [f"RGB/Stereo_Left/Omni_F/{number:06d}.png" for number in range(30)]
    assert found == {"train": frames[:17], "val": frames[20:22], "test": frames[25:]}


def test_each_sequence_of_a_folder_is_split_and_grouped_separately(tmp_path: Path) -> None:
    for name in ("SYNTHIA-SEQS-01-DAWN", "SYNTHIA-SEQS-02-FALL"):
        make_sequence(tmp_path / name)
    source = synthia(tmp_path)
    for part in PARTS:
        split = source.split(part)
        sequences = {name.split("/")[0] for name in split.names}
        assert sequences == {"SYNTHIA-SEQS-01-DAWN", "SYNTHIA-SEQS-02-FALL"}
        assert all(name.split("/")[0] == group.split("/")[0] for name, group in zip(split.names, split.groups, strict=True))
    assert len(set(source.train.groups)) == 4  # 10 and 7 frames of each sequence


def test_only_the_left_front_view_of_a_sequence_is_read(tmp_path: Path) -> None:
    found = names(synthia(make_sequence(tmp_path)))
    assert {name.rpartition("/")[0] for part in PARTS for name in found[part]} == {"RGB/Stereo_Left/Omni_F"}


def test_synthia_depth_is_the_first_channel_in_centimetres(tmp_path: Path) -> None:
    source = synthia(make_rand(tmp_path))
    number = int(Path(source.test.names[0]).stem)
    target = source.test.target(0)
    assert target.dtype == np.float32
    np.testing.assert_allclose(target, steps(number) / 100, rtol=1e-6)


def test_in_synthia_the_sky_is_known_to_be_far_and_zero_is_unknown(tmp_path: Path) -> None:
    target = synthia(make_rand(tmp_path)).test.target(0)
    assert set(target[:2].ravel()) == {np.float32(655.35)}
    assert (target == 0).any()


def test_a_folder_that_is_not_synthia_is_refused(tmp_path: Path) -> None:
    (tmp_path / "RGB").mkdir()
    assert refusal(lambda: synthia(tmp_path)).startswith(f"{tmp_path}: contains neither RGB/*.png nor RGB/Stereo_Left/Omni_F")


def test_a_sequence_too_short_to_split_is_named(tmp_path: Path) -> None:
    message = refusal(lambda: synthia(make_sequence(tmp_path, count=9)))
    assert message.startswith(f"{tmp_path}/RGB/Stereo_Left/Omni_F: 9 frames")


def test_too_few_independent_images_for_three_splits_are_refused(tmp_path: Path) -> None:
    message = refusal(lambda: synthia(make_rand(tmp_path, count=1)))
    assert message.startswith(f"{tmp_path}: no image for ")
    assert "(1 in all)" in message


@pytest.mark.parametrize("folder", ["RGB", "Depth/Depth"])
def test_a_file_of_synthia_without_its_partner_is_named(tmp_path: Path, folder: str) -> None:
    path = make_rand(tmp_path) / folder / "0000007.png"
    path.unlink()
    assert refusal(lambda: synthia(tmp_path)).startswith(f"{path}: listed but missing")


def test_an_epoch_of_training_on_synthia_runs(tmp_path: Path) -> None:
    hyper = replace(DEPTH_GAN.hyper, batch_size=4, width=4, downsamplings=3, size=(32, 32))
    workload = Workload(architecture=DEPTH_GAN, hyper=hyper, data=synthia(make_rand(tmp_path)))
    (epoch,) = train(workload, BASELINE, epochs=1, seed=0)
    assert epoch.losses["l1"] > 0
    assert 0 < epoch.validation[CLEAN]["rmse"] < 80


# RGB-D


def test_a_path_of_120_frames_is_split_into_70_10_and_20_with_gaps(tmp_path: Path) -> None:
    found = names(rgbd(make_path(tmp_path, count=120)))
    frames = [f"frame-{number:06d}.color.jpg" for number in range(120)]
    assert found == {"train": frames[:70], "val": frames[80:90], "test": frames[100:]}


def test_frames_of_a_path_are_resampled_in_blocks_of_ten(tmp_path: Path) -> None:
    groups = rgbd(make_path(tmp_path, count=120)).test.groups
    assert groups == [*["frame-000100.color.jpg"] * 10, *["frame-000110.color.jpg"] * 10]


def test_rgbd_depth_is_in_millimetres_and_0_and_65535_are_unknown(tmp_path: Path) -> None:
    source = rgbd(make_path(tmp_path))
    number = int(source.val.names[0].removeprefix("frame-")[:6])
    expected = np.where(steps(number) == 65535, 0, steps(number)) / 1000
    np.testing.assert_allclose(source.val.target(0), expected, rtol=1e-6)


def test_frames_of_a_path_are_the_images_as_distributed(tmp_path: Path) -> None:
    source = rgbd(make_path(tmp_path))
    with Image.open(source.train.files(0)[0]) as image:
        assert np.array_equal(source.train.frames(0)[0], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("end", [".color.jpg", ".depth.png"])
def test_a_frame_without_its_partner_is_named(tmp_path: Path, end: str) -> None:
    path = make_path(tmp_path) / f"frame-000003{end}"
    path.unlink()
    assert refusal(lambda: rgbd(tmp_path)).startswith(f"{path}: listed but missing")


def test_a_path_too_short_to_split_is_named(tmp_path: Path) -> None:
    assert refusal(lambda: rgbd(make_path(tmp_path, count=9))).startswith(f"{tmp_path}: 9 frames cannot be split")


def test_the_fingerprint_of_a_path_does_not_depend_on_its_location(tmp_path: Path) -> None:
    one, other = rgbd(make_path(tmp_path / "one")), rgbd(make_path(tmp_path / "other"))
    assert one.fingerprint == other.fingerprint


def test_the_fingerprint_of_a_path_changes_when_a_frame_is_removed(tmp_path: Path) -> None:
    before = rgbd(make_path(tmp_path)).fingerprint
    for path in tmp_path.glob("frame-000029.*"):
        path.unlink()
    assert rgbd(tmp_path).fingerprint != before


# Depth maps


def depth_in(path: Path) -> npt.NDArray[np.float32]:
    """Depths in a file whose values are centimetres, for an image of the same size."""
    image = write(path.with_suffix(".jpg"), picture(0))
    return read_depth(image, path, unit=0.01, invalid=(0,))


def test_one_channel_and_three_equal_channels_are_read_alike(tmp_path: Path) -> None:
    one = depth_in(write(tmp_path / "a.png", steps(0)))
    three = depth_in(write(tmp_path / "b.png", in_three_channels(steps(0))))
    assert np.array_equal(one, three)


def test_the_first_of_three_channels_is_read(tmp_path: Path) -> None:
    values = in_three_channels(steps(0))
    values[..., 1:] = 1
    found = depth_in(write(tmp_path / "a.png", values))
    np.testing.assert_allclose(found, steps(0) / 100, rtol=1e-6)


def eight_bits(path: Path) -> str:
    write(path, picture(0))
    return "type uint8, expected 16 bits"


def other_size(path: Path) -> str:
    write(path, steps(0)[:, :8])
    return f"8x{HEIGHT} pixels, but its image {path.parent / 'frame-000000.color.jpg'} has {WIDTH}x{HEIGHT}"


def nothing_known(path: Path) -> str:
    write(path, np.where(np.arange(WIDTH) % 2, 0, 65535).astype(np.uint16) * np.ones((HEIGHT, 1), np.uint16))
    return "no pixel of known depth (all are 0, 65535)"


def truncated(path: Path) -> str:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "unreadable depth map"


def empty(path: Path) -> str:
    path.write_bytes(b"")
    return "unreadable depth map"


def gone(path: Path) -> str:
    path.unlink()
    return "unreadable depth map (No such file or directory)"


@pytest.mark.parametrize("spoil", [eight_bits, other_size, nothing_known, truncated, empty, gone])
def test_an_unusable_depth_map_is_refused_in_one_line_naming_it(tmp_path: Path, spoil: Callable[[Path], str]) -> None:
    source = rgbd(make_path(tmp_path))
    path = tmp_path / "frame-000000.depth.png"
    reason = spoil(path)
    message = refusal(lambda: source.train.target(0))
    assert message.startswith(f"{path}: ")
    assert reason in message


# Embedded


@pytest.fixture(scope="module")
def scenes() -> Source:
    return DATASETS["street_depth"].source(None)


def test_the_embedded_scenes_have_300_24_and_60_items(scenes: Source) -> None:
    assert [len(scenes.split(part).names) for part in PARTS] == [300, 120, 60]


def test_the_depth_of_a_scene_is_known_everywhere_and_ends_at_far(scenes: Source) -> None:
    for index in range(5):
        target = scenes.test.target(index)
        assert (target.dtype, target.shape) == (np.dtype(np.float32), (96, 128))
        assert target.min() > 0
        assert target.max() == FAR


def test_the_camera_of_the_embedded_scenes_hardly_varies() -> None:
    cameras = [describe(np.random.default_rng([0, index]), STREET_LEVEL).camera for index in range(50)]
    heights, horizons = [camera.height for camera in cameras], [camera.horizon for camera in cameras]
    assert 1.55 <= min(heights) < max(heights) <= 1.65
    assert 0.44 <= min(horizons) < max(horizons) <= 0.46


def test_the_range_of_the_camera_changes_nothing_else_in_a_scene() -> None:
    one, other = (describe(np.random.default_rng([0, 3]), mix) for mix in (STREET, STREET_LEVEL))
    assert replace(one, camera=other.camera) == other


def test_the_default_range_of_the_camera() -> None:
    written_out = replace(STREET, horizon=(0.38, 0.52), camera_height=(1.3, 1.9))
    assert np.array_equal(street(5, 7).rgb, street(5, 7, mix=written_out).rgb)


# Checking data without classes


def test_an_intact_tree_passes_the_check(tmp_path: Path) -> None:
    source = rgbd(make_path(tmp_path))
    findings = list(data_findings(DATASETS["rgbd"], source))
    assert "error" not in {finding.state for finding in findings}
    (counts,) = (finding for finding in findings if "fingerprint" in finding.line)
    assert counts.line.startswith("17 train, 2 val, 5 test; 16x12 pixels")


def test_the_check_finds_every_unusable_depth_map(tmp_path: Path) -> None:
    source = rgbd(make_path(tmp_path))
    spoiled = [tmp_path / f"frame-{number:06d}.depth.png" for number in (2, 29)]
    eight_bits(spoiled[0])
    truncated(spoiled[1])
    errors = [finding.line for finding in data_findings(DATASETS["rgbd"], source) if finding.state == "error"]
    assert [line.partition(": ")[0] for line in errors] == [str(path) for path in spoiled]


# Real RGB-D frames


@pytest.fixture
def kitchen() -> Source:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip("STUDY_TEST_DATA is not set; set it to a folder that contains rgbd_kitchen")
    return DATASETS["rgbd"].source(Path(place) / "rgbd_kitchen")


def test_the_real_kitchen_opens_with_its_counts(kitchen: Source) -> None:
    assert {part: len(split) for part, split in names(kitchen).items()} == {"train": 70, "val": 10, "test": 20}


def test_the_real_kitchen_is_a_few_metres_deep(kitchen: Source) -> None:
    for part in PARTS:
        split = kitchen.split(part)
        for index in range(0, len(split.names), 5):
            target = split.target(index)
            assert split.frames(index).shape == (1, 480, 640, 3)
            assert target[target > 0].min() > 0.3
            assert target.max() < 10
            assert 0.5 < np.mean(target > 0) <= 1


@pytest.mark.slow
@pytest.mark.trained
def test_the_reduced_network_learns_on_the_real_kitchen(kitchen: Source, margin: Margin, seed: int) -> None:
    hyper = replace(DEPTH_GAN.hyper, **{**SPACES["demo"].budgets["depth_gan"].hyper, "size": (64, 96)})
    workload = Workload(architecture=DEPTH_GAN, hyper=hyper, data=kitchen)
    losses = [epoch.losses["l1"] for epoch in train(workload, BASELINE, epochs=3, seed=seed)]
    margin(losses[-1] / losses[0], below=0.5)
