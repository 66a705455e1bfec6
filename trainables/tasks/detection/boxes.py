"""What there is to detect in an image, and what readers of boxes share."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt


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
