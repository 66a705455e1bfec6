"""The names, numbers and measures that every part of a scene shares.

To add a class or a kind of object, append its name to `CLASSES` (and its number to the line below them) or to `OBJECTS`: the
numbers of the others stay as they are.
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
"""Segmentation classes, by the number that `Scene.classes` holds. Trucks are of class car."""

IGNORED = 255
"""In `Scene.classes`: no class fits (a dog). Occurs only where a `Mix` asks for dogs."""

ROAD, SIDEWALK, BUILDING, WALL, POLE, SIGN, VEGETATION, TERRAIN, SKY, PERSON, CAR = range(len(CLASSES))
"""The number of each of `CLASSES`."""

OBJECTS: tuple[str, ...] = ("person", "car", "truck", "sign", "dog")
"""Detection classes, by the number that `Scene.labels` holds."""

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
"""COCO's key points in COCO's order. Left is the person's left: the picture's right, as people face the camera."""

FAR = 80.0
"""Metres; what is farther away, the sky included, has this depth."""

# Everything is painted at this many times the size and box-filtered: edges carry mixed colours as in a photograph.
OVERSAMPLING = 2

Colour: TypeAlias = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""

Span: TypeAlias = tuple[float, float]
"""Lower and upper end of a uniform draw."""

Point: TypeAlias = tuple[float, float]
"""Metres right of a thing's middle and above the ground under it; in a `Pen.frame`, fractions of the frame."""

Floats: TypeAlias = NDArray[np.float32]
"""Colours, textures or metres of the pixels of a canvas."""
