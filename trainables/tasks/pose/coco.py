"""COCO 2017's key points (Lin et al. 2014) in its native tree.

To read another year, change the names of `PARTS`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trainables.contracts import Source
from trainables.data.files import fingerprint
from trainables.data.image_files import ImageSplit
from trainables.tasks.pose.skeleton import KEYPOINTS, People
from trainables.data.splitting import held_out

PARTS = ("train2017", "val2017")
"""The folder of the images that are for training and validation, and of those that are for test: test's labels are not public."""


def coco_people(root: Path) -> Source:
    """Open `train2017/`, `val2017/` and `annotations/person_keypoints_{train,val}2017.json`.

    Test is val2017; validation is a twentieth of train2017, chosen by the hash of the images' names. Both have images without
    people, where all that is found is false; training takes those that have somebody with key points. Raises ValueError naming the
    file that is missing or malformed. The official training annotations are large: opening them takes a while and gigabytes of
    memory.
    """
    train, test = (_read(root, part) for part in PARTS)
    others, val = held_out(list(train))
    learnt = tuple(name for name in others if (train[name].keypoints[..., 2] > 0).any())
    if not learnt:
        raise ValueError(f"{root / _annotations(PARTS[0])}: no training image has anybody with key points; is it as distributed?")
    chosen = {"train": (train, learnt), "val": (train, val), "test": (test, tuple(test))}
    splits = {
        name: ImageSplit(root=root, images=names, truth=_Chosen(tuple(found[each] for each in names)).truth)
        for name, (found, names) in chosen.items()
    }
    files = [image for split in splits.values() for image in split.images] + [_annotations(part) for part in PARTS]
    tree = fingerprint(root, files, [split.images for split in splits.values()])
    return Source(
        name="coco_people", classes=("person",), train=splits["train"], val=splits["val"], test=splits["test"], fingerprint=tree
    )


def _annotations(part: str) -> str:
    return f"annotations/person_keypoints_{part}.json"


@dataclass(frozen=True, kw_only=True)
class _Image:
    """The people of one image, as annotated."""

    size: tuple[int, int]
    """H, W."""
    keypoints: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    areas: npt.NDArray[np.float32]
    crowd: npt.NDArray[np.bool_]
    outlines: tuple[Any, ...]
    """Of those without key points: polygons as arrays (K, 2), or the run lengths of a mask."""


@dataclass(frozen=True)
class _Chosen:
    """The images of a split."""

    images: tuple[_Image, ...]

    def truth(self, index: int) -> People:
        """The people of one image."""
        image = self.images[index]
        return People(
            keypoints=image.keypoints,
            boxes=image.boxes,
            areas=image.areas,
            crowd=image.crowd,
            unlabelled=covered(image.outlines, image.size),
        )


def covered(outlines: Sequence[Any], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W): the pixels within polygons (K, 2), or within masks whose run lengths, off and on, go down the columns."""
    found = np.zeros(size, np.uint8)
    for outline in outlines:
        if isinstance(outline, np.ndarray) and outline.ndim == 2:
            cv2.fillPoly(found, [np.round(outline).astype(np.int32)], (1,))
        else:
            values = np.arange(len(outline)) % 2 == 1
            found |= np.repeat(values, outline).reshape(size[1], size[0]).T.astype(np.uint8)
    return found.astype(np.bool_)


def _read(root: Path, part: str) -> Mapping[str, _Image]:
    """The images of one file of annotations with their people, by path, sorted."""
    path = root / _annotations(part)
    if not path.is_file():
        raise ValueError(
            f"{path}: missing; --data coco_people=PATH must be the folder that holds annotations, {' and '.join(PARTS)}"
        )
    try:
        found = json.loads(path.read_bytes())
        names = [tuple(each["keypoints"]) for each in found["categories"] if each["name"] == "person"]
        people: dict[int, list[Any]] = {each["id"]: [] for each in found["images"]}
        for each in found["annotations"]:
            people[each["image_id"]].append(each)
        images = {
            f"{part}/{each['file_name']}": _image((int(each["height"]), int(each["width"])), people[each["id"]])
            for each in sorted(found["images"], key=lambda each: str(each["file_name"]))
        }
    except (ValueError, KeyError, TypeError) as error:  # of JSON, of what it lacks, of what it holds instead
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: not key points in COCO's format ({reason}); restore the file") from error
    if names != [KEYPOINTS]:
        raise ValueError(f"{path}: its key points of a person are not COCO's 17; restore the file")
    return images


def _image(size: tuple[int, int], people: Sequence[Mapping[str, Any]]) -> _Image:
    keypoints = np.array([each["keypoints"] for each in people], np.float32).reshape(-1, len(KEYPOINTS), 3)
    boxes = np.array([each["bbox"] for each in people], np.float32).reshape(-1, 4)
    crowd = np.array([bool(each.get("iscrowd")) for each in people], np.bool_)
    unlabelled = crowd | ~(keypoints[..., 2] > 0).any(axis=1)
    return _Image(
        size=size,
        keypoints=keypoints,
        boxes=np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        areas=np.array([each["area"] for each in people], np.float32),
        crowd=crowd,
        outlines=tuple(
            outline
            for each, without in zip(people, unlabelled, strict=True)
            if without
            for outline in _outlines(each["segmentation"], size)
        ),
    )


def _outlines(segmentation: Any, size: tuple[int, int]) -> list[npt.NDArray[Any]]:
    """Polygons, or a mask's run lengths. Raises ValueError for what is neither, or is a mask of another size."""
    if isinstance(segmentation, list):
        return [np.array(polygon, np.float32).reshape(-1, 2) for polygon in segmentation]
    counts = segmentation["counts"]
    if not isinstance(counts, list) or sum(counts) != size[0] * size[1]:
        raise ValueError("a mask whose run lengths are not those of its image")
    return [np.array(counts, np.int64)]
