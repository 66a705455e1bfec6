"""The base class of things, their materials, and the pen that draws them.

To add a kind of thing, see the package docstring; to add a shape to draw with, add a method to `Pen`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

from trainables.scenes.texture import Grain
from trainables.scenes.vocabulary import OVERSAMPLING, Colour, Floats, Point


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """A striped pattern: `amplitude` in grey values, `frequency` in cycles per pixel, `angle` in radians from the horizontal."""

    amplitude: float
    frequency: float
    angle: float = 0.0

    def relief(self, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Floats:
        """Return the pattern (rows, columns) in grey values at canvas coordinates, which are given per axis."""
        along = (rows[:, None] * math.sin(self.angle) + columns * math.cos(self.angle)) / OVERSAMPLING
        return (self.amplitude * np.sign(np.sin(2 * np.pi * self.frequency * along))).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Material:
    """The surface of one part of a thing.

    Fields:
        colour: colour before light and haze.
        roughness: amplitude of the texture, in grey values.
        klass: index into `CLASSES`, or `IGNORED`.
        counted: whether the part belongs to the detectable object (the post of a sign does not).
        stripes: a pattern on top of the texture.
    """

    colour: Colour
    roughness: float
    klass: int
    counted: bool = True
    stripes: Stripes | None = None


class Pen:
    """Draws named parts in a thing's coordinates in metres: x to the right, y up, origin on the ground under its middle."""

    def __init__(self, draw: ImageDraw.ImageDraw, parts: Mapping[str, int], origin: Point, scale: Point) -> None:
        self._draw = draw
        self._parts = parts
        self._origin = origin
        self._scale = scale

    def frame(self, *, bottom: float, width: float, height: float, mirrored: bool = False) -> Self:
        """Return a pen for the box above `bottom` (metres): x from 0 (left) to 1 (right), y from 0 (bottom) to 1 (top)."""
        sign = -1 if mirrored else 1
        (x, y), (x_scale, y_scale) = self._origin, self._scale
        corner = (x - sign * width * x_scale / 2, y - bottom * y_scale)
        return type(self)(self._draw, self._parts, corner, (sign * width * x_scale, height * y_scale))

    def rectangle(self, part: str, low: Point, high: Point) -> None:
        """Fill a rectangle given by two opposite corners."""
        self._draw.rectangle(self._box(low, high), fill=self._parts[part])

    def ellipse(self, part: str, low: Point, high: Point) -> None:
        """Fill the ellipse inscribed in a rectangle given by two opposite corners."""
        self._draw.ellipse(self._box(low, high), fill=self._parts[part])

    def disc(self, part: str, middle: Point, radius: float) -> None:
        """Fill a disc; in a frame, an ellipse whose radius is in frame units."""
        x, y = middle
        self.ellipse(part, (x - radius, y - radius), (x + radius, y + radius))

    def polygon(self, part: str, corners: Iterable[Point]) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._pixel(corner) for corner in corners], fill=self._parts[part])

    def stroke(self, part: str, start: Point, end: Point, width: float) -> None:
        """Draw a line with square ends, at least one pixel wide; in a frame, `width` is a share of the frame's width."""
        pixels = max(1, round(width * abs(self._scale[0])))
        self._draw.line([self._pixel(start), self._pixel(end)], fill=self._parts[part], width=pixels)

    def limb(self, part: str, start: Point, end: Point, width: float) -> None:
        """Draw a line with round ends."""
        self.stroke(part, start, end, width)
        self.disc(part, start, width / 2)
        self.disc(part, end, width / 2)

    def resolves(self, length: float) -> bool:
        """Return whether a length in metres covers at least one pixel."""
        return length * abs(self._scale[0]) >= 1

    def _pixel(self, point: Point) -> Point:
        return self._origin[0] + point[0] * self._scale[0], self._origin[1] - point[1] * self._scale[1]

    def _box(self, low: Point, high: Point) -> tuple[float, float, float, float]:
        (x0, y0), (x1, y1) = self._pixel(low), self._pixel(high)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


@dataclass(frozen=True, kw_only=True)
class Thing(ABC):
    """A flat shape that stands on the ground and faces the camera.

    Fields:
        x: metres to the right of the camera.
        distance: metres, above 0 and below `FAR`; the depth of all its pixels.
        texture: row and column in the texture bank.
        label: index into `OBJECTS`, or None if it is not a detection class.
        grain: texture of its materials.
        shadow: whether it darkens the ground under it.
    """

    label: ClassVar[int | None] = None
    grain: ClassVar[Grain] = "fine"
    shadow: ClassVar[bool] = False

    x: float
    distance: float
    texture: tuple[int, int]

    @property
    @abstractmethod
    def span(self) -> float:
        """Width in metres over which the shading runs from bright to dark."""

    @abstractmethod
    def materials(self) -> dict[str, Material]:
        """Return the material of each part that `sketch` draws, by name of the part."""

    @abstractmethod
    def sketch(self, pen: Pen) -> None:
        """Draw the parts from back to front."""


@dataclass(frozen=True, kw_only=True)
class Spot:
    """Position and texture of a thing: the fields that every `Thing` has."""

    x: float
    distance: float
    texture: tuple[int, int]
