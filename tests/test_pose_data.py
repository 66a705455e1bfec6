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
from trainables.tasks.pose.coco import coco_people, covered
from trainables.tasks.pose.skeleton import KEYPOINTS, People, labelled

WIDTH, HEIGHT = 40, 30
TYPES = {
    "keypoints": (np.float32, 3),
    "boxes": (np.float32, 2),
    "areas": (np.float32, 1),
    "crowd": (np.bool_, 1),
    "unlabelled": (np.bool_, 2),
}


def refusal(make: Callable[[], object]) -> str:
    """The message of the ValueError raised, which must be one line."""
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        make()
    return str(refused.value)


def check_item(split: Split, index: int) -> People:
    height, width = split.frames(index).shape[1:3]
    truth: People = split.target(index)
    assert {name: (value.dtype, value.ndim) for name, value in truth.items()} == {  # type: ignore[attr-defined]
        name: (np.dtype(kind), dimensions) for name, (kind, dimensions) in TYPES.items()
    }
    assert len({len(truth[name]) for name in ("keypoints", "boxes", "areas", "crowd")}) == 1
    assert truth["unlabelled"].shape == (height, width)
    seen = truth["keypoints"][truth["keypoints"][..., 2] > 0]
    assert ((seen[:, :2] >= 0) & (seen[:, :2] <= (width, height))).all()
    assert not truth["keypoints"][truth["keypoints"][..., 2] == 0].any()
    return truth


# Embedded scenes


@pytest.fixture(scope="module")
def street_people() -> Source:
    return DATASETS["street_people"].source(None)


def test_street_people_has_300_40_and_80_scenes(street_people: Source) -> None:
    assert [len(street_people.split(part).names) for part in ("train", "val", "test")] == [300, 120, 80]


def test_scenes_of_street_people_are_valid_and_show_one_to_five_people(street_people: Source) -> None:
    counts = set()
    for part in ("train", "val", "test"):
        for index in range(0, len(street_people.split(part).names), 4):
            truth = check_item(street_people.split(part), index)
            assert labelled(truth).all()
            counts.add(len(truth["areas"]))
    assert counts >= {1, 2, 3, 4, 5}


def test_some_key_points_of_street_people_are_occluded(street_people: Source) -> None:
    flags = np.concatenate([street_people.test.target(index)["keypoints"][..., 2].ravel() for index in range(80)])
    assert 0.01 < (flags == 1).mean() < 0.2
    assert (flags == 2).mean() > 0.8


# COCO, in generated trees

POINTS = [10, 12, 2] + [0, 0, 0] * 14 + [20, 22, 1, 30, 5, 2]


def person(image: int, points: Any = None, **more: Any) -> dict[str, Any]:
    keypoints = [0] * 51 if points is None else points
    return {
        "image_id": image, "category_id": 1, "iscrowd": 0, "area": 50.5, "bbox": [8, 4, 24, 20], "keypoints": keypoints,
        "num_keypoints": sum(flag > 0 for flag in keypoints[2::3]), "segmentation": [[8, 4, 32, 4, 32, 24, 8, 24]],
    } | more  # fmt: skip


Change = Callable[[dict[str, Any]], Any]


def tree(
    root: Path, people: Callable[[int], list[dict[str, Any]]] = lambda image: [person(image, POINTS)], change: Change | None = None
) -> Path:
    """Write 24 training and 3 test images; `people` maps an image id to its annotations, `change` edits the JSON in place."""
    for part, count in (("train2017", 24), ("val2017", 3)):
        (root / part).mkdir(parents=True)
        images = [
            {"id": number, "file_name": f"{number:012d}.jpg", "width": WIDTH, "height": HEIGHT} for number in range(1, count + 1)
        ]
        for each in images:
            pixels = np.random.default_rng(int(str(each["id"]))).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
            Image.fromarray(pixels).save(root / part / str(each["file_name"]))
        annotations = [{"id": number, **each} for image in images for number, each in enumerate(people(int(str(image["id"]))))]
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person", "keypoints": list(KEYPOINTS)}],
        }
        if change is not None:
            change(content)
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"person_keypoints_{part}.json").write_text(json.dumps(content))
    return root


def test_coco_people_uses_val2017_for_test_and_a_twentieth_of_train2017_for_validation(tmp_path: Path) -> None:
    source = coco_people(tree(tmp_path))
    names = [f"train2017/{number:012d}.jpg" for number in range(1, 25)]
    assert (tuple(source.train.names), tuple(source.val.names)) == held_out(names)
    assert list(source.test.names) == [f"val2017/{number:012d}.jpg" for number in range(1, 4)]


def test_images_without_key_points_are_dropped_from_training_alone(tmp_path: Path) -> None:
    names = [f"train2017/{number:012d}.jpg" for number in range(1, 25)]
    kept, val = held_out(names)
    without = {int(Path(name).stem) for name in (kept[0], val[0])}
    source = coco_people(tree(tmp_path, lambda image: [] if image in without else [person(image, POINTS)]))
    assert tuple(source.train.names) == kept[1:]
    assert tuple(source.val.names) == val
    assert source.val.target(0)["keypoints"].shape == (0, 17, 3)


