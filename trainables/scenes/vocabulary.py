"""Class names, constants and types that all modules of scenes share.

To add a class, append its name to `CLASSES` and its constant to the line below; to add a kind of object, append its name to
`OBJECTS`. Appending keeps the numbers of the others.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

CLASSES: tuple[str, ...] = (
    "road",
    "sidewalk",
    "building",
    "wall",
    "pole",
    "sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "car",
)
"""Segmentation classes; `Scene.classes` holds indices into them. Trucks have class car."""

IGNORED = 255
"""Value in `Scene.classes` for pixels without a class: dogs, which occur only in a `Mix` with dogs."""

ROAD, SIDEWALK, BUILDING, WALL, POLE, SIGN, VEGETATION, TERRAIN, SKY, PERSON, CAR = range(len(CLASSES))
"""Index of each class in `CLASSES`."""

OBJECTS: tuple[str, ...] = ("person", "car", "truck", "sign", "dog")
"""Detection classes; `Scene.labels` holds indices into them."""

JOINTS: tuple[str, ...] = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
"""COCO's keypoints in COCO's order. Left is the person's left: the right of the image, since people face the camera."""

FAR = 80.0
"""Largest depth in metres; the sky and all more distant surfaces have it."""

OVERSAMPLING = 2
"""Canvas pixels per image pixel, in each direction. The box filter mixes colours at edges, as in a photograph."""

Colour: TypeAlias = tuple[float, float, float]
"""(red, green, blue), 0 to 255."""

Span: TypeAlias = tuple[float, float]
"""Lower and upper limit of a uniform distribution."""

Point: TypeAlias = tuple[float, float]
"""(x, y): metres to the right of a thing's middle and above the ground, or fractions of a `Pen.frame`, or pixels."""

Floats: TypeAlias = NDArray[np.float32]
"""Colours, textures or distances of canvas pixels."""
