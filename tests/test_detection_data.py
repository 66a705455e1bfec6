import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from trainables.contracts import Source, Split
from trainables.data.splitting import held_out
from trainables.tasks import DATASETS
from trainables.tasks.detection.boxes import Truth
from trainables.tasks.detection.coco import coco
from trainables.tasks.detection.voc import CLASSES, voc, voc2007

LISTS = {"train": [f"{number:06d}" for number in range(1, 24)], "val": ["000101", "000102"], "test": ["000201", "000202", "000203"]}
WIDTH, HEIGHT = 40, 30
Entry = tuple[str, tuple[float, float, float, float], int]


def splits(source: Source) -> dict[str, Split]:
    return {name: source.split(name) for name in ("train", "val", "test")}


def refusal(make: Callable[[], object]) -> str:
    """The message of the ValueError raised, which must be one line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        make()
    return str(refused.value)


def picture(seed: int) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def listed(found: Truth) -> dict[str, Any]:
    return {name: value.tolist() for name, value in found.items()}  # type: ignore[attr-defined]


def types_of(found: Truth) -> dict[str, Any]:
    return {name: (value.dtype, value.ndim) for name, value in found.items()}  # type: ignore[attr-defined]


TYPES = {
    "boxes": (np.dtype(np.float32), 2),
    "labels": (np.dtype(np.int64), 1),
    "areas": (np.dtype(np.float32), 1),
    "difficult": (np.dtype(np.bool_), 1),
    "crowd": (np.dtype(np.bool_), 1),
}


def check_item(source: Source, split: Split, index: int) -> None:
    height, width = split.frames(index).shape[1:3]
    found: Truth = split.target(index)
    assert types_of(found) == TYPES
    assert len({len(value) for value in found.values()}) == 1  # type: ignore[arg-type]
    x0, y0, x1, y1 = found["boxes"].T
    assert ((x0 >= 0) & (y0 >= 0) & (x1 <= width) & (y1 <= height) & (x0 < x1) & (y0 < y1)).all()
    assert (found["areas"] > 0).all()
    assert set(found["labels"].tolist()) <= set(range(len(source.classes)))


# Embedded scenes


def test_street_objects_has_300_40_and_80_scenes() -> None:
    assert [len(split.names) for split in splits(DATASETS["street_objects"].source(None)).values()] == [300, 120, 80]


def test_street_objects_are_valid_and_their_visible_areas_fit_their_boxes() -> None:
    source = DATASETS["street_objects"].source(None)
    for split in splits(source).values():
        for index in range(0, len(split.names), 8):
            check_item(source, split, index)
            found: Truth = split.target(index)
            assert (found["areas"] <= (found["boxes"][:, 2:] - found["boxes"][:, :2]).prod(axis=1)).all()
            assert not (found["difficult"] | found["crowd"]).any()


def test_street_objects_contains_every_class() -> None:
    source, present = DATASETS["street_objects"].source(None), DATASETS["street_objects"].present
    assert {label for index in range(30) for label in present(source.test.target(index))} == set(range(len(source.classes)))


# VOC, in a generated tree


def annotation(*objects: Entry) -> str:
    rows = "".join(
        f"<object><name>{name}</name><difficult>{difficult}</difficult>"
        f"<bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>"
        f"<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"
        for name, box, difficult in objects
    )
    return f"<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height></size>{rows}</annotation>"


DOG: Entry = ("dog", (3, 5, 12, 20), 0)
"""A box over pixels 3 to 12 and 5 to 20, counted from 1."""


def make_voc(root: Path, *, name: str = "dog") -> Path:
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for part, items in LISTS.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{item}\n" for item in reversed(items)))
        for item in items:
            Image.fromarray(picture(int(item))).save(root / "JPEGImages" / f"{item}.jpg")
            (root / "Annotations" / f"{item}.xml").write_text(annotation((name, *DOG[1:])))
    return root


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_voc(tmp_path / "VOC2007")


def annotated(tree: Path, *objects: Entry) -> Truth:
    """Ground truth of the first test image after its annotation is replaced by these objects."""
    (tree / "Annotations" / "000201.xml").write_text(annotation(*objects))
    found: Truth = voc2007(tree).test.target(0)
    return found


def test_voc2007_uses_its_three_lists_sorted(tree: Path) -> None:
    source = voc2007(tree)
    assert {name: list(split.names) for name, split in splits(source).items()} == {
        name: [f"JPEGImages/{item}.jpg" for item in items] for name, items in LISTS.items()
    }


def test_voc2007_has_20_classes_in_alphabetical_order() -> None:
    assert len(CLASSES) == 20
    assert list(CLASSES) == sorted(CLASSES)


@pytest.mark.parametrize("above", [0, 1, 2])
def test_voc2007_is_found_from_its_folder_and_from_the_two_folders_above(tmp_path: Path, above: int) -> None:
    tree = make_voc(tmp_path / "VOCdevkit" / "VOC2007")
    assert len(voc2007([tree, *tree.parents][above]).test.names) == 3


def test_vocs_inclusive_pixels_from_one_become_exclusive_corners_from_zero(tree: Path) -> None:
    found: Truth = voc2007(tree).test.target(0)
    assert listed(found) == {
        "boxes": [[2, 4, 12, 20]],
        "labels": [CLASSES.index("dog")],
        "areas": [160],
        "difficult": [False],
        "crowd": [False],
    }
    assert types_of(found) == TYPES


def test_difficult_objects_are_flagged(tree: Path) -> None:
    assert annotated(tree, DOG, ("cat", (1, 1, 9, 9), 1))["difficult"].tolist() == [False, True]


def test_an_image_without_objects_is_kept(tree: Path) -> None:
    found = annotated(tree)
    assert found["boxes"].shape == (0, 4)
    assert types_of(found) == TYPES
    assert list(DATASETS["voc2007"].present(found)) == []


@pytest.mark.parametrize("box", [(5, 5, 5, 5), (5, 5, 9, 5), (9, 5, 5, 9), (50, 5, 60, 9)])
def test_a_box_without_area_is_dropped(tree: Path, box: tuple[int, int, int, int]) -> None:
    assert annotated(tree, ("cat", box, 0), DOG)["labels"].tolist() == [CLASSES.index("dog")]


def test_a_box_is_clipped_to_the_image(tree: Path) -> None:
    assert annotated(tree, ("dog", (-4, 0, 60, 12.5), 0))["boxes"].tolist() == [[0, 0, WIDTH, 12.5]]


def test_present_lists_the_classes_of_all_objects(tree: Path) -> None:
    found = annotated(tree, DOG, ("cat", (1, 1, 9, 9), 1), DOG)
    assert set(DATASETS["voc2007"].present(found)) == {CLASSES.index("cat"), CLASSES.index("dog")}


def test_a_greyscale_image_is_expanded_to_rgb(tree: Path) -> None:
    Image.fromarray(picture(0)).convert("L").save(tree / "JPEGImages" / "000201.jpg")
    assert voc2007(tree).test.frames(0).shape == (1, HEIGHT, WIDTH, 3)


def test_an_unknown_class_in_voc2007_is_named_with_the_remedy(tree: Path) -> None:
    message = refusal(lambda: annotated(tree, ("unicorn", (1, 1, 9, 9), 0)))
    assert message.startswith(f"{tree}/Annotations/000201.xml: unknown class 'unicorn'")
    assert "--data voc=PATH" in message


def test_each_image_is_its_own_group_and_has_two_files(tree: Path) -> None:
    split = voc2007(tree).test
    assert list(split.groups) == list(split.names)
    assert split.files(1) == (tree / "JPEGImages/000202.jpg", tree / "Annotations/000202.xml")


def test_vocs_fingerprint_does_not_depend_on_its_location(tmp_path: Path) -> None:
    assert voc2007(make_voc(tmp_path / "one")).fingerprint == voc2007(make_voc(tmp_path / "other")).fingerprint


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_missing_list_of_voc2007_is_named(tree: Path, part: str) -> None:
    (tree / "ImageSets" / "Main" / f"{part}.txt").unlink()
    assert refusal(lambda: voc2007(tree)).startswith(f"{tree}/ImageSets/Main/{part}.txt: no such file")


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_list_is_named(tree: Path, text: str) -> None:
    (tree / "ImageSets" / "Main" / "val.txt").write_text(text)
    assert refusal(lambda: voc2007(tree)).startswith(f"{tree}/ImageSets/Main/val.txt: lists no image")


@pytest.mark.parametrize("line", ["000101 1", "../000101", "JPEGImages/000101.jpg"])
def test_a_malformed_line_of_a_list_is_named_by_file_and_number(tree: Path, line: str) -> None:
    (tree / "ImageSets" / "Main" / "val.txt").write_text(f"000102\n{line}\n")
    message = refusal(lambda: voc2007(tree))
    assert message.startswith(f"{tree}/ImageSets/Main/val.txt, line 2: ")
    assert repr(line) in message


def test_an_image_in_two_lists_is_named(tree: Path) -> None:
    (tree / "ImageSets" / "Main" / "val.txt").write_text("000101\n000001\n")
    assert "000001 is listed 2 times" in refusal(lambda: voc2007(tree))


@pytest.mark.parametrize("name", ["JPEGImages/000102.jpg", "Annotations/000102.xml"])
def test_a_missing_file_of_voc_is_named(tree: Path, name: str) -> None:
    (tree / name).unlink()
    assert refusal(lambda: voc2007(tree)).startswith(f"{tree}/{name}: listed but missing")
    assert refusal(lambda: voc(tree)).startswith(f"{tree}/{name}: listed but missing")


BOMB = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaa"><!ENTITY c "&a;&a;">]>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no element found"),
        ("<annotation><object></annotation>", "mismatched tag"),
        ("<annotation><object><name>dog</name></object></annotation>", "without bndbox/xmin"),
        (annotation(("dog", (1, 1, 9, 9), 0)).replace("<xmin>1<", "<xmin>one<", 1), "could not convert"),
        (annotation(("dog", (1, float("inf"), 9, 9), 0)), "not finite"),
        (annotation(("", (1, 1, 9, 9), 0)), "without name"),
        (BOMB + annotation(("&c;", (1, 1, 9, 9), 0)), "document type declaration"),
        ((BOMB + annotation(("&c;", (1, 1, 9, 9), 0))).encode("utf-16"), "document type declaration"),
    ],
)
def test_a_malformed_annotation_is_named_with_the_reason(tree: Path, text: str | bytes, reason: str) -> None:
    path = tree / "Annotations" / "000201.xml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    source = voc2007(tree)
    message = refusal(lambda: source.test.target(0))
    assert message.startswith(f"{path}: unreadable annotation")
    assert reason in message


def test_the_classes_of_voc_are_the_sorted_names_in_the_annotations(tmp_path: Path) -> None:
    tree = make_voc(tmp_path, name="unicorn")
    (tree / "Annotations" / "000001.xml").write_text(annotation(("gnome", (1, 1, 9, 9), 0)))
    source = voc(tree)
    assert source.classes == ("gnome", "unicorn")
    assert source.train.target(0)["labels"].tolist() == [0]


def test_voc_without_a_test_list_uses_val_for_test_and_a_twentieth_of_train_for_validation(tree: Path) -> None:
    (tree / "ImageSets" / "Main" / "test.txt").unlink()
    source = voc(tree)
    assert list(source.test.names) == [f"JPEGImages/{item}.jpg" for item in LISTS["val"]]
    assert (len(source.train.names), len(source.val.names)) == (22, 1)
    assert {*source.train.names, *source.val.names} == {f"JPEGImages/{item}.jpg" for item in LISTS["train"]}


def test_voc_reads_png_images(tree: Path) -> None:
    (tree / "JPEGImages" / "000201.jpg").unlink()
    Image.fromarray(picture(5)).save(tree / "JPEGImages" / "000201.png")
    assert np.array_equal(voc(tree).test.frames(0)[0], picture(5))


def test_voc_without_any_object_is_refused(tree: Path) -> None:
    for path in (tree / "Annotations").iterdir():
        path.write_text(annotation())
    assert refusal(lambda: voc(tree)).startswith(f"{tree}/Annotations: no listed image has an object")


def test_the_held_out_split_depends_on_the_names_alone() -> None:
    names = [f"{number}.jpg" for number in range(100)]
    train, val = held_out(names)
    assert (train, val) == held_out(names[::-1])
    assert len(val) == 5
    assert sorted({*train, *val}) == sorted(names)


# COCO, in a generated tree

CATEGORIES = [{"id": 90, "name": "toothbrush"}, {"id": 1, "name": "person"}, {"id": 3, "name": "car"}]


def row(image: int, box: tuple[float, ...], category: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "bbox": list(box), "category_id": category, "area": 20.5, "iscrowd": 0, **more}


def make_coco(root: Path) -> Path:
    (root / "annotations").mkdir(parents=True)
    for part, count in (("train2017", 21), ("val2017", 3)):
        (root / part).mkdir()
        images = []
        for number in range(count, 0, -1):
            name = f"{number:012d}.jpg"
            Image.fromarray(picture(number)).save(root / part / name)
            images.append({"id": 1000 + number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        rows = [row(1002, (1.5, 2, 10, 5), 90), row(1001, (30, 20, 20, 4), 3, iscrowd=1), row(1001, (0, 0, 4, 4))]
        write_instances(root, part, images=images, annotations=[*rows, row(1001, (3, 3, 0, 5)), row(1001, (3, 3, 5, 1e-9))])
    return root


def write_instances(root: Path, part: str, **changes: Any) -> None:
    path = root / "annotations" / f"instances_{part}.json"
    before = json.loads(path.read_text()) if path.exists() else {"categories": CATEGORIES}
    path.write_text(json.dumps({**before, **changes}))


@pytest.fixture
def instances(tmp_path: Path) -> Path:
    return make_coco(tmp_path)


def test_the_classes_of_coco_are_in_the_order_of_their_ids(instances: Path) -> None:
    assert coco(instances).classes == ("person", "car", "toothbrush")


def test_coco_uses_val2017_for_test_and_a_twentieth_of_train2017_for_validation(instances: Path) -> None:
    source = coco(instances)
    assert list(source.test.names) == [f"val2017/{number:012d}.jpg" for number in (1, 2, 3)]
    assert (len(source.train.names), len(source.val.names)) == (20, 1)
    assert {name.partition("/")[0] for name in (*source.train.names, *source.val.names)} == {"train2017"}


def test_coco_has_corners_areas_and_crowds_and_drops_boxes_without_area(instances: Path) -> None:
    found: Truth = coco(instances).test.target(0)
    assert listed(found) == {
        "boxes": [[30, 20, WIDTH, 24], [0, 0, 4, 4]],
        "labels": [1, 0],
        "areas": [20.5, 20.5],
        "difficult": [False, False],
        "crowd": [True, False],
    }
    assert types_of(found) == TYPES


def test_each_image_of_coco_gets_its_own_objects(instances: Path) -> None:
    source = coco(instances)
    assert [source.test.target(index)["labels"].tolist() for index in range(3)] == [[1, 0], [2], []]
    for split in (source.train, source.val):
        for index, name in enumerate(split.names):
            expected = {"train2017/000000000001.jpg": 2, "train2017/000000000002.jpg": 1}.get(name, 0)
            assert len(split.target(index)["labels"]) == expected
            assert split.frames(index).shape == (1, HEIGHT, WIDTH, 3)


def test_coco_without_any_object_opens(instances: Path) -> None:
    for part in ("train2017", "val2017"):
        write_instances(instances, part, annotations=[])
    assert types_of(coco(instances).test.target(0)) == TYPES


@pytest.mark.parametrize("part", ["train2017", "val2017"])
def test_missing_annotations_of_coco_are_named(instances: Path, part: str) -> None:
    path = instances / "annotations" / f"instances_{part}.json"
    path.unlink()
    assert refusal(lambda: coco(instances)).startswith(f"{path}: no such file")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"annotations": [row(7, (1, 1, 2, 2))]}, "no entry 7"),
        ({"annotations": [row(1001, (1, 1, 2, 2), 8)]}, "no entry 8"),
        ({"annotations": [{"image_id": 1001}]}, "no entry 'category_id'"),
        ({"annotations": [row(1001, (1, 1, 2))]}, "inhomogeneous|reshape"),
        ({"annotations": None}, "NoneType"),
    ],
)
def test_malformed_annotations_of_coco_are_named_with_the_reason(instances: Path, changes: dict[str, Any], reason: str) -> None:
    write_instances(instances, "val2017", **changes)
    with pytest.raises(ValueError, match=reason) as refused:
        coco(instances)
    assert str(refused.value).startswith(f"{instances}/annotations/instances_val2017.json: not COCO instance annotations")


def test_truncated_annotations_are_named(instances: Path) -> None:
    path = instances / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text()[:100])
    assert refusal(lambda: coco(instances)).startswith(f"{path}: not COCO instance annotations")


def test_coco_with_different_categories_in_train_and_val_is_refused(instances: Path) -> None:
    write_instances(instances, "val2017", categories=CATEGORIES[1:], annotations=[])
    assert "train2017 and val2017 list different categories" in refusal(lambda: coco(instances))


def test_a_missing_image_of_coco_is_named(instances: Path) -> None:
    (instances / "val2017" / "000000000002.jpg").unlink()
    assert refusal(lambda: coco(instances)).startswith(f"{instances}/val2017/000000000002.jpg: listed but missing")


# Real data


def real(*parts: str) -> Path:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None:
        pytest.skip(f"STUDY_TEST_DATA is not set; set it to the folder that holds {'/'.join(parts)}")
    return Path(place, *parts)


def test_the_real_bccd_in_vocs_layout_has_its_counts() -> None:
    source = DATASETS["voc"].source(real("bccd", "BCCD"))
    assert source.classes == ("Platelets", "RBC", "WBC")
    assert [len(split.names) for split in splits(source).values()] == [205, 87, 72]
    targets = [split.target(index) for split in splits(source).values() for index in range(len(split.names))]
    assert sum(len(found["labels"]) for found in targets) == 4888 - 2  # two boxes have no area
    check_item(source, source.test, 0)


def test_the_real_tiny_coco_has_its_counts() -> None:
    source = DATASETS["coco"].source(real("tiny_coco"))
    assert (len(source.classes), source.classes[0], source.classes[-1]) == (80, "person", "toothbrush")
    assert [len(split.names) for split in splits(source).values()] == [48, 2, 50]
    for index in range(0, 50, 5):
        check_item(source, source.test, index)
    found = [source.test.target(index) for index in range(50)]
    assert sum(len(each["labels"]) for each in found) == 382
    assert sum(each["crowd"].sum() for each in found) == 5
