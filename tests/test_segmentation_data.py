import io
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from trainables import DATASETS, Dataset, Source, Split
from trainables.data.files import fingerprint, read_rgb
from trainables.data.image_files import pair_split
from trainables.tasks.segmentation.data import CAMVID_CLASSES, camvid
from trainables.tasks.segmentation.metrics import VOID

EMBEDDED = {dataset.name: dataset for dataset in DATASETS.values() if dataset.make is not None}
OPENED = {dataset.name: dataset for dataset in DATASETS.values() if dataset.open is not None}
MAPPED = {name: dataset for name, dataset in EMBEDDED.items() if dataset.task == "segmentation"}
every_embedded = pytest.mark.parametrize("dataset", EMBEDDED.values(), ids=EMBEDDED)
every_opened = pytest.mark.parametrize("dataset", OPENED.values(), ids=OPENED)


def splits(source: Source) -> dict[str, Split]:
    return {name: source.split(name) for name in ("train", "val", "test")}


def some(split: Split) -> range:
    return range(0, len(split.names), max(1, len(split.names) // 8))


# Conformance


@every_embedded
def test_every_split_has_items(dataset: Dataset) -> None:
    assert min(len(split.names) for split in splits(dataset.source(None)).values()) > 0


@every_embedded
def test_names_are_sorted_and_unique(dataset: Dataset) -> None:
    for split in splits(dataset.source(None)).values():
        assert list(split.names) == sorted(set(split.names))


@every_embedded
def test_there_is_one_group_per_item(dataset: Dataset) -> None:
    for split in splits(dataset.source(None)).values():
        assert len(split.groups) == len(split.names)


@pytest.mark.slow
@every_embedded
def test_no_image_occurs_twice_in_or_across_splits(dataset: Dataset) -> None:
    parts = splits(dataset.source(None)).values()
    pictures = [split.frames(index).tobytes() for split in parts for index in range(min(60, len(split.names)))]
    assert len(set(pictures)) == len(pictures)


@every_embedded
def test_frames_are_rgb(dataset: Dataset) -> None:
    for split in splits(dataset.source(None)).values():
        for index in some(split):
            frames = split.frames(index)
            assert (frames.dtype, frames.ndim, frames.shape[-1]) == (np.dtype(np.uint8), 4, 3)


@every_embedded
def test_an_item_is_the_same_every_time(dataset: Dataset) -> None:
    one, other = dataset.source(None), dataset.source(None)
    for index in some(one.test):
        assert np.array_equal(one.test.frames(index), other.test.frames(index))


@every_embedded
def test_the_fingerprint_is_the_same_every_time(dataset: Dataset) -> None:
    assert dataset.source(None).fingerprint == dataset.source(None).fingerprint


@every_embedded
def test_the_fingerprint_is_16_hexadecimal_digits(dataset: Dataset) -> None:
    found = dataset.source(None).fingerprint
    assert len(found) == 16
    assert set(found) <= set("0123456789abcdef")


@every_embedded
def test_the_source_has_the_name_of_its_dataset(dataset: Dataset) -> None:
    assert dataset.source(None).name == dataset.name


@every_embedded
def test_a_path_for_embedded_data_is_refused_naming_the_data_set(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"--data {dataset.name}=.*embedded"):
        dataset.source(tmp_path)


@every_opened
def test_a_dataset_without_a_path_is_refused_with_the_remedy(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match=f"pass --data {dataset.name}=PATH"):
        dataset.source(None)


@every_opened
def test_a_path_that_does_not_exist_is_refused_naming_it(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"--data {dataset.name}={tmp_path}/nowhere: no such directory"):
        dataset.source(tmp_path / "nowhere")


@every_opened
def test_an_empty_directory_is_refused_in_one_line_naming_it(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=str(tmp_path)) as refused:
        dataset.source(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("dataset", MAPPED.values(), ids=MAPPED)
def test_a_target_is_a_class_map_of_the_frames_size(dataset: Dataset) -> None:
    source = dataset.source(None)
    for split in splits(source).values():
        for index in some(split):
            target = split.target(index)
            assert (target.dtype, target.shape) == (np.dtype(np.uint8), split.frames(index).shape[1:3])
            assert set(np.unique(target)) <= {*range(len(source.classes)), VOID}


def test_the_street_scenes_have_300_24_and_60_items() -> None:
    assert [len(split.names) for split in splits(DATASETS["street_scenes"].source(None)).values()] == [300, 120, 60]


# CamVid


NAMES = {
    "train": [f"{sequence}_{frame:05d}" for sequence, count in (("0001TP", 29), ("0006R0", 5)) for frame in range(count)],
    "val": ["0016E5_07959", "0016E5_07961"],
    "test": ["Seq05VD_f00000", "Seq05VD_f00030", "Seq05VD_f00060"],
}


def labels(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 12, (6, 8), np.uint8)


def picture(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)


def make_tree(root: Path, lists: Sequence[str] = ("train", "val", "test")) -> Path:
    for name in lists:
        lines = []
        for folder in (name, f"{name}annot"):
            (root / folder).mkdir(parents=True)
        for seed, item in enumerate(NAMES[name]):
            Image.fromarray(picture(seed)).save(root / name / f"{item}.png")
            Image.fromarray(labels(seed)).save(root / f"{name}annot" / f"{item}.png")
            lines.append(f"/SegNet/CamVid/{name}/{item}.png /SegNet/CamVid/{name}annot/{item}.png\n")
        (root / f"{name}.txt").write_text("".join(reversed(lines)))
    return root


def relative(name: str) -> list[str]:
    return [f"{name}/{item}.png" for item in NAMES[name]]


def refusal(make: Callable[[], object]) -> str:
    """Message of the ValueError that a call raises; it must be one line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        make()
    return str(refused.value)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "CamVid")


def test_camvid_has_the_items_of_its_three_lists_sorted(tree: Path) -> None:
    source = camvid(tree)
    assert {name: list(split.names) for name, split in splits(source).items()} == {name: relative(name) for name in NAMES}
    assert len(source.classes) == 11


def test_ten_consecutive_frames_of_a_sequence_form_a_group() -> None:
    pairs = [(f"test/{sequence}_{number:05d}.png", "") for sequence in ("0001TP", "0006R0") for number in range(12)]
    split = pair_split(Path(), pairs, read=lambda _image, _annotation: None, sequence=lambda name: name[:11])
    assert split.groups == [
        *["test/0001TP_00000.png"] * 10,
        *["test/0001TP_00010.png"] * 2,
        *["test/0006R0_00000.png"] * 10,
        *["test/0006R0_00010.png"] * 2,
    ]


def test_frames_are_the_image_as_distributed(tree: Path) -> None:
    assert np.array_equal(camvid(tree).val.frames(1), picture(1)[None])


def test_a_camvid_target_is_the_annotation_with_label_11_as_void(tree: Path) -> None:
    expected = [[VOID if label == 11 else label for label in row] for row in labels(1).tolist()]
    target = camvid(tree).val.target(1)
    assert (target.tolist(), target.dtype) == (expected, np.dtype(np.uint8))


def test_without_a_test_list_val_is_the_test_split_and_the_last_fifth_of_each_sequence_validates(tmp_path: Path) -> None:
    source = camvid(make_tree(tmp_path, ("train", "val")))
    held_out = [*(f"train/0001TP_{frame:05d}.png" for frame in range(24, 29)), "train/0006R0_00004.png"]
    assert list(source.test.names) == relative("val")
    assert list(source.val.names) == held_out
    assert list(source.train.names) == [name for name in relative("train") if name not in held_out]


def test_camvid_accepts_relative_paths_and_blank_lines(tree: Path) -> None:
    (tree / "val.txt").write_text("\nval/0016E5_07959.png valannot/0016E5_07959.png\n\n")
    assert list(camvid(tree).val.names) == ["val/0016E5_07959.png"]


def test_the_fingerprint_does_not_depend_on_the_location_of_the_tree(tmp_path: Path) -> None:
    one, other = make_tree(tmp_path / "one"), make_tree(tmp_path / "other")
    assert camvid(one).fingerprint == camvid(other).fingerprint


def test_the_fingerprint_changes_when_an_item_changes_its_split(tree: Path) -> None:
    before = camvid(tree).fingerprint
    lists = [(tree / name).read_text().splitlines(keepends=True) for name in ("train.txt", "val.txt")]
    (tree / "train.txt").write_text("".join(lists[0][1:]))
    (tree / "val.txt").write_text("".join([*lists[1], lists[0][0]]))
    assert camvid(tree).fingerprint != before


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_missing_list_is_named(tree: Path, name: str) -> None:
    (tree / f"{name}.txt").unlink()
    assert refusal(lambda: camvid(tree)).startswith(f"{tree}/{name}.txt: missing")


@pytest.mark.parametrize("name", ["train", "val", "test"])
@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_list_is_named(tree: Path, name: str, text: str) -> None:
    (tree / f"{name}.txt").write_text(text)
    assert refusal(lambda: camvid(tree)) == f"{tree}/{name}.txt: lists no image; restore the list"


@pytest.mark.parametrize("line", ["val/a.png", "val/a.png valannot/a.png more"])
def test_a_malformed_line_is_named_with_file_and_number(tree: Path, line: str) -> None:
    text = (tree / "val.txt").read_text()
    (tree / "val.txt").write_text(f"{text}{line}\n")
    message = refusal(lambda: camvid(tree))
    assert message.startswith(f"{tree}/val.txt, line 3: ")
    assert line in message


def test_a_name_listed_twice_is_refused(tree: Path) -> None:
    text = (tree / "val.txt").read_text()
    (tree / "val.txt").write_text(text + text)
    assert f"{tree}/val.txt" in refusal(lambda: camvid(tree))


@pytest.mark.parametrize("folder", ["val", "valannot"])
def test_a_missing_file_is_named(tree: Path, folder: str) -> None:
    (tree / folder / "0016E5_07961.png").unlink()
    assert refusal(lambda: camvid(tree)).startswith(f"{tree}/{folder}/0016E5_07961.png: listed but missing")


def damaged(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def test_a_damaged_image_is_named(tree: Path) -> None:
    path = damaged(tree / "val" / "0016E5_07961.png")
    assert str(path) in refusal(lambda: camvid(tree).val.frames(1))


def test_a_damaged_annotation_is_named(tree: Path) -> None:
    path = damaged(tree / "valannot" / "0016E5_07961.png")
    assert str(path) in refusal(lambda: camvid(tree).val.target(1))


def test_an_annotation_with_an_unknown_label_is_named(tree: Path) -> None:
    path = tree / "valannot" / "0016E5_07961.png"
    Image.fromarray(np.full((6, 8), 12, np.uint8)).save(path)
    assert refusal(lambda: camvid(tree).val.target(1)).startswith(f"{path}: label 12 does not exist in this data set")


def test_an_annotation_in_colour_is_named(tree: Path) -> None:
    path = tree / "valannot" / "0016E5_07961.png"
    Image.fromarray(picture(0)).save(path)
    assert refusal(lambda: camvid(tree).val.target(1)).startswith(f"{path}: shape (6, 8, 3) is not that of a label map")


def test_the_real_camvid_opens_with_its_counts() -> None:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip("STUDY_TEST_DATA is not set; set it to a folder that contains camvid/CamVid")
    source = DATASETS["camvid"].source(Path(place) / "camvid" / "CamVid")
    counts = {name: len(split.names) for name, split in splits(source).items()}
    # 367 / 101 / 233 is the complete set. The tree without a test list has 180 + 60; 6 + 9 + 20 of the 180 validate.
    assert counts in ({"train": 367, "val": 101, "test": 233}, {"train": 145, "val": 35, "test": 60})
    if counts["test"] == 60:
        assert [source.test.groups.count(group) for group in dict.fromkeys(source.test.groups)] == [10] * 6
    for split in splits(source).values():
        for index in some(split):
            assert split.frames(index).shape == (1, 360, 480, 3)
            assert split.target(index).shape == (360, 480)
            assert set(np.unique(split.target(index))) <= {*range(len(CAMVID_CLASSES)), VOID}


# Images


def saved(path: Path, image: Image.Image) -> Path:
    image.save(path)
    return path


def test_an_rgb_image_is_read_unchanged(tmp_path: Path) -> None:
    found = read_rgb(saved(tmp_path / "a.png", Image.fromarray(picture(0))))
    assert np.array_equal(found, picture(0)[None])
    assert found.dtype == np.uint8


def test_a_greyscale_image_is_expanded(tmp_path: Path) -> None:
    grey = picture(0)[..., 0]
    assert np.array_equal(read_rgb(saved(tmp_path / "a.png", Image.fromarray(grey)))[0], np.stack([grey] * 3, axis=-1))


def test_a_palette_is_resolved(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    expected = [[[10, 20, 30], [40, 50, 60]], [[70, 80, 90], [40, 50, 60]]]
    assert read_rgb(saved(tmp_path / "a.png", image))[0].tolist() == expected


@pytest.mark.parametrize("alpha", [255, 128, 0])
def test_an_alpha_channel_is_dropped(tmp_path: Path, alpha: int) -> None:
    with_alpha = np.concatenate([picture(0), np.full((6, 8, 1), alpha, np.uint8)], axis=-1)
    assert np.array_equal(read_rgb(saved(tmp_path / "a.png", Image.fromarray(with_alpha))), picture(0)[None])


def test_cmyk_is_refused_naming_file_and_mode(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.fromarray(picture(0)).convert("CMYK"))
    message = refusal(lambda: read_rgb(path))
    assert str(path) in message
    assert "CMYK" in message


def test_16_bit_greyscale_is_refused_naming_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.full((6, 8), 40000, np.uint16)))
    assert str(path) in refusal(lambda: read_rgb(path))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_16_bit_colour_is_refused_naming_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + bytes(range(12)))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))
    assert str(path) in refusal(lambda: read_rgb(path))


def test_a_truncated_jpeg_is_refused_naming_the_file(tmp_path: Path) -> None:
    path = damaged(saved(tmp_path / "a.jpg", Image.fromarray(np.repeat(picture(0), 20, axis=0))))
    assert str(path) in refusal(lambda: read_rgb(path))


@pytest.mark.parametrize("cut", [0, 1, 20, 40, 60])
def test_a_truncated_png_is_refused_naming_the_file(tmp_path: Path, cut: int) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(picture(0)))
    path.write_bytes(path.read_bytes()[:cut])
    assert str(path) in refusal(lambda: read_rgb(path))


def test_a_png_with_a_wrong_chunk_length_is_refused_naming_the_file(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(picture(0)))
    data = path.read_bytes()
    at = data.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    path.write_bytes(data[:at] + struct.pack(">I", length // 2) + data[at + 4 :])
    assert str(path) in refusal(lambda: read_rgb(path))


def test_a_decompression_bomb_is_refused_naming_the_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture(0)).save(buffer, "PNG")
    data, header = buffer.getvalue(), struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path = tmp_path / "a.png"
    path.write_bytes(data[:8] + chunk(b"IHDR", header) + data[8 + 25 :])
    assert str(path) in refusal(lambda: read_rgb(path))


def test_a_missing_image_is_refused_naming_the_file(tmp_path: Path) -> None:
    assert str(tmp_path / "a.png") in refusal(lambda: read_rgb(tmp_path / "a.png"))


def test_a_text_file_is_refused_naming_it(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("no picture")
    assert str(path) in refusal(lambda: read_rgb(path))


# Fingerprints


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    return tmp_path


def test_a_fingerprint_ignores_order_and_repetition_of_files(folder: Path) -> None:
    assert fingerprint(folder, ["a", "b"], [["a"], ["b"]]) == fingerprint(folder, ["b", "a", "b"], [["a"], ["b"]])


def test_a_fingerprint_ignores_the_order_within_a_list(folder: Path) -> None:
    assert fingerprint(folder, ["a", "b"], [["a", "b"]]) == fingerprint(folder, ["a", "b"], [["b", "a"]])


def test_a_fingerprint_ignores_the_modification_time_of_a_file(folder: Path) -> None:
    before = fingerprint(folder, ["a"], [["a"]])
    os.utime(folder / "a", (1, 1))
    assert fingerprint(folder, ["a"], [["a"]]) == before


def test_a_fingerprint_changes_with_the_size_of_a_file(folder: Path) -> None:
    before = fingerprint(folder, ["a"], [["a"]])
    (folder / "a").write_text("aa")
    assert fingerprint(folder, ["a"], [["a"]]) != before


def test_a_fingerprint_changes_with_the_name_of_a_file(folder: Path) -> None:
    assert fingerprint(folder, ["a"], []) != fingerprint(folder, ["b"], [])


def test_a_fingerprint_changes_with_the_lists(folder: Path) -> None:
    found = {fingerprint(folder, ["a", "b"], lists) for lists in ([["a"], ["b"]], [["a", "b"], []], [["b"], ["a"]], [["a", "b"]])}
    assert len(found) == 4


def test_a_missing_file_of_a_fingerprint_is_named(folder: Path) -> None:
    assert refusal(lambda: fingerprint(folder, ["a", "d"], [])).startswith(f"{folder}/d: listed but missing")
