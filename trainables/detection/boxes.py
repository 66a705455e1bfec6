"""Detection targets, and data sets of images and boxes: what their readers share.

A reader lists its tree and hands the images, and a function from an item's place to its `Truth`, to `ImageSplit`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames
from trainables.files import read_rgb

HELD_OUT = 20
"""One training image in so many is for validation where a data set has no split of its own for it: 5 %."""


class Truth(TypedDict):
    """The objects of one image; N may be 0."""

    boxes: npt.NDArray[np.float32]
    """(N, 4), x0 y0 x1 y1 in pixels within the image, with exclusive ends: pixel i covers i to i + 1. Of positive area."""
    labels: npt.NDArray[np.int64]
    """(N,), indices into the source's classes."""
    areas: npt.NDArray[np.float32]
    """(N,), pixels of the objects themselves where they are known, else of their boxes: what COCO's sizes go by."""
    difficult: npt.NDArray[np.bool_]
    """(N,), VOC's flag: neither trained on nor asked for, and finding it is no mistake."""
    crowd: npt.NDArray[np.bool_]
    """(N,), COCO's flag, the same for a region of many objects."""


def clipped(boxes: npt.ArrayLike, width: float, height: float) -> npt.NDArray[np.float32]:
    """(N, 4) boxes cut to an image of a width and height in pixels."""
    found = np.asarray(boxes, np.float32).reshape(-1, 4)
    return np.clip(found, 0, np.array([width, height, width, height], np.float32))


def solid(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(N,): which boxes have an area. Annotators' slips do not, and no network can be trained on them."""
    return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))


def held_out(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training names and the twentieth of them, at least one, whose hashes are lowest; both sorted."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = max(1, len(names) // HELD_OUT)
    return tuple(sorted(ranked[count:])), tuple(sorted(ranked[:count]))


@dataclass(frozen=True, kw_only=True)
class ImageSplit:
    """Image files with the objects in them. Items are independent: each is its own group."""

    root: Path
    images: tuple[str, ...]
    """Paths relative to the data set, sorted."""
    truth: Callable[[int], Truth]
    """The objects of an item. A method of a value or a function of a module, since loader workers unpickle it."""
    annotations: tuple[str, ...] = ()
    """Each image's own annotation, relative to the data set; none where all are in one file."""

    @cached_property
    def names(self) -> Sequence[str]:
        """The images' relative paths."""
        return list(self.images)

    @property
    def groups(self) -> Sequence[str]:
        """Each image by itself."""
        return self.names

    def frames(self, index: int) -> Frames:
        """(1, H, W, 3) at native resolution."""
        return read_rgb(self.root / self.images[index])

    def target(self, index: int) -> Truth:
        """The objects of an item. Raises ValueError naming the annotation's file where that is wrong."""
        return self.truth(index)

    def files(self, index: int) -> tuple[Path, ...]:
        """Image and, where it has one of its own, annotation."""
        own = self.annotations[index : index + 1]
        return (self.root / self.images[index], *(self.root / name for name in own))
