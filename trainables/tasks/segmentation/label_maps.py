"""Annotations of segmentation data sets: single-channel images whose pixel values are the data set's own labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.data.files import open_image

REFUSED = 254
"""Entry in a table of labels: no annotation may contain this label."""


def read_classes(_image: Path, annotation: Path, *, labels: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Read an annotation as a (H, W) class map. `labels` maps each of the 256 pixel values to a class, `VOID` or `REFUSED`.

    Raises ValueError naming the file where it is unreadable, is not single-channel, or contains a refused label.
    """
    with open_image(annotation) as image:
        values = np.asarray(image, np.uint8)
    if values.ndim != 2:
        raise ValueError(f"{annotation}: shape {values.shape} is not that of a label map, (H, W); list the label map instead")
    classes = np.asarray(np.array(labels, np.uint8)[values])
    if REFUSED in classes:
        raise ValueError(
            f"{annotation}: label {values[classes == REFUSED][0]} does not exist in this data set; correct the annotation"
        )
    return classes
