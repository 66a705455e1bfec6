"""COCO 2017 (Lin et al. 2014) in its native tree, 80 classes.

To read another year, change the names of `PARTS`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.contracts import Source
from trainables.tasks.detection.boxes import Truth, solid
from trainables.data.files import fingerprint
from trainables.data.image_files import ImageSplit
from trainables.data.splitting import held_out

PARTS = ("train2017", "val2017")
"""The folder of the images that are for training and validation, and of those that are for test: test's labels are not public."""


def coco(root: Path) -> Source:
    """Open `train2017/`, `val2017/` and `annotations/instances_{train,val}2017.json`.

    Test is val2017; validation is a twentieth of train2017, chosen by the hash of the images' names. Classes come from the
    annotations, in the order of their numbers. Boxes without area are left out. Raises ValueError naming the file that is missing
    or malformed. The official training annotations are large: opening them takes a while and gigabytes of memory.
    """
    (classes, train), (others, test) = (_read(root, part) for part in PARTS)
    if classes != others:
        raise ValueError(f"{root / 'annotations'}: the classes of {PARTS[0]} and {PARTS[1]} differ; are both as distributed?")
    names, val = held_out(train.images)
    splits = {"train": _split(root, train, names), "val": _split(root, train, val), "test": _split(root, test, test.images)}
    files = [image for split in splits.values() for image in split.images] + [_annotations(part) for part in PARTS]
    tree = fingerprint(root, files, [split.images for split in splits.values()])
    return Source(name="coco", classes=classes, train=splits["train"], val=splits["val"], test=splits["test"], fingerprint=tree)


def _annotations(part: str) -> str:
    return f"annotations/instances_{part}.json"


@dataclass(frozen=True, kw_only=True)
class _Objects:
    """The objects of many images in a row, image by image."""

    images: tuple[str, ...]
    """Paths relative to the data set, sorted."""
    starts: npt.NDArray[np.int64]
    """(I + 1,): those of image i are `starts[i]` to `starts[i + 1]`."""
    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    areas: npt.NDArray[np.float32]
    crowd: npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """Some images of all."""

    objects: _Objects
    places: tuple[int, ...]

    def truth(self, index: int) -> Truth:
        """The objects of one image."""
        every, place = self.objects, self.places[index]
        its = slice(every.starts[place], every.starts[place + 1])
        crowd = every.crowd[its]
        return Truth(
            boxes=every.boxes[its], labels=every.labels[its], areas=every.areas[its], difficult=np.zeros_like(crowd), crowd=crowd
        )


def _split(root: Path, objects: _Objects, names: Sequence[str]) -> ImageSplit:
    places = {name: place for place, name in enumerate(objects.images)}
    chosen = _Chosen(objects=objects, places=tuple(places[name] for name in names))
    return ImageSplit(root=root, images=tuple(names), truth=chosen.truth)


def _read(root: Path, part: str) -> tuple[tuple[str, ...], _Objects]:
    """The classes and the objects of one file of annotations."""
    path = root / _annotations(part)
    if not path.is_file():
        raise ValueError(f"{path}: missing; --data coco=PATH must be the folder that holds annotations, {' and '.join(PARTS)}")
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
        # One table of plain numbers; place and label are small enough to be exact in it.
        table = np.array(sorted(rows, key=lambda row: row[0]), np.float64).reshape(-1, 8)
    except (ValueError, KeyError, TypeError) as error:  # of JSON, of what it lacks, of what it holds instead
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: not instances in COCO's format ({reason}); restore the file") from error
    corners = np.concatenate([table[:, 4:6], table[:, 4:6] + table[:, 6:8]], axis=1)
    of_image = table[:, 0].astype(np.int64)
    boxes = np.clip(corners, 0, np.tile(sizes, 2)[of_image]).astype(np.float32) if len(table) else corners.astype(np.float32)
    kept = solid(boxes)
    objects = _Objects(
        images=tuple(f"{part}/{each['file_name']}" for each in images),
        starts=np.searchsorted(of_image[kept], np.arange(len(images) + 1)),
        boxes=boxes[kept],
        labels=table[kept, 1].astype(np.int64),
        areas=table[kept, 2].astype(np.float32),
        crowd=table[kept, 3] > 0,
    )
    return tuple(each["name"] for each in categories), objects
