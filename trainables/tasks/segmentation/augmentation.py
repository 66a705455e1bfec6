"""Strong ordinary augmentation of segmentation examples: colour, scale and blur. At their defaults nothing is drawn or changed."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trainables.tasks.segmentation.metrics import VOID

Image = npt.NDArray[np.uint8]


def augmented(image: Image, mask: Image, hyper: Any, rng: np.random.Generator) -> tuple[Image, Image]:
    """An image (H, W, 3) and its class map (H, W) after random scale, colour and blur, in that order, at their size."""
    if tuple(hyper.scale) != (1.0, 1.0):
        image, mask = _scaled(image, mask, float(rng.uniform(*hyper.scale)), rng)
    if hyper.colour:
        image = _coloured(image, *(1 + rng.uniform(-hyper.colour, hyper.colour, 3)))
    if hyper.blur:
        # OpenCV's kernel size follows from the standard deviation.
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), max(1e-3, float(rng.uniform(0, hyper.blur)))), np.uint8)
    return image, mask


def _scaled(image: Image, mask: Image, factor: float, rng: np.random.Generator) -> tuple[Image, Image]:
    """Scale by a factor; then crop at a random place, or pad with black and void, to the original size."""
    height, width = mask.shape
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR), np.uint8)
    mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    below, beside = max(0, height - size[1]), max(0, width - size[0])
    image = np.pad(image, ((0, below), (0, beside), (0, 0)))
    mask = np.pad(mask, ((0, below), (0, beside)), constant_values=VOID)
    top, left = (int(rng.integers(whole - kept + 1)) for whole, kept in zip(mask.shape, (height, width), strict=True))
    rows, columns = slice(top, top + height), slice(left, left + width)
    return np.ascontiguousarray(image[rows, columns]), np.ascontiguousarray(mask[rows, columns])


def _coloured(image: Image, brightness: float, contrast: float, saturation: float) -> Image:
    """Multiply brightness, the distance from the mean grey, and the distance from each pixel's grey, by a factor each."""
    values = image.astype(np.float32) * np.float32(brightness)
    grey = values.mean(axis=2, keepdims=True)
    values = grey.mean() + np.float32(contrast) * (values - grey.mean())
    grey = values.mean(axis=2, keepdims=True)
    found: Image = np.clip(np.rint(grey + np.float32(saturation) * (values - grey)), 0, 255).astype(np.uint8)
    return found
