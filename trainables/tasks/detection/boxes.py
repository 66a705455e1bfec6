"""Ground truth of detection, and helpers shared by its data set readers."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt


class Truth(TypedDict):
    """The N objects of one image; N may be 0."""

    boxes: npt.NDArray[np.float32]
    """(N, 4), x0 y0 x1 y1 in pixels within the image, with exclusive ends: pixel i covers i to i + 1. Every box has an area."""
    labels: npt.NDArray[np.int64]
    """(N,), indices into the source's classes."""
    areas: npt.NDArray[np.float32]
    """(N,), in pixels: of the object's mask where it is known, else of its box. COCO's size ranges use them."""
    difficult: npt.NDArray[np.bool_]
    """(N,), VOC's flag: the object is excluded from training and from scoring, and detecting it is no error."""
    crowd: npt.NDArray[np.bool_]
    """(N,), COCO's flag for a region of many objects, excluded in the same way."""


def clipped(boxes: npt.ArrayLike, width: float, height: float) -> npt.NDArray[np.float32]:
    """Boxes (N, 4) clipped to an image of the given width and height in pixels."""
    found = np.asarray(boxes, np.float32).reshape(-1, 4)
    return np.clip(found, 0, np.array([width, height, width, height], np.float32))


def has_area(boxes: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(N,): whether each box has a positive area. Annotations contain boxes without one, which no network can be trained on."""
    return np.asarray((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
