"""Cityscapes (Cordts et al. 2016), the paper's segmentation data set (section III-A): 19 classes, 1024x2048, fine annotations.

Torchvision lists the tree and knows which labels are trained. The official test labels are not public, so the official validation
cities are the test split here, and validation is whole cities of the training part.
"""

from pathlib import Path

from torchvision.datasets import Cityscapes

from trainables.contracts import Source
from trainables.tasks.segmentation.metrics import VOID
from trainables.tasks.segmentation.pairs import Pair, source_of_pairs

VALIDATION_CITIES = ("darmstadt", "tubingen", "ulm", "weimar")
"""Of the 18 training cities those four, 466 of 2975 images: fixed for all seeds and cells."""

_TRAINED = [each for each in Cityscapes.classes if not each.ignore_in_eval]
CLASSES = tuple(each.name for each in sorted(_TRAINED, key=lambda each: each.train_id))
_TRAIN_IDS = {each.id: each.train_id for each in _TRAINED}
LABELS = tuple(_TRAIN_IDS.get(value, VOID) for value in range(256))


def cityscapes(root: Path) -> Source:
    """Open a tree of `leftImg8bit/{train,val}/CITY/` and `gtFine/{train,val}/CITY/`.

    Raises ValueError where a part or the validation cities are missing, and naming the first file that is.
    """
    official, test = _pairs(root, "train"), _pairs(root, "val")
    val = tuple(pair for pair in official if Path(pair[0]).parent.name in VALIDATION_CITIES)
    train = tuple(pair for pair in official if pair not in set(val))
    for name, part in (("train", train), ("validation", val), ("test", test)):
        if not part:
            raise ValueError(f"{root / 'leftImg8bit'}: no image for {name}; is the tree complete ({', '.join(VALIDATION_CITIES)})?")
    return source_of_pairs("cityscapes", CLASSES, root, (train, val, test), labels=LABELS, sequence=_city)


def _city(image: str) -> str:
    return str(Path(image).parent)


def _pairs(root: Path, part: str) -> tuple[Pair, ...]:
    for folder in (root / "leftImg8bit" / part, root / "gtFine" / part):
        if not folder.is_dir():
            raise ValueError(f"{folder}: missing; --data cityscapes=PATH must be the folder that holds leftImg8bit and gtFine")
    try:
        listed = Cityscapes(str(root), split=part, mode="fine", target_type="semantic")
    except OSError as error:
        raise ValueError(f"{root}: cannot be listed ({error}); is the tree as distributed?") from error
    relative = [(Path(image), Path(targets[0])) for image, targets in zip(listed.images, listed.targets, strict=True)]
    return tuple(sorted((str(image.relative_to(root)), str(target.relative_to(root))) for image, target in relative))
