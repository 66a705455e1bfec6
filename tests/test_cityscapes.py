from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables import DATASETS, Architecture, Source, Workload, train
from trainables.contracts import CLEAN
from trainables.recipes.recipes import BASELINE
from trainables.tasks.segmentation.cityscapes import CLASSES, VALIDATION_CITIES

CITIES = {"train": ("aachen", *VALIDATION_CITIES), "val": ("frankfurt", "lindau")}
ROAD, PARKING, CAR, LICENCE_PLATE = 7, 9, 26, 255
"""Labels in native annotations. Parking is not evaluated; licence plates have label -1, stored as 255."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two images of 32x64 per city, in the native layout."""
    for part, cities in CITIES.items():
        for city in cities:
            for number in range(2):
                name = f"{city}_{number:06d}_000019"
                image = tmp_path / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png"
                labels = tmp_path / "gtFine" / part / city / f"{name}_gtFine_labelIds.png"
                for path in (image, labels):
                    path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((32, 64, 3), 100 + number, np.uint8)).save(image)
                truth = np.full((32, 64), ROAD, np.uint8)
                truth[0, :3] = PARKING, CAR, LICENCE_PLATE
                Image.fromarray(truth).save(labels)
    return tmp_path


def opened(tree: Path) -> Source:
    return DATASETS["cityscapes"].source(tree)


def test_the_19_evaluated_classes_are_in_their_official_order() -> None:
    assert len(CLASSES) == 19
    assert CLASSES[:3] == ("road", "sidewalk", "building")
    assert CLASSES[-1] == "bicycle"


def test_test_is_the_official_validation_part_and_validation_is_whole_training_cities(tree: Path) -> None:
    source = opened(tree)
    assert {name.split("/")[2] for name in source.test.names} == set(CITIES["val"])
    assert {name.split("/")[2] for name in source.val.names} == set(VALIDATION_CITIES)
    assert {name.split("/")[2] for name in source.train.names} == {"aachen"}


def test_evaluated_labels_become_classes_and_the_others_void(tree: Path) -> None:
    target = opened(tree).train.target(0)
    assert target[0, :4].tolist() == [255, CLASSES.index("car"), 255, CLASSES.index("road")]


def test_frames_have_their_native_size(tree: Path) -> None:
    assert opened(tree).test.frames(1).shape == (1, 32, 64, 3)


def test_no_group_crosses_cities(tree: Path) -> None:
    test = opened(tree).test
    assert test.groups == [test.names[0], test.names[0], test.names[2], test.names[2]]


def test_images_and_masks_are_resized_to_the_given_size(tree: Path, segnet: Architecture) -> None:
    source, hyper = opened(tree), replace(segnet.hyper, size=(16, 32))
    example = segnet.inputs.example(source.train.frames(0), source.train.target(0), hyper, None)
    assert example["image"].shape == (3, 16, 32)
    assert example["mask"].shape == (16, 32)
    assert set(np.unique(example["mask"])) <= {0, 13, 255}  # nearest neighbour: no label in between


def without_annotation(tree: Path) -> str:
    path = tree / "gtFine/train/aachen/aachen_000001_000019_gtFine_labelIds.png"
    path.unlink()
    return f"{path}: listed but missing"


def without_annotations(tree: Path) -> str:
    (tree / "gtFine").rename(tree / "gtCoarse")
    return f"{tree / 'gtFine/train'}: missing; --data cityscapes=PATH"


def without_validation_cities(tree: Path) -> str:
    for city in VALIDATION_CITIES:
        (tree / "leftImg8bit/train" / city).rename(tree / city)
    return f"{tree / 'leftImg8bit/train'}: no image for validation; add at least one of the cities darmstadt"


@pytest.mark.parametrize("spoil", [without_annotation, without_annotations, without_validation_cities])
def test_an_incomplete_tree_is_refused_in_one_line_naming_the_place(tree: Path, spoil: object) -> None:
    assert callable(spoil)
    expected = spoil(tree)
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        opened(tree)
    assert str(refused.value).startswith(expected)


def test_an_epoch_of_training_on_cityscapes_runs(tree: Path, segnet: Architecture) -> None:
    hyper = replace(segnet.hyper, batch_size=2, lr=0.01, width=1 / 16, convolutions=(1,) * 5, size=(32, 64))
    (epoch,) = train(Workload(architecture=segnet, hyper=hyper, data=opened(tree)), BASELINE, epochs=1, seed=0)
    assert epoch.losses["loss"] > 0
    assert 0 <= epoch.validation[CLEAN]["miou"] <= 1
