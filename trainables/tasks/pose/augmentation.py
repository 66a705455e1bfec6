"""Training augmentation (rotation, scale, crop, mirroring) and resizing for evaluation.

One affine map moves the image, its key points and its mask of unlabelled people. Pixel i covers i to i + 1 throughout.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trainables.tasks.pose.skeleton import People, labelled

Affine = npt.NDArray[np.float64]
"""(2, 3), from pixels of the original image to pixels of the network's input."""

GREY = (128, 128, 128)
"""Colour of input pixels outside the original image."""
MIN_KEYPOINTS, MIN_AREA = 5, 32**2
"""Fewest labelled key points and smallest area, in pixels, of a person on whom a crop may be centred."""


def draw(people: People, image: tuple[int, int], hyper: Any, rng: np.random.Generator) -> tuple[Affine, bool]:
    """A random map of an image (H, W) to a crop of `hyper.size`, and whether it mirrors, as in the published training.

    The crop is centred on a random person, up to `shift` pixels off. The person's height is the fraction `person` of the crop's
    height, times a factor drawn from `scale`; the rotation is up to `rotation` degrees. With `person` 0, or without a suitable
    person, the whole image is centred instead, and its height is the crop's height times the factor.
    """
    (height, width), (tall, wide) = image, hyper.size
    scale, middle = tall / height, (width / 2, height / 2)
    known = (people["keypoints"][..., 2] > 0).sum(axis=1)
    suitable = labelled(people) & (known >= MIN_KEYPOINTS) & (people["areas"] >= MIN_AREA)
    if hyper.person and suitable.any():
        x0, y0, x1, y1 = people["boxes"][rng.choice(np.flatnonzero(suitable))].astype(float)
        scale, middle = hyper.person * tall / max(y1 - y0, 1.0), ((x0 + x1) / 2, (y0 + y1) / 2)
    scale *= rng.uniform(*hyper.scale)
    angle = np.deg2rad(rng.uniform(-hyper.rotation, hyper.rotation))
    mirrored = hyper.flip and bool(rng.random() < 0.5)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    target = np.array([wide / 2, tall / 2]) + rng.uniform(-hyper.shift, hyper.shift, 2)
    return np.column_stack([turn, target - turn @ middle]), mirrored


def whole(image: tuple[int, int], hyper: Any) -> Affine:
    """The map that scales a whole image (H, W) to the height of `hyper.size`."""
    return np.asarray(np.eye(2, 3) * (hyper.size[0] / image[0]))


def warped(picture: npt.NDArray[np.uint8], move: Affine, size: tuple[int, int], fill: Any) -> npt.NDArray[np.uint8]:
    """Warp a picture (H, W) or (H, W, 3) to another size (H, W); `fill` is the value of pixels outside it.

    A map that shrinks the picture averages pixels first, to avoid aliasing.
    """
    shrinking = min(1.0, float(np.sqrt(abs(np.linalg.det(move[:, :2])))))
    if shrinking < 1:
        height, width = (max(1, round(side * shrinking)) for side in picture.shape[:2])
        factors = np.array([picture.shape[1] / width, picture.shape[0] / height])
        picture = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        move = np.column_stack([move[:, :2] * factors, move[:, 2]])
    # In OpenCV's coordinates pixel centres are integers.
    centred = np.column_stack([move[:, :2], move @ [0.5, 0.5, 1] - 0.5])
    found = cv2.warpAffine(picture, centred, (size[1], size[0]), flags=cv2.INTER_LINEAR, borderValue=fill)
    return np.asarray(found, np.uint8)
