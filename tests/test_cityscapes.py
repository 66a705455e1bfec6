from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables import ARCHITECTURES, DATASETS, Source
from trainables.tasks.segmentation.cityscapes import CLASSES, VALIDATION_CITIES

CITIES = {"train": ("aachen", *VALIDATION_CITIES), "val": ("frankfurt", "lindau")}
ROAD, PARKING, CAR, LICENCE_PLATE = 7, 9, 26, 255
"""Label numbers of the native annotation; a parking lot is not evaluated, and a licence plate's -1 is 255 in a byte."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two images of 32x64 a city, in the native layout."""
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


def test_labels_become_training_numbers_and_the_rest_is_void(tree: Path) -> None:
    target = opened(tree).train.target(0)
    assert target[0, :4].tolist() == [255, CLASSES.index("car"), 255, CLASSES.index("road")]


def test_frames_are_as_distributed(tree: Path) -> None:
    assert opened(tree).test.frames(1).shape == (1, 32, 64, 3)


def test_cities_are_resampled_apart(tree: Path) -> None:
    test = opened(tree).test
    assert test.groups == [test.names[0], test.names[0], test.names[2], test.names[2]]


def test_images_and_masks_are_brought_to_the_size_that_is_asked_for(tree: Path) -> None:
    source, segnet = opened(tree), ARCHITECTURES["segnet"]
    example = segnet.example(source.train.frames(0), source.train.target(0), segnet.hyper(size=(16, 32)), None)
    assert example["image"].shape == (3, 16, 32)
    assert example["mask"].shape == (16, 32)
    assert set(np.unique(example["mask"])) <= {0, 13, 255}  # nearest: no class is made up between two


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
    return f"{tree / 'leftImg8bit'}: no image for validation"


@pytest.mark.parametrize("spoil", [without_annotation, without_annotations, without_validation_cities])
def test_an_incomplete_tree_is_refused_in_one_line_that_names_the_place(tree: Path, spoil: object) -> None:
    assert callable(spoil)
    said = spoil(tree)
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        opened(tree)
    assert str(refused.value).startswith(said)


def test_a_step_of_training_on_cityscapes_runs(tree: Path) -> None:
    from trainables import train
    from trainables.recipes.recipes import BASELINE

    segnet = ARCHITECTURES["segnet"]
    hyper = segnet.hyper(batch_size=2, lr=0.01, width=1 / 16, convolutions=(1,) * 5, size=(32, 64))
    (epoch,) = train(segnet, BASELINE, hyper, data=opened(tree), epochs=1, seed=0)
    assert epoch.losses["loss"] > 0
    assert 0 <= epoch.validation["miou"] <= 1
