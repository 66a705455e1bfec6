"""COCO 2017's key points (Lin et al. 2014) in its native directory layout.

To read another year, change the folder names in `PARTS`.
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
from trainables.data.splitting import held_out
from trainables.tasks.pose.skeleton import KEYPOINTS, People

PARTS = ("train2017", "val2017")
"""Image folder for training and validation, and image folder for test; the labels of COCO's own test images are not public."""


def coco_people(root: Path) -> Source:
    """Open `train2017/`, `val2017/` and `annotations/person_keypoints_{train,val}2017.json`.

    The test split is val2017; the validation split is 5 % of train2017, chosen by the hash of the image names. Both include images
    without people, where every detection is a false positive; the training split only has images with labelled key points. Opening
    the official training annotations takes gigabytes of memory. Raises ValueError naming the file that is missing or malformed.
    """
    train, test = (_read(root, part) for part in PARTS)
    others, val = held_out(list(train))
    with_people = tuple(name for name in others if (train[name].keypoints[..., 2] > 0).any())
    if not with_people:
        raise ValueError(f"{root / _annotations(PARTS[0])}: no training image has labelled key points; restore the file")
    chosen = {"train": (train, with_people), "val": (train, val), "test": (test, tuple(test))}
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
    """The annotated people of one image."""

    size: tuple[int, int]
    """(H, W) in pixels."""
    keypoints: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]
    areas: npt.NDArray[np.float32]
    crowd: npt.NDArray[np.bool_]
    outlines: tuple[Any, ...]
    """Outlines of people without labelled key points: polygons (K, 2), or run lengths (K,) of a mask."""


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
    """Mask (H, W) of the pixels inside polygons (K, 2) or masks, given as run lengths (K,): off, on, off, ... down the columns."""
    found = np.zeros(size, np.uint8)
    for outline in outlines:
        if isinstance(outline, np.ndarray) and outline.ndim == 2:
            cv2.fillPoly(found, [np.round(outline).astype(np.int32)], (1,))
        else:
            values = np.arange(len(outline)) % 2 == 1
            found |= np.repeat(values, outline).reshape(size[1], size[0]).T.astype(np.uint8)
    return found.astype(np.bool_)


def _read(root: Path, part: str) -> Mapping[str, _Image]:
    """The images of one annotation file with their people, by relative path, sorted."""
    path = root / _annotations(part)
    if not path.is_file():
        raise ValueError(
            f"{path}: no such file; set --data coco_people=PATH to the folder that holds annotations, {' and '.join(PARTS)}"
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
    except (ValueError, KeyError, TypeError) as error:  # no JSON, a missing key or id, a value of another type
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}: not COCO key-point annotations ({reason}); restore the file") from error
    if names != [KEYPOINTS]:
        raise ValueError(f"{path}: category person does not have COCO's 17 key points; restore the file")
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
    """Polygons, or the run lengths of a mask. Raises ValueError for run lengths that do not add up to the image's pixels."""
    if isinstance(segmentation, list):
        return [np.array(polygon, np.float32).reshape(-1, 2) for polygon in segmentation]
    counts = segmentation["counts"]
    if not isinstance(counts, list) or sum(counts) != size[0] * size[1]:
        raise ValueError("a mask's run lengths do not add up to the pixels of its image")
    return [np.array(counts, np.int64)]
