"""Cityscapes (Cordts et al. 2016), the paper's segmentation data set (section III-A): 19 classes, 1024x2048, fine annotations.

Torchvision lists the tree and knows which labels are evaluated. The official test labels are not public, so the official validation
cities are the test split here, and four cities of the official training part are the validation split.
"""

from functools import partial
from pathlib import Path

from torchvision.datasets import Cityscapes

from trainables.contracts import Source
from trainables.data.image_files import FilePair, source_of_pairs
from trainables.tasks.segmentation.label_maps import read_classes
from trainables.tasks.segmentation.metrics import VOID

VALIDATION_CITIES = ("darmstadt", "tubingen", "ulm", "weimar")
"""Cities of the official training part that are the validation split: 466 of its 2975 images."""

_EVALUATED = [each for each in Cityscapes.classes if not each.ignore_in_eval]
CLASSES = tuple(each.name for each in sorted(_EVALUATED, key=lambda each: each.train_id))
_TRAIN_IDS = {each.id: each.train_id for each in _EVALUATED}
LABELS = tuple(_TRAIN_IDS.get(value, VOID) for value in range(256))
"""Class of each label in an annotation; labels that are not evaluated are void."""


def cityscapes(root: Path) -> Source:
    """Open a tree of `leftImg8bit/{train,val}/CITY/` and `gtFine/{train,val}/CITY/`.

    Raises ValueError naming the folder, the split or the first file that is missing.
    """
    official, test = _pairs(root, "train"), _pairs(root, "val")
    val = [pair for pair in official if Path(pair[0]).parent.name in VALIDATION_CITIES]
    train = [pair for pair in official if Path(pair[0]).parent.name not in VALIDATION_CITIES]
    if not val:
        cities = ", ".join(VALIDATION_CITIES)
        raise ValueError(f"{root / 'leftImg8bit' / 'train'}: no image for validation; add at least one of the cities {cities}")
    read = partial(read_classes, labels=LABELS)
    return source_of_pairs("cityscapes", CLASSES, root, (train, val, test), read=read, sequence=_city, slow=True)


def _city(image: str) -> str:
    return str(Path(image).parent)


def _pairs(root: Path, part: str) -> list[FilePair]:
    for folder in (root / "leftImg8bit" / part, root / "gtFine" / part):
        if not folder.is_dir():
            raise ValueError(f"{folder}: missing; --data cityscapes=PATH must be the folder that contains leftImg8bit and gtFine")
    try:
        listed = Cityscapes(str(root), split=part, mode="fine", target_type="semantic")
    except OSError as error:
        raise ValueError(f"{root}: cannot be listed ({error}); restore the tree as distributed") from error
    found = [(Path(image), Path(targets[0])) for image, targets in zip(listed.images, listed.targets, strict=True)]
    return [(str(image.relative_to(root)), str(annotation.relative_to(root))) for image, annotation in found]
