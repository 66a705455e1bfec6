import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from trainables import DATASETS, Source, SplitName, read_items
from trainables.scenes.clips import ACTIONS
from trainables.tasks.action.clips import read_clip
from trainables.tasks.action.data import class_folders, street_clips, ucf101

Frames = npt.NDArray[np.uint8]


def moving(frames: int = 12, height: int = 48, width: int = 64) -> Frames:
    """A white block that moves across a dark background."""
    found = np.full((frames, height, width, 3), 40, np.uint8)
    for frame in range(frames):
        found[frame, 10:30, 2 * frame : 2 * frame + 20] = 220
    return found


def write_clip(path: Path, frames: Frames | None = None, codec: str = "mpeg4") -> Path:
    frames = moving() if frames is None else frames
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def refusal(make: Callable[[], object]) -> str:
    """The message of a ValueError, which must be one line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        make()
    return str(refused.value)


def parts(source: Source) -> dict[SplitName, list[str]]:
    return {name: list(source.split(name).names) for name in ("train", "val", "test")}


# Reading a clip


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".avi", "mpeg4"), (".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx-vp9"), (".mov", "mpeg4")]
)
def test_a_clip_is_read_to_the_end_from_every_container(tmp_path: Path, suffix: str, codec: str) -> None:
    found = read_clip(write_clip(tmp_path / f"a{suffix}", codec=codec))
    assert (found.shape, found.dtype) == ((12, 48, 64, 3), np.dtype(np.uint8))
    assert np.abs(found.astype(int) - moving()).mean() < 12


def test_a_clip_of_odd_size_keeps_its_size(tmp_path: Path) -> None:
    assert read_clip(write_clip(tmp_path / "a.avi", moving(12, 45, 67))).shape == (12, 45, 67, 3)


def test_reading_a_clip_is_repeatable(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", codec="libx264")
    assert np.array_equal(read_clip(path), read_clip(path))


@pytest.mark.parametrize(
    ("matrix", "bright"),
    [((0, 1, -1, 0), np.s_[:, -8:]), ((-1, 0, 0, -1), np.s_[-8:, :]), ((0, -1, 1, 0), np.s_[:, :8])],
    ids=["clockwise", "upside-down", "counter-clockwise"],
)
def test_a_clip_filmed_on_its_side_is_rotated_upright(tmp_path: Path, matrix: tuple[int, ...], bright: tuple[slice, slice]) -> None:
    frames = np.full((12, 48, 64, 3), 40, np.uint8)
    frames[:, :8] = 220  # the top edge of the sensor
    path = write_clip(tmp_path / "a.mp4", frames, codec="libx264")
    data = path.read_bytes()
    fixed = [b"".join((value << 16).to_bytes(4, "big", signed=True) for value in pair) for pair in (matrix[:2], matrix[2:])]
    upright = [b"\0\1\0\0\0\0\0\0", b"\0\0\0\0\0\1\0\0"]
    start = data.index(b"tkhd") + 4 + 40  # the track's matrix: a b u c d v x y w
    assert (data[start : start + 8], data[start + 12 : start + 20]) == (upright[0], upright[1])
    path.write_bytes(data[:start] + fixed[0] + data[start + 8 : start + 12] + fixed[1] + data[start + 20 :])
    found = read_clip(path)[0].astype(float)
    assert found.shape == ((48, 64, 3) if matrix[0] else (64, 48, 3))
    assert found[bright].mean() > 180
    assert np.median(found) < 80


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.9])
@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".mp4", "libx264")])
def test_a_truncated_clip_is_refused_by_name(tmp_path: Path, suffix: str, codec: str, share: float) -> None:
    path = write_clip(tmp_path / f"a{suffix}", np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), np.uint8), codec)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    message = refusal(lambda: read_clip(path))
    assert message.startswith(f"{path}: unreadable clip")
    assert "restore the file" in message


def test_a_clip_with_a_damaged_frame_is_refused_by_name(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), np.uint8))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 1000] = bytes(1000)
    path.write_bytes(bytes(data))
    assert refusal(lambda: read_clip(path)).startswith(f"{path}: unreadable clip")


def test_a_missing_clip_is_refused_by_name(tmp_path: Path) -> None:
    assert str(tmp_path / "a.avi") in refusal(lambda: read_clip(tmp_path / "a.avi"))


def test_a_file_without_video_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    assert refusal(lambda: read_clip(path)).startswith(f"{path}: unreadable clip (it has no video stream)")


# UCF101, in a tree that these tests write


GROUPS = {"train": ("g08", "g09", "g25"), "test": ("g01",)}


def ucf_names(part: str) -> list[str]:
    return [
        f"{name}/v_{name}_{group}_c0{number}.avi" for name in ("Archery", "Biking") for group in GROUPS[part] for number in (1, 2)
    ]


@pytest.fixture
def ucf_tree(tmp_path: Path) -> Path:
    clip = write_clip(tmp_path / "clip.avi")
    lists = tmp_path / "ucf" / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Archery\r\n2 Biking\r\n")
    for part in GROUPS:
        for name in ucf_names(part):
            place = tmp_path / "ucf" / "UCF-101" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, place)
        number = {"Archery": " 1", "Biking": " 2"} if part == "train" else {"Archery": "", "Biking": ""}
        lines = [f"{name}{number[name.partition('/')[0]]}\n" for name in ucf_names(part)]
        (lists / f"{part}list01.txt").write_text("".join(reversed(lines)))
    return tmp_path / "ucf"


def test_ucf101_validates_on_the_last_group_of_each_class_and_tests_on_the_test_list(ucf_tree: Path) -> None:
    train = ucf_names("train")
    assert parts(ucf101(ucf_tree)) == {
        "train": [name for name in train if "_g25_" not in name],
        "val": [name for name in train if "_g25_" in name],
        "test": ucf_names("test"),
    }


def test_ucf101_targets_are_numbered_by_the_class_list(ucf_tree: Path) -> None:
    source = ucf101(ucf_tree)
    assert source.classes == ("Archery", "Biking")
    assert [source.test.target(index) for index in range(4)] == [0, 0, 1, 1]


def test_the_groups_of_ucf101_are_recordings_and_lie_within_one_split(ucf_tree: Path) -> None:
    source = ucf101(ucf_tree)
    assert source.test.groups == ["v_Archery_g01", "v_Archery_g01", "v_Biking_g01", "v_Biking_g01"]
    groups = [set(source.split(name).groups) for name in ("train", "val", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups))


def test_ucf101_reads_the_frames_of_a_clip(ucf_tree: Path) -> None:
    source = ucf101(ucf_tree)
    assert source.train.frames(0).shape == (12, 48, 64, 3)
    assert source.train.files(0) == (ucf_tree / "UCF-101" / ucf_names("train")[0],)


@pytest.mark.parametrize("where", ["inside", "beside"])
def test_ucf101_opens_from_the_folder_of_classes_too(ucf_tree: Path, where: str) -> None:
    expected = parts(ucf101(ucf_tree))
    if where == "inside":
        (ucf_tree / "ucfTrainTestlist").rename(ucf_tree / "UCF-101" / "ucfTrainTestlist")
    assert parts(ucf101(ucf_tree / "UCF-101")) == expected


def test_the_fingerprint_depends_on_sizes_and_lists_but_not_on_the_location(ucf_tree: Path, tmp_path: Path) -> None:
    before = ucf101(ucf_tree).fingerprint
    shutil.copytree(ucf_tree, tmp_path / "copy")
    assert ucf101(tmp_path / "copy").fingerprint == before
    write_clip(tmp_path / "copy" / "UCF-101" / ucf_names("train")[0], moving(20))
    assert ucf101(tmp_path / "copy").fingerprint != before


def test_ucf101_without_its_lists_is_refused_with_the_remedy(ucf_tree: Path) -> None:
    shutil.rmtree(ucf_tree / "ucfTrainTestlist")
    assert refusal(lambda: ucf101(ucf_tree)).startswith(f"{ucf_tree}: no folder ucfTrainTestlist; --data ucf101=PATH must")


@pytest.mark.parametrize("name", ["classInd.txt", "trainlist01.txt", "testlist01.txt"])
def test_a_missing_list_is_named(ucf_tree: Path, name: str) -> None:
    (ucf_tree / "ucfTrainTestlist" / name).unlink()
    assert refusal(lambda: ucf101(ucf_tree)).startswith(f"{ucf_tree}/ucfTrainTestlist/{name}: ")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("classInd.txt", "4 Bowling"),
        ("classInd.txt", "Bowling"),
        ("trainlist01.txt", "Bowling/v_Bowling_g08_c01.avi 3"),
        ("trainlist01.txt", "Biking/v_Biking_g08_c09.avi 1"),
        ("trainlist01.txt", "v_Biking_g08_c09.avi 2"),
        ("testlist01.txt", "Biking/v_Biking_g01_c01.avi"),
    ],
)
def test_an_invalid_line_is_named_by_list_and_number(ucf_tree: Path, name: str, line: str) -> None:
    path = ucf_tree / "ucfTrainTestlist" / name
    number = len(path.read_text().splitlines()) + 1
    path.write_text(path.read_text() + line + "\n")
    assert refusal(lambda: ucf101(ucf_tree)).startswith(f"{path}, line {number}: ")


def test_a_listed_clip_that_does_not_exist_is_named(ucf_tree: Path) -> None:
    path = ucf_tree / "UCF-101" / ucf_names("test")[0]
    path.unlink()
    assert refusal(lambda: ucf101(ucf_tree)).startswith(f"{path}: listed but missing")


def test_a_training_list_with_one_group_per_class_is_refused(ucf_tree: Path) -> None:
    path = ucf_tree / "ucfTrainTestlist" / "trainlist01.txt"
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if "_g08_" in line))
    assert str(path) in refusal(lambda: ucf101(ucf_tree))


def test_a_check_reads_every_clip_and_names_the_damaged_one(ucf_tree: Path) -> None:
    damaged = ucf_tree / "UCF-101" / ucf_names("train")[1]
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 3])
    dataset = DATASETS["ucf101"]
    readings = list(read_items(dataset, dataset.source(ucf_tree), "train"))
    assert [len(reading.problems) for reading in readings] == [0, 1, *[0] * 6]
    assert readings[1].problems[0].startswith(f"{damaged}: unreadable clip")
    assert [reading.size for reading in readings[2:]] == [(48, 64)] * 6
    assert set().union(*(reading.classes for reading in readings)) == {0, 1}


# Any clips in class folders


def make_folders(root: Path, counts: Mapping[str, int], names: Sequence[str] = ()) -> Path:
    clip = write_clip(root.parent / "clip.mp4", codec="libx264")
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            shutil.copy(clip, root / folder / f"{number:03d}.mp4")
    for name in names:
        shutil.copy(clip, root / name)
    return root


def test_a_fifth_of_each_class_is_test_and_a_tenth_validation(tmp_path: Path) -> None:
    source = class_folders(make_folders(tmp_path / "clips", {"run": 20, "sit": 10}))
    assert source.classes == ("run", "sit")
    counts = {}
    for part, names in parts(source).items():
        counts[part] = np.bincount([source.split(part).target(index) for index in range(len(names))]).tolist()
    assert counts == {"train": [14, 7], "val": [2, 1], "test": [4, 2]}


def test_each_clip_is_in_one_split_and_is_its_own_group(tmp_path: Path) -> None:
    source = class_folders(make_folders(tmp_path / "clips", {"run": 9, "sit": 3}))
    names = [name for part in parts(source).values() for name in part]
    assert len(names) == len(set(names)) == 12
    assert list(source.train.groups) == list(source.train.names)


def test_the_split_depends_on_names_alone(tmp_path: Path) -> None:
    one, other = (class_folders(make_folders(tmp_path / place / "clips", {"run": 9, "sit": 4})) for place in ("a", "b"))
    assert parts(one) == parts(other)


def test_clips_in_subfolders_and_with_uppercase_suffixes_are_found_and_other_files_ignored(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "clips", {"run": 3, "sit": 3, "run/far": 1}, ["run/B.MP4", "run/notes.txt"])
    names = {name for part in parts(class_folders(root)).values() for name in part}
    assert {"run/far/000.mp4", "run/B.MP4"} < names
    assert len(names) == 8


def test_a_class_with_too_few_clips_is_named(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "clips", {"run": 3, "sit": 2})
    assert refusal(lambda: class_folders(root)).startswith(f"{root}/sit: 2 clips")


def test_a_tree_with_one_class_is_refused_by_name(tmp_path: Path) -> None:
    root = make_folders(tmp_path / "clips", {"run": 5})
    assert refusal(lambda: class_folders(root)).startswith(f"{root}: 1 class folders")


# Embedded


def test_the_street_actions_have_280_training_120_validation_and_128_test_clips() -> None:
    assert {name: len(found) for name, found in parts(DATASETS["street_actions"].source(None)).items()} == {
        "train": 280,
        "val": 120,
        "test": 128,
    }


def test_every_action_occurs_equally_often_in_each_split() -> None:
    source = DATASETS["street_actions"].source(None)
    for name, found in parts(source).items():
        counts = np.bincount([source.split(name).target(index) for index in range(len(found))])
        assert set(counts) == {len(found) // len(ACTIONS)}


def test_a_check_reads_embedded_clips() -> None:
    dataset, split = DATASETS["street_actions"], street_clips(0, 2)
    source = replace(dataset.source(None), train=split)
    assert split.frames(1).shape == (16, 96, 128, 3)
    readings = list(read_items(dataset, source, "train"))
    assert [list(each.problems) for each in readings] == [[], []]
    assert [each.size for each in readings] == [(96, 128)] * 2
    assert [set(each.classes) for each in readings] == [{0}, {1}]


# Real clips


def test_real_ucf101_clips_are_read_through_lists(tmp_path: Path) -> None:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip("STUDY_TEST_DATA is not set; set it to a folder with ucf101/UCF-101")
    for name in ("ApplyEyeMakeup", "BaseballPitch"):
        (tmp_path / "UCF-101" / name).mkdir(parents=True)
        for group in ("g01", "g08", "g09"):
            clip = tmp_path / "UCF-101" / name / f"v_{name}_{group}_c01.avi"
            clip.symlink_to(Path(place, "ucf101", "UCF-101", name, f"v_{name}_g01_c01.avi"))
    lists = tmp_path / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 ApplyEyeMakeup\n2 BaseballPitch\n")
    for part, groups in (("train", ("g08", "g09")), ("test", ("g01",))):
        lines = [f"{name}/v_{name}_{group}_c01.avi\n" for name in ("ApplyEyeMakeup", "BaseballPitch") for group in groups]
        (lists / f"{part}list01.txt").write_text("".join(lines))
    source = DATASETS["ucf101"].source(tmp_path)
    assert [source.test.frames(index).shape for index in range(2)] == [(164, 240, 320, 3), (107, 240, 320, 3)]
    assert [source.val.target(index) for index in range(2)] == [0, 1]


def test_real_mp4_clips_are_read() -> None:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip("STUDY_TEST_DATA is not set; set it to a folder with clips")
    shapes = {name: read_clip(Path(place, "clips", f"{name}.mp4")).shape for name in ("demo", "rawvideo", "test")}
    assert shapes == {"demo": (280, 256, 340, 3), "rawvideo": (32, 256, 340, 3), "test": (300, 256, 340, 3)}
