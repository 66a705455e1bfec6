"""COCO 2017 (Lin et al. 2014) in its native directory layout, 80 classes.

To read another year, change the folder names in `PARTS`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.contracts import Source
from trainables.data.files import fingerprint
from trainables.data.image_files import ImageSplit
from trainables.data.splitting import held_out
from trainables.tasks.detection.boxes import Truth, has_area

PARTS = ("train2017", "val2017")
"""Image folder for training and validation, and image folder for test; the labels of COCO's own test images are not public."""


def coco(root: Path) -> Source:
    """Open `train2017/`, `val2017/` and `annotations/instances_{train,val}2017.json`.

    The test split is val2017; the validation split is 5 % of train2017, chosen by the hash of the image names. Classes come from
    the annotations, in the order of their ids. Boxes without area are dropped. Opening the official training annotations takes
    gigabytes of memory. Raises ValueError naming the file that is missing or malformed.
    """
    (classes, train), (others, test) = (_read(root, part) for part in PARTS)
    if classes != others:
        raise ValueError(f"{root / 'annotations'}: {' and '.join(PARTS)} list different categories; restore both files")
    names, val = held_out(train.images)
    splits = {"train": _split(root, train, names), "val": _split(root, train, val), "test": _split(root, test, test.images)}
    files = [image for split in splits.values() for image in split.images] + [_annotations(part) for part in PARTS]
    tree = fingerprint(root, files, [split.images for split in splits.values()])
    return Source(name="coco", classes=classes, train=splits["train"], val=splits["val"], test=splits["test"], fingerprint=tree)


def _annotations(part: str) -> str:
    return f"annotations/instances_{part}.json"


@dataclass(frozen=True, kw_only=True)
class _Objects:
    """The objects of many images, concatenated image by image."""

    images: tuple[str, ...]
    """Paths relative to the data set, sorted."""
    starts: npt.NDArray[np.int64]
    """(I + 1,): the objects of image i are `starts[i]` to `starts[i + 1]`."""
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float32]
    crowd: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """A selection of the images."""

    objects: _Objects
    places: tuple[int, ...]

    def truth(self, index: int) -> Truth:
        """The objects of one image."""
        every, place = self.objects, self.places[index]
        own = slice(every.starts[place], every.starts[place + 1])
        crowd = every.crowd[own]
        return Truth(
            boxes=every.boxes[own], labels=every.labels[own], areas=every.areas[own], difficult=np.zeros_like(crowd), crowd=crowd
        )


def _split(root: Path, objects: _Objects, names: Sequence[str]) -> ImageSplit:
    places = {name: place for place, name in enumerate(objects.images)}
    chosen = _Chosen(objects=objects, places=tuple(places[name] for name in names))
    return ImageSplit(root=root, images=tuple(names), truth=chosen.truth)


def _read(root: Path, part: str) -> tuple[tuple[str, ...], _Objects]:
    """The classes and objects of one annotation file."""
    path = root / _annotations(part)
    if not path.is_file():
        raise ValueError(f"{path}: no such file; set --data coco=PATH to the folder that holds annotations, {' and '.join(PARTS)}")
    try:
        found = json.loads(path.read_bytes())
        categories = sorted(found["categories"], key=lambda each: each["id"])
        labels = {each["id"]: label for label, each in enumerate(categories)}
        images = sorted(found["images"], key=lambda each: each["file_name"])
        places = {each["id"]: place for place, each in enumerate(images)}
        sizes = np.array([(each["width"], each["height"]) for each in images], np.float64)
        rows = [
            (places[each["image_id"]], labels[each["category_id"]], each["area"], bool(each.get("iscrowd")), *each["bbox"])
            for each in found["annotations"]
        ]
        # One float64 table; image index and label are small enough to be exact in it.
        table = np.array(sorted(rows, key=lambda row: row[0]), np.float64).reshape(-1, 8)
    except (ValueError, KeyError, TypeError) as error:  # no JSON, a missing key or id, a value of another type
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: not COCO instance annotations ({reason}); restore the file") from error
    corners = np.concatenate([table[:, 4:6], table[:, 4:6] + table[:, 6:8]], axis=1)
    of_image = table[:, 0].astype(np.int64)
    boxes = np.clip(corners, 0, np.tile(sizes, 2)[of_image]).astype(np.float32) if len(table) else corners.astype(np.float32)
    kept = has_area(boxes)
    objects = _Objects(
        images=tuple(f"{part}/{each['file_name']}" for each in images),
        starts=np.searchsorted(of_image[kept], np.arange(len(images) + 1)),
        boxes=boxes[kept],
        labels=table[kept, 1].astype(np.int64),
        areas=table[kept, 2].astype(np.float32),
        crowd=table[kept, 3] > 0,
    )
    return tuple(each["name"] for each in categories), objects
