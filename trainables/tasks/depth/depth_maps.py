"""Depth maps as 16-bit PNG files."""

from collections.abc import Collection
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from trainables.data.files import open_image


def read_depth(image: Path, depth_map: Path, *, unit: float, invalid: Collection[int]) -> npt.NDArray[np.float32]:
    """Read the depth map of an image as (H, W) metres, 0 where the depth is unknown.

    The file is a 16-bit PNG with one channel, or with three and the depth in the first. `unit` is metres per step of its values;
    `invalid` are the values that mark an unknown depth. Raises ValueError naming the file where it is missing, damaged, of another
    bit depth, without any known depth, or of another size than the image.
    """
    try:
        values = cv2.imdecode(np.frombuffer(depth_map.read_bytes() or b"\0", np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as error:
        raise ValueError(f"{depth_map}: unreadable depth map ({error.strerror}); restore the file") from error
    if values is None:
        raise ValueError(f"{depth_map}: unreadable depth map (not a complete PNG); restore the file or remove the pair")
    if values.dtype != np.uint16:
        raise ValueError(f"{depth_map}: depth map of type {values.dtype}, expected 16 bits; replace it by the original depth map")
    # OpenCV reverses the channels, so index 2 is the first. Pillow would reduce them to 8 bits.
    steps = values if values.ndim == 2 else values[..., 2]
    known = ~np.isin(steps, list(invalid))
    if not known.any():
        raise ValueError(f"{depth_map}: no pixel of known depth (all are {', '.join(map(str, invalid))}); remove the pair")
    with open_image(image) as opened:
        width, height = opened.size
    if steps.shape != (height, width):
        raise ValueError(
            f"{depth_map}: {steps.shape[1]}x{steps.shape[0]} pixels, but its image {image} has {width}x{height}; correct the pair"
        )
    return np.where(known, steps * np.float32(unit), np.float32(0))
