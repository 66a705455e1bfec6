"""Cityscapes (Cordts et al. 2016), the paper's segmentation data set (section III-A): 19 classes, 1024x2048, fine annotations.

Torchvision lists the tree and knows which labels are trained. The official test labels are not public, so the official validation
cities are the test split here, and validation is whole cities of the training part.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torchvision.datasets import Cityscapes

from trainables.contracts import Frames, Source
from trainables.files import fingerprint, open_image, read_rgb
from trainables.segmentation.metrics import VOID

VALIDATION_CITIES = ("darmstadt", "tubingen", "ulm", "weimar")
"""Of the 18 training cities those four, 466 of 2975 images: fixed for all seeds and cells."""
BLOCK = 10
"""Frames of a city, by name, that are resampled together: neighbours are a few seconds apart."""

_TRAINED = [each for each in Cityscapes.classes if not each.ignore_in_eval]
CLASSES = tuple(each.name for each in sorted(_TRAINED, key=lambda each: each.train_id))
_TRAIN_IDS = np.full(256, VOID, np.uint8)
for _each in _TRAINED:
    _TRAIN_IDS[_each.id] = _each.train_id


@dataclass(frozen=True, kw_only=True)
class CityscapesSplit:
    """Items of a Cityscapes tree: (image, annotation) pairs of paths relative to the root."""

    root: Path
    pairs: tuple[tuple[str, str], ...]

    @cached_property
    def names(self) -> Sequence[str]:
        """The images' relative paths, which start with part and city."""
        return [image for image, _ in self.pairs]

    @cached_property
    def groups(self) -> Sequence[str]:
        """Ten frames in a row of a city, named by their first."""
        places: Counter[Path] = Counter()
        firsts: dict[tuple[Path, int], str] = {}
        groups = []
        for name in self.names:
            city = Path(name).parent
            groups.append(firsts.setdefault((city, places[city] // BLOCK), name))
            places[city] += 1
        return groups

    def frames(self, index: int) -> Frames:
        """(1, 1024, 2048, 3)."""
        return read_rgb(self.root / self.pairs[index][0])

    def target(self, index: int) -> npt.NDArray[np.uint8]:
        """(1024, 2048); labels that are not trained are void."""
        path = self.root / self.pairs[index][1]
        with open_image(path) as image:
            labels = np.asarray(image, np.uint8)
        if labels.ndim != 2:
            raise ValueError(f"{path}: not a map of labels; is it a *_labelIds.png?")
        return np.asarray(_TRAIN_IDS[labels])

    def files(self, index: int) -> tuple[Path, ...]:
        """Image and annotation."""
        image, annotation = self.pairs[index]
        return self.root / image, self.root / annotation


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
    files = [name for part in (train, val, test) for pair in part for name in pair]
    return Source(
        name="cityscapes",
        classes=CLASSES,
        train=CityscapesSplit(root=root, pairs=train),
        val=CityscapesSplit(root=root, pairs=val),
        test=CityscapesSplit(root=root, pairs=test),
        fingerprint=fingerprint(root, files, [[image for image, _ in part] for part in (train, val, test)]),
        slow=True,
    )


def _pairs(root: Path, part: str) -> tuple[tuple[str, str], ...]:
    for folder in (root / "leftImg8bit" / part, root / "gtFine" / part):
        if not folder.is_dir():
            raise ValueError(f"{folder}: missing; --data cityscapes=PATH must be the folder that holds leftImg8bit and gtFine")
    try:
        listed = Cityscapes(str(root), split=part, mode="fine", target_type="semantic")
    except OSError as error:
        raise ValueError(f"{root}: cannot be listed ({error}); is the tree as distributed?") from error
    relative = [(Path(image), Path(targets[0])) for image, targets in zip(listed.images, listed.targets, strict=True)]
    return tuple(sorted((str(image.relative_to(root)), str(target.relative_to(root))) for image, target in relative))