def test_a_person_has_the_annotated_values(tmp_path: Path) -> None:
    truth = check_item(coco_people(tree(tmp_path)).test, 0)
    assert truth["keypoints"][0, [0, 15, 16]].tolist() == [[10, 12, 2], [20, 22, 1], [30, 5, 2]]
    assert truth["boxes"].tolist() == [[8, 4, 32, 24]]
    assert truth["areas"].tolist() == [50.5]
    assert not truth["unlabelled"].any()


def test_people_without_key_points_and_crowds_are_masked_as_unlabelled(tmp_path: Path) -> None:
    square = person(0, None, segmentation=[[2, 3, 9, 3, 9, 7, 2, 7]])
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[20:25, 30:36] = True
    counts = run_lengths(mask)
    many = person(0, None, iscrowd=1, segmentation={"counts": counts, "size": [HEIGHT, WIDTH]})
    source = coco_people(
        tree(tmp_path, lambda image: [person(image, POINTS), {**square, "image_id": image}, {**many, "image_id": image}])
    )
    truth = check_item(source.test, 0)
    expected = mask.copy()
    expected[3:8, 2:10] = True
    assert np.array_equal(truth["unlabelled"], expected)
    assert labelled(truth).tolist() == [True, False, False]
    assert truth["crowd"].tolist() == [False, False, True]


def run_lengths(mask: npt.NDArray[np.bool_]) -> list[int]:
    """Run lengths of a mask down the columns: off, on, off, ..."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *changes, len(flat)]).tolist()
    return [0, *lengths] if flat[0] else lengths


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("seed", range(4))
def test_run_lengths_are_decoded_like_pycocotools(seed: int) -> None:
    from pycocotools import mask as program

    found = np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.5
    counts = run_lengths(found)
    theirs = program.decode(program.frPyObjects({"counts": counts, "size": [HEIGHT, WIDTH]}, HEIGHT, WIDTH))
    ours = covered([np.array(counts, np.int64)], (HEIGHT, WIDTH))
    assert np.array_equal(ours, theirs.astype(bool))
    assert np.array_equal(ours, found)


def drop(*path: str) -> Change:
    def change(content: dict[str, Any]) -> None:
        part: Any = content
        for step in path[:-1]:
            part = part[step]
        for each in part if isinstance(part, list) else [part]:
            del each[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (drop("categories"), "no entry 'categories'"),
        (drop("annotations", "keypoints"), "no entry 'keypoints'"),
        (lambda content: content["annotations"][0].update(keypoints=[1, 2, 3]), "reshape|inhomogeneous"),
        (lambda content: content["annotations"][0].update(image_id=999), "no entry 999"),
        (lambda content: content["categories"][0]["keypoints"].pop(), "COCO's 17 key points"),
        (
            lambda content: content["annotations"][0].update(keypoints=[0] * 51, segmentation={"counts": [5], "size": [30, 40]}),
            "run lengths",
        ),
    ],
)
def test_malformed_annotations_are_named_with_the_reason(tmp_path: Path, change: Change, word: str) -> None:
    message = refusal(lambda: coco_people(tree(tmp_path, change=change)))
    assert str(tmp_path / "annotations" / "person_keypoints_train2017.json") in message
    assert any(part in message for part in word.split("|"))


def test_the_message_for_missing_annotations_says_what_the_path_must_hold(tmp_path: Path) -> None:
    message = refusal(lambda: coco_people(tmp_path))
    assert message.endswith("set --data coco_people=PATH to the folder that holds annotations, train2017 and val2017")


def test_training_images_without_any_key_points_are_refused(tmp_path: Path) -> None:
    assert "no training image has labelled key points" in refusal(
        lambda: coco_people(tree(tmp_path, lambda image: [person(image)]))
    )


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    root = tree(tmp_path)
    (root / "val2017" / "000000000002.jpg").unlink()
    assert refusal(lambda: coco_people(root)).startswith(f"{root}/val2017/000000000002.jpg: listed but missing")


def test_the_real_tiny_coco_has_its_people() -> None:
    place = os.environ.get("STUDY_TEST_DATA")
    if place is None or not Path(place, "tiny_coco").is_dir():
        pytest.skip("STUDY_TEST_DATA is not set; set it to the folder that holds tiny_coco")
    source = DATASETS["coco_people"].source(Path(place, "tiny_coco"))
    people = [
        check_item(source.split(part), index) for part in ("train", "val", "test") for index in range(len(source.split(part).names))
    ]
    assert sum(int(labelled(truth).sum()) for truth in people) == 57 + 46
    assert any(truth["crowd"].any() for truth in people)
    assert any(truth["unlabelled"].any() for truth in people)
