"""Street scenes drawn by program: the embedded data set, with exact ground truths and nothing to download.

`street(seed, index)` gives one picture with its class map, depth map, boxes and key points. The same arguments give
bit-identical arrays on one machine, in whatever order the scenes are asked for.

It works in two halves. `describe` draws a `Street` from a random generator: camera, sky, ground, facades, things,
light, all plain frozen dataclasses in metres. `render` turns a `Street` into a `Scene` and draws nothing at random beyond
the sensor noise, whose seed is part of the description. A sequence of one place is therefore a sequence of descriptions
made with `dataclasses.replace` (a person with another `x` and `pose`, another `noise_seed`), each of them rendered.

The classes are told apart by shape, by place and by fine texture of a few pixels' wavelength. Colours are drawn from
ranges that overlap on purpose: what strong compression takes away must be something that a network needs.

To add a kind of thing: derive a frozen dataclass from `Thing` that names its `materials` and sketches its outline in
metres, write a `_draw_...` function that makes one at random, and give it a number range in `Mix` and a line in
`_draw_things`. If it is to be detected, add its name to `OBJECTS` and set `label`; if it is a class of its own, add its
name to `CLASSES`. Rendering, boxes, depth and occlusion follow.
"""

import colorsys
import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

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

MIN_SIZE = 32
"""Pixels; smaller pictures are refused."""

Colour: TypeAlias = tuple[float, float, float]
"""Red, green, blue, 0 to 255."""

Span: TypeAlias = tuple[float, float]
"""Lower and upper end of a uniform draw."""

Point: TypeAlias = tuple[float, float]
"""Metres right of a thing's middle and above the ground under it; in a `Pen.frame`, fractions of the frame."""

Grain: TypeAlias = Literal["cloud", "fine", "middle", "coarse", "blades"]
"""A texture of the bank."""

BlockKind: TypeAlias = Literal["building", "vegetation", "wall", "gap"]
"""What stands along a stretch of the street."""

_Floats: TypeAlias = NDArray[np.float32]

_ROAD, _SIDEWALK, _BUILDING, _WALL, _POLE, _SIGN, _VEGETATION, _TERRAIN, _SKY, _PERSON, _CAR = range(len(CLASSES))

# Everything is painted at this many times the size and box-filtered: edges carry mixed colours as in a photograph.
_OVERSAMPLING = 2

_TILE = 256

# An object smaller or more hidden than this is left out of the instances: no network could be asked to find it.
_MIN_VISIBLE_PIXELS = 12
_MIN_VISIBLE_SHARE = 0.25
_MIN_BOX_WIDTH = 4
_MIN_BOX_HEIGHT = 5


# --------------------------------------------------------------------------------------------------------------- result


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A picture and its ground truths. Row n of `boxes` and `labels` is the instance n + 1 of `instances`.

    Objects too small or too hidden to be asked for (fewer than 12 pixels, less than a quarter of what lies inside the
    picture, a box under 4 x 5) are no instances; their pixels keep class and depth.

    Fields:
        rgb: uint8 (H, W, 3).
        classes: uint8 (H, W), indices into `CLASSES`, or `IGNORED` where there is a dog.
        depth: float32 (H, W), metres along the line of sight's forward axis, above 0, at most `FAR`; constant over a
            thing.
        instances: int16 (H, W), 0 = none.
        boxes: float32 (N, 4), x0 y0 x1 y1 in pixels with exclusive ends: the tight box of an instance's visible pixels.
        labels: int64 (N,), indices into `OBJECTS`.
        joints: float32 (P, 17, 3), x and y in pixels (pixel i covers i to i + 1) and visibility of `JOINTS`; a row
            for each person among `labels`, in their order. As in COCO: 2 visible, 1 behind something nearer, 0 outside the
            picture and then x = y = 0.
        areas: float32 (P,), number of visible pixels of each person in `joints`.
    """

    rgb: NDArray[np.uint8]
    classes: NDArray[np.uint8]
    depth: NDArray[np.float32]
    instances: NDArray[np.int16]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    joints: NDArray[np.float32]
    areas: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Mix:
    """What a street holds: smallest and largest number of each kind of thing, and how far away things stand.

    Fields:
        cars, trucks, people, signs, dogs, poles, trees: inclusive ranges of the number in a scene.
        distance: metres, range of the distances of things other than people.
        people_distance: metres, range of the distances of people.
        abreast: people share out the width of the picture instead of standing anywhere on the street.
    """

    cars: tuple[int, int] = (1, 4)
    trucks: tuple[int, int] = (0, 1)
    people: tuple[int, int] = (1, 5)
    signs: tuple[int, int] = (0, 3)
    dogs: tuple[int, int] = (0, 0)
    poles: tuple[int, int] = (0, 4)
    trees: tuple[int, int] = (0, 3)
    distance: Span = (4.0, 26.0)
    people_distance: Span = (4.0, 26.0)
    abreast: bool = False


STREET = Mix()
"""Traffic and passers-by, for segmentation and depth: every pixel has a class."""

STREET_WITH_DOGS = Mix(dogs=(0, 2))
"""The same with dogs, for detection: all of `OBJECTS` occur, and dogs' pixels are `IGNORED` in the class map."""

PEOPLE = Mix(
    cars=(0, 1),
    trucks=(0, 0),
    people=(1, 3),
    signs=(0, 1),
    poles=(0, 0),
    trees=(0, 1),
    distance=(8.0, 16.0),
    people_distance=(2.6, 5.5),
    abreast=True,
)
"""One to three people near enough for a pose: a third to two thirds of a 96 x 128 picture's height."""


# ---------------------------------------------------------------------------------------------------------- description


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A level camera looking down the street.

    Fields:
        focal: focal length in picture widths.
        centre: column that looks straight ahead, in picture widths.
        horizon: row of the horizon, in picture heights from the top.
        height: metres above the ground.
    """

    focal: float = 0.8
    centre: float
    horizon: float
    height: float

    def view_ends(self, distance: float) -> Span:
        """Return how far left (negative) and right one sees at a distance, in metres."""
        return -self.centre / self.focal * distance, (1 - self.centre) / self.focal * distance


@dataclass(frozen=True, kw_only=True)
class Sky:
    """The sky: its colour at the top, from which it pales towards the horizon.

    Fields:
        colour: at the top edge.
        texture: row and column in the texture bank where its clouds start.
    """

    colour: Colour
    texture: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """The road along the line of sight, a sidewalk on both sides of it, terrain beyond.

    Fields:
        road_edge: metres from the road's middle to its edge.
        sidewalk_edge: metres from the road's middle to the outer edge of the sidewalk.
        road, sidewalk, terrain: colours.
        texture: row and column in the texture bank.
    """

    road_edge: float
    sidewalk_edge: float
    road: Colour
    sidewalk: Colour
    terrain: Colour
    texture: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Block:
    """What stands along one stretch of a facade.

    Fields:
        kind: a building, a hedge or row of trees, a fence-like wall, or nothing.
        end: metres from the camera at which the stretch ends; it starts where the one before ends.
        height: metres.
        colour: of the material.
        window: of the windows; only buildings show it.
    """

    kind: BlockKind
    end: float
    height: float
    colour: Colour
    window: Colour


@dataclass(frozen=True, kw_only=True)
class Facade:
    """Everything that lines one side of the street, in one plane parallel to it.

    Fields:
        side: -1 left, 1 right.
        offset: metres from the road's middle, above 0.
        blocks: nearest first.
        brightness: factor on the colours; one side of a street is often in shade.
        texture: row and column in the texture bank.
    """

    side: Literal[-1, 1]
    offset: float
    blocks: tuple[Block, ...]
    brightness: float
    texture: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Light:
    """What happens between the surfaces and the numbers of the picture.

    Fields:
        gain: factor on red, green, blue.
        slope: how the light grows from the middle to the right and to the bottom edge, as shares of it.
        haze_distance: metres after which 1/e of a colour is left.
        haze: grey that takes its place, 0 to 255.
        noise: strength of the sensor noise in grey levels.
    """

    gain: Colour
    slope: Point
    haze_distance: float
    haze: float
    noise: float


@dataclass(frozen=True, kw_only=True)
class Stripes:
    """A pattern on a material: `amplitude` in grey levels, `frequency` in cycles a pixel, `angle` from horizontal."""

    amplitude: float
    frequency: float
    angle: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a part of a thing is made of.

    Fields:
        colour: without light and haze.
        roughness: amplitude of the texture, in grey levels.
        klass: index into `CLASSES`, or `IGNORED`.
        counted: whether the part belongs to the object to be detected (a sign's post does not).
        stripes: a pattern on top of the texture.
    """

    colour: Colour
    roughness: float
    klass: int
    counted: bool = True
    stripes: Stripes | None = None


class Pen:
    """Draws named parts in a thing's own measure: x to the right, y up, the origin under its middle on the ground."""

    def __init__(self, draw: ImageDraw.ImageDraw, parts: Mapping[str, int], origin: Point, scale: Point) -> None:
        self._draw = draw
        self._parts = parts
        self._origin = origin
        self._scale = scale

    def frame(self, *, bottom: float, width: float, height: float, mirrored: bool = False) -> Self:
        """Return a pen for the box above `bottom` (metres): x from 0 left to 1 right, y from 0 below to 1 above."""
        towards = -1 if mirrored else 1
        (x, y), (x_scale, y_scale) = self._origin, self._scale
        corner = (x - towards * width * x_scale / 2, y - bottom * y_scale)
        return type(self)(self._draw, self._parts, corner, (towards * width * x_scale, height * y_scale))

    def rectangle(self, part: str, low: Point, high: Point) -> None:
        """Fill the rectangle between two opposite corners."""
        self._draw.rectangle(self._box(low, high), fill=self._parts[part])

    def ellipse(self, part: str, low: Point, high: Point) -> None:
        """Fill the ellipse that touches the sides of the rectangle between two opposite corners."""
        self._draw.ellipse(self._box(low, high), fill=self._parts[part])

    def disc(self, part: str, middle: Point, radius: float) -> None:
        """Fill a disc; in a frame, an ellipse with this radius in the frame's measure."""
        x, y = middle
        self.ellipse(part, (x - radius, y - radius), (x + radius, y + radius))

    def polygon(self, part: str, corners: Iterable[Point]) -> None:
        """Fill a polygon."""
        self._draw.polygon([self._pixel(corner) for corner in corners], fill=self._parts[part])

    def stroke(self, part: str, start: Point, end: Point, width: float) -> None:
        """Draw a line with square ends, at least one pixel wide; in a frame, `width` is a share of its width."""
        pixels = max(1, round(width * abs(self._scale[0])))
        self._draw.line([self._pixel(start), self._pixel(end)], fill=self._parts[part], width=pixels)

    def limb(self, part: str, start: Point, end: Point, width: float) -> None:
        """Draw a line with round ends."""
        self.stroke(part, start, end, width)
        self.disc(part, start, width / 2)
        self.disc(part, end, width / 2)

    def resolves(self, length: float) -> bool:
        """Return whether this length, in metres, is at least a pixel."""
        return length * abs(self._scale[0]) >= 1

    def _pixel(self, point: Point) -> Point:
        return self._origin[0] + point[0] * self._scale[0], self._origin[1] - point[1] * self._scale[1]

    def _box(self, low: Point, high: Point) -> tuple[float, float, float, float]:
        (x0, y0), (x1, y1) = self._pixel(low), self._pixel(high)
        return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


@dataclass(frozen=True, kw_only=True)
class Thing:
    """Something flat that stands on the ground and faces the camera.

    Fields:
        x: metres right of straight ahead.
        distance: metres, above 0 and below `FAR`: the depth of all its pixels.
        texture: row and column in the texture bank.
        label: index into `OBJECTS`, or None for what is not to be detected.
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
    def span(self) -> float:
        """Width in metres over which its shading runs from bright to dark."""
        raise NotImplementedError

    def materials(self) -> dict[str, Material]:
        """Return the material of each part that `sketch` draws, by the part's name."""
        raise NotImplementedError

    def sketch(self, pen: Pen) -> None:
        """Draw the parts, the ones behind first."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Angles of a body seen from the front, in radians.

    A limb's angle is 0 hanging down and grows outwards to pi straight up; elbows and knees add to the angle of the
    upper arm or thigh.

    Fields:
        left_shoulder, right_shoulder, left_elbow, right_elbow, left_hip, right_hip, left_knee, right_knee: angles.
        lean: of the trunk, to the picture's right.
        breadth: share of the shoulders' width that is seen: 1 from the front, towards 0 turned to the side.
        crouch: metres, 0 to 0.8, by which bent knees lower the hips of somebody whose hips and knees are at 0.
    """

    left_shoulder: float = 0.25
    right_shoulder: float = 0.25
    left_elbow: float = 0.2
    right_elbow: float = 0.2
    left_hip: float = 0.08
    right_hip: float = 0.08
    left_knee: float = 0.0
    right_knee: float = 0.0
    lean: float = 0.0
    breadth: float = 1.0
    crouch: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """Colours of a person, and the pattern of the shirt."""

    skin: Colour
    shirt: Colour
    trousers: Colour
    hair: Colour
    shoes: Colour
    stripes: Stripes | None


_THIGH = _SHIN = 0.43
_UPPER_ARM, _FOREARM = 0.29, 0.26
_ANKLE_HEIGHT = 0.06
_HEAD_RADIUS = 0.125


def skeleton(pose: Pose) -> dict[str, Point]:
    """Return where the `JOINTS`, and the neck besides, of a person of 1.75 m are: metres right and above the ground."""
    up = np.array([math.sin(pose.lean), math.cos(pose.lean)])
    right = np.array([up[1], -up[0]])
    hips = np.zeros(2)
    neck = hips + 0.52 * up
    nose = neck + 0.2 * up
    places = {"neck": neck, "nose": nose}
    bend = math.acos(1 - pose.crouch / (_THIGH + _SHIN))
    limbs: tuple[tuple[str, int, float, float, float, float], ...] = (
        ("left", 1, pose.left_shoulder, pose.left_elbow, pose.left_hip, pose.left_knee),
        ("right", -1, pose.right_shoulder, pose.right_elbow, pose.right_hip, pose.right_knee),
    )
    for side, towards, shoulder, elbow, hip, knee in limbs:
        outwards = towards * pose.breadth * right
        places[f"{side}_eye"] = nose + 0.036 * outwards + 0.04 * up
        places[f"{side}_ear"] = nose + 0.08 * outwards + 0.015 * up
        places[f"{side}_shoulder"] = neck + 0.2 * outwards - 0.02 * up
        places[f"{side}_hip"] = hips + 0.11 * outwards
        places[f"{side}_elbow"] = places[f"{side}_shoulder"] + _UPPER_ARM * _towards(shoulder, towards)
        places[f"{side}_wrist"] = places[f"{side}_elbow"] + _FOREARM * _towards(shoulder + elbow, towards)
        places[f"{side}_knee"] = places[f"{side}_hip"] + _THIGH * _towards(hip + bend, towards)
        places[f"{side}_ankle"] = places[f"{side}_knee"] + _SHIN * _towards(hip + knee - bend, towards)
    # Spread or bent legs reach less far down: the body sinks until a foot stands on the ground.
    sink = min(places["left_ankle"][1], places["right_ankle"][1]) - _ANKLE_HEIGHT
    return {name: (float(x), float(y - sink)) for name, (x, y) in places.items()}


def _towards(angle: float, side: int) -> NDArray[np.float64]:
    return np.array([side * math.sin(angle), -math.cos(angle)])


@dataclass(frozen=True, kw_only=True)
class Person(Thing):
    """A person facing the camera; `stature` is a factor on 1.75 m."""

    label: ClassVar[int | None] = OBJECTS.index("person")
    shadow: ClassVar[bool] = True

    pose: Pose
    outfit: Outfit
    stature: float = 1.0

    @property
    def span(self) -> float:
        """Width in metres of the trunk with hanging arms."""
        return 0.7 * self.stature

    def joints(self) -> dict[str, Point]:
        """Return metres right of `x` and above the ground of each of `JOINTS`, and of the neck."""
        return {name: (x * self.stature, y * self.stature) for name, (x, y) in skeleton(self.pose).items()}

    def materials(self) -> dict[str, Material]:
        """Return skin, shirt, trousers, hair, shoes and eyes."""
        outfit = self.outfit
        return {
            "skin": Material(colour=outfit.skin, roughness=3, klass=_PERSON),
            "shirt": Material(colour=outfit.shirt, roughness=9, klass=_PERSON, stripes=outfit.stripes),
            "trousers": Material(colour=outfit.trousers, roughness=7, klass=_PERSON),
            "hair": Material(colour=outfit.hair, roughness=4, klass=_PERSON),
            "shoes": Material(colour=outfit.shoes, roughness=3, klass=_PERSON),
            "eyes": Material(colour=(25.0, 20.0, 20.0), roughness=0, klass=_PERSON),
        }

    def sketch(self, pen: Pen) -> None:
        """Draw legs, trunk, arms and head, in this order."""
        at = self.joints()
        self._sketch_legs(pen, at)
        self._sketch_trunk_and_arms(pen, at)
        self._sketch_head(pen, at)

    def _sketch_legs(self, pen: Pen, at: Mapping[str, Point]) -> None:
        size = self.stature
        for side in ("left", "right"):
            pen.limb("trousers", at[f"{side}_hip"], at[f"{side}_knee"], 0.15 * size)
            pen.limb("trousers", at[f"{side}_knee"], at[f"{side}_ankle"], 0.12 * size)
            x, y = at[f"{side}_ankle"]
            pen.ellipse("shoes", (x - 0.08 * size, y - 0.075 * size), (x + 0.08 * size, y + 0.03 * size))

    def _sketch_trunk_and_arms(self, pen: Pen, at: Mapping[str, Point]) -> None:
        size = self.stature
        pen.polygon("shirt", [at[name] for name in ("right_shoulder", "left_shoulder", "left_hip", "right_hip")])
        pen.limb("trousers", at["right_hip"], at["left_hip"], 0.14 * size)
        pen.limb("shirt", at["right_shoulder"], at["left_shoulder"], 0.13 * size)
        for side in ("left", "right"):
            pen.limb("shirt", at[f"{side}_shoulder"], at[f"{side}_elbow"], 0.11 * size)
            pen.limb("skin", at[f"{side}_elbow"], at[f"{side}_wrist"], 0.085 * size)
            pen.disc("skin", at[f"{side}_wrist"], 0.06 * size)

    def _sketch_head(self, pen: Pen, at: Mapping[str, Point]) -> None:
        radius = _HEAD_RADIUS * self.stature
        x, y = at["nose"]
        pen.limb("skin", at["neck"], at["nose"], 0.09 * self.stature)
        pen.ellipse("hair", (x - 0.85 * radius, y - radius), (x + 0.85 * radius, y + 1.25 * radius))
        pen.ellipse("skin", (x - 0.7 * radius, y - radius), (x + 0.7 * radius, y + 0.7 * radius))
        # Rounded up to a pixel, the eyes of somebody far away would cover the face.
        if pen.resolves(0.15 * radius):
            for side in ("left", "right"):
                pen.disc("eyes", at[f"{side}_eye"], 0.12 * radius)


@dataclass(frozen=True, kw_only=True)
class Car(Thing):
    """A car of `width` x `height` metres, from the side or head on."""

    label: ClassVar[int | None] = OBJECTS.index("car")
    grain: ClassVar[Grain] = "middle"
    shadow: ClassVar[bool] = True

    width: float
    height: float
    from_side: bool
    paint: Colour

    @property
    def span(self) -> float:
        """Width in metres."""
        return self.width

    def materials(self) -> dict[str, Material]:
        """Return body, glass, tyres and lamps."""
        return {
            "body": Material(colour=self.paint, roughness=2, klass=_CAR),
            **_vehicle_fittings(),
        }

    def sketch(self, pen: Pen) -> None:
        """Draw cabin, body, windows, lamps and wheels."""
        frame = pen.frame(bottom=0, width=self.width, height=self.height)
        frame.rectangle("body", (0, 0.15), (1, 0.58))
        if self.from_side:
            frame.polygon("body", ((0.15, 0.55), (0.28, 1), (0.72, 1), (0.88, 0.55)))
            frame.polygon("glass", ((0.22, 0.58), (0.31, 0.92), (0.49, 0.92), (0.49, 0.58)))
            frame.polygon("glass", ((0.53, 0.58), (0.53, 0.92), (0.69, 0.92), (0.8, 0.58)))
        else:
            frame.polygon("body", ((0.05, 0.55), (0.2, 1), (0.8, 1), (0.95, 0.55)))
            frame.polygon("glass", ((0.13, 0.58), (0.24, 0.93), (0.76, 0.93), (0.87, 0.58)))
            frame.rectangle("lamps", (0.04, 0.38), (0.2, 0.5))
            frame.rectangle("lamps", (0.8, 0.38), (0.96, 0.5))
        _sketch_wheels(pen, self, radius=0.19 * self.height)


@dataclass(frozen=True, kw_only=True)
class Truck(Thing):
    """A truck of `width` x `height` metres, from the side or head on, with a corrugated box."""

    label: ClassVar[int | None] = OBJECTS.index("truck")
    grain: ClassVar[Grain] = "middle"
    shadow: ClassVar[bool] = True

    width: float
    height: float
    from_side: bool
    cab: Colour
    box: Colour

    @property
    def span(self) -> float:
        """Width in metres."""
        return self.width

    def materials(self) -> dict[str, Material]:
        """Return body, box, glass, tyres and lamps."""
        corrugation = Stripes(amplitude=12, frequency=0.22)
        return {
            "body": Material(colour=self.cab, roughness=2, klass=_CAR),
            "box": Material(colour=self.box, roughness=5, klass=_CAR, stripes=corrugation),
            **_vehicle_fittings(),
        }

    def sketch(self, pen: Pen) -> None:
        """Draw box, cab, windows, lamps and wheels."""
        frame = pen.frame(bottom=0, width=self.width, height=self.height)
        if self.from_side:
            frame.rectangle("box", (0, 0.18), (0.72, 1))
            frame.rectangle("body", (0.75, 0.15), (1, 0.75))
            frame.rectangle("body", (0, 0.15), (1, 0.2))
            frame.rectangle("glass", (0.82, 0.48), (0.97, 0.68))
        else:
            frame.rectangle("box", (0, 0.12), (1, 1))
            frame.rectangle("body", (0, 0.12), (1, 0.5))
            frame.rectangle("glass", (0.1, 0.58), (0.9, 0.88))
            frame.rectangle("lamps", (0.05, 0.28), (0.2, 0.38))
            frame.rectangle("lamps", (0.8, 0.28), (0.95, 0.38))
        _sketch_wheels(pen, self, radius=0.28)


def _vehicle_fittings() -> dict[str, Material]:
    return {
        "glass": Material(colour=(45.0, 55.0, 65.0), roughness=2, klass=_CAR),
        "tyres": Material(colour=(25.0, 25.0, 28.0), roughness=3, klass=_CAR),
        "lamps": Material(colour=(235.0, 225.0, 180.0), roughness=0, klass=_CAR),
    }


def _sketch_wheels(pen: Pen, vehicle: Car | Truck, *, radius: float) -> None:
    """Draw two wheels: round from the side, half as wide head on, where one sees the tread."""
    from_middle, half_width = (0.3, radius) if vehicle.from_side else (0.4, radius / 2)
    for x in (-from_middle * vehicle.width, from_middle * vehicle.width):
        pen.ellipse("tyres", (x - half_width, 0), (x + half_width, 2 * radius))


@dataclass(frozen=True, kw_only=True)
class Dog(Thing):
    """A dog, 1 m long, from the side; `strides` shifts the paws, in shares of its length."""

    label: ClassVar[int | None] = OBJECTS.index("dog")
    grain: ClassVar[Grain] = "middle"
    shadow: ClassVar[bool] = True

    facing_left: bool
    strides: tuple[float, float, float, float]
    coat: Colour

    @property
    def span(self) -> float:
        """Length in metres."""
        return 1.0

    def materials(self) -> dict[str, Material]:
        """Return coat and the darker ears and tail."""
        red, green, blue = self.coat
        return {
            "coat": Material(colour=self.coat, roughness=13, klass=IGNORED),
            "dark": Material(colour=(0.6 * red, 0.6 * green, 0.6 * blue), roughness=6, klass=IGNORED),
        }

    def sketch(self, pen: Pen) -> None:
        """Draw body, head, ear, legs and tail."""
        frame = pen.frame(bottom=0, width=self.span, height=0.75, mirrored=self.facing_left)
        frame.ellipse("coat", (0.12, 0.32), (0.8, 0.7))
        frame.ellipse("coat", (0.7, 0.58), (1, 0.92))
        frame.polygon("dark", ((0.74, 0.85), (0.78, 1), (0.84, 0.88)))
        for x, stride in zip((0.18, 0.3, 0.62, 0.74), self.strides, strict=True):
            frame.stroke("coat", (x, 0.45), (x + stride, 0), 0.07)
        frame.stroke("dark", (0.16, 0.6), (0, 0.85), 0.05)


@dataclass(frozen=True, kw_only=True)
class Pole(Thing):
    """A bare pole of `height` x `width` metres."""

    height: float
    width: float
    paint: Colour

    @property
    def span(self) -> float:
        """Width in metres."""
        return self.width

    def materials(self) -> dict[str, Material]:
        """Return the post."""
        return {"post": Material(colour=self.paint, roughness=3, klass=_POLE)}

    def sketch(self, pen: Pen) -> None:
        """Draw the post."""
        pen.rectangle("post", (-self.width / 2, 0), (self.width / 2, self.height))


@dataclass(frozen=True, kw_only=True)
class Sign(Thing):
    """A traffic sign: a board of `size` metres whose middle is at `height` metres, on a post (of class pole)."""

    label: ClassVar[int | None] = OBJECTS.index("sign")

    shape: Literal["disc", "triangle", "square"]
    size: float
    height: float
    post_width: float
    post: Colour
    rim: Colour
    face: Colour

    @property
    def span(self) -> float:
        """Width in metres of the board."""
        return self.size

    def materials(self) -> dict[str, Material]:
        """Return the post, and the board's rim, face and mark."""
        return {
            "post": Material(colour=self.post, roughness=3, klass=_POLE, counted=False),
            "rim": Material(colour=self.rim, roughness=2, klass=_SIGN),
            "face": Material(colour=self.face, roughness=2, klass=_SIGN),
            "mark": Material(colour=(20.0, 20.0, 20.0), roughness=0, klass=_SIGN),
        }

    def sketch(self, pen: Pen) -> None:
        """Draw the post, then the board."""
        pen.rectangle("post", (-self.post_width / 2, 0), (self.post_width / 2, self.height))
        board = pen.frame(bottom=self.height - self.size / 2, width=self.size, height=self.size)
        if self.shape == "disc":
            board.disc("rim", (0.5, 0.5), 0.5)
            board.disc("face", (0.5, 0.5), 0.32)
        elif self.shape == "triangle":
            board.polygon("rim", ((0.5, 1), (1, 0), (0, 0)))
            board.polygon("face", ((0.5, 0.7), (0.8, 0.12), (0.2, 0.12)))
        else:
            board.rectangle("rim", (0, 0), (1, 1))
            board.rectangle("face", (0.12, 0.12), (0.88, 0.88))
        board.stroke("mark", (0.35, 0.38), (0.65, 0.38), 0.12)


@dataclass(frozen=True, kw_only=True)
class Tree(Thing):
    """A tree whose crown, of `radius` metres around `height`, is a heap of discs (x, y, radius in crown radii)."""

    grain: ClassVar[Grain] = "middle"

    height: float
    radius: float
    discs: tuple[tuple[float, float, float], ...]
    bark: Colour
    leaves: Colour

    @property
    def span(self) -> float:
        """Width in metres of the crown."""
        return 2 * self.radius

    def materials(self) -> dict[str, Material]:
        """Return bark and leaves."""
        return {
            "bark": Material(colour=self.bark, roughness=8, klass=_VEGETATION),
            "leaves": Material(colour=self.leaves, roughness=22, klass=_VEGETATION),
        }

    def sketch(self, pen: Pen) -> None:
        """Draw the trunk, then the crown."""
        pen.rectangle("bark", (-0.11, 0), (0.11, self.height))
        for x, y, radius in self.discs:
            pen.disc("leaves", (x * self.radius, self.height + y * self.radius), radius * self.radius)


@dataclass(frozen=True, kw_only=True)
class Street:
    """All that `render` needs to know of a scene.

    Fields:
        camera, sky, ground, light: one each.
        facades: left and right.
        things: in any order; it is the order of the instances.
        noise_seed: of the sensor noise, at least 0.
    """

    camera: Camera
    sky: Sky
    ground: Ground
    facades: tuple[Facade, Facade]
    things: tuple[Thing, ...]
    light: Light
    noise_seed: int


# -------------------------------------------------------------------------------------------------------------- drawing


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return a colour from hue, saturation and value, each 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def _random_hsv(rng: Generator, hue: Span, saturation: Span, value: Span) -> Colour:
    return _hsv(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


def _shifted(rng: Generator, grey: float, spread: float) -> Colour:
    """Return a grey whose channels are each off by a normal deviate of the standard deviation `spread`."""
    return rng.normal(grey, spread), rng.normal(grey, spread), rng.normal(grey, spread)


def _chance(rng: Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _random_texture(rng: Generator) -> tuple[int, int]:
    return int(rng.integers(_TILE)), int(rng.integers(_TILE))


def describe(rng: Generator, mix: Mix = STREET) -> Street:
    """Draw the description of a scene. Only the state of `rng` and `mix` determine it."""
    camera = Camera(centre=0.5 + rng.uniform(-0.12, 0.12), horizon=rng.uniform(0.38, 0.52), height=rng.uniform(1.3, 1.9))
    sky = Sky(colour=_random_hsv(rng, (0.52, 0.66), (0, 0.45), (0.6, 1)), texture=_random_texture(rng))
    ground = _draw_ground(rng)
    facades = (_draw_facade(rng, -1, ground.sidewalk_edge), _draw_facade(rng, 1, ground.sidewalk_edge))
    return Street(
        camera=camera,
        sky=sky,
        ground=ground,
        facades=facades,
        things=_draw_things(rng, mix, camera, facades),
        light=_draw_light(rng),
        noise_seed=int(rng.integers(2**62)),
    )


def _draw_ground(rng: Generator) -> Ground:
    road_edge = rng.uniform(2.8, 5)
    red, green, blue = _shifted(rng, rng.uniform(70, 140), 6)
    # Paving is a shade of the road's own grey, often hardly lighter: its joints must tell it, not its colour.
    more_red, more_green, more_blue = _shifted(rng, rng.uniform(-12, 35), 5)
    return Ground(
        road_edge=road_edge,
        sidewalk_edge=road_edge + rng.uniform(1.5, 3.5),
        road=(red, green, blue),
        sidewalk=(red + more_red, green + more_green, blue + more_blue),
        terrain=_random_hsv(rng, (0.14, 0.34), (0.15, 0.5), (0.3, 0.6)),
        texture=_random_texture(rng),
    )


def _draw_facade(rng: Generator, side: Literal[-1, 1], sidewalk_edge: float) -> Facade:
    blocks: list[Block] = []
    end = 0.0
    while end < FAR:
        end += rng.uniform(4, 14)
        blocks.append(_draw_block(rng, end))
    return Facade(
        side=side,
        offset=sidewalk_edge + rng.uniform(0, 4),
        blocks=tuple(blocks),
        brightness=1 - 0.25 * rng.random() if side > 0 else 1.0,
        texture=_random_texture(rng),
    )


def _draw_block(rng: Generator, end: float) -> Block:
    kinds: tuple[BlockKind, ...] = ("building", "vegetation", "wall", "gap")
    kind = kinds[rng.choice(len(kinds), p=(0.42, 0.26, 0.24, 0.08))]
    height, colour = 0.0, (0.0, 0.0, 0.0)
    if kind == "building":
        height = rng.uniform(4, 14)
        hue: Span = (0, 0.13) if _chance(rng, 0.8) else (0.5, 0.65)
        colour = _random_hsv(rng, hue, (0.05, 0.45), (0.35, 0.85))
    elif kind == "vegetation":
        height = rng.uniform(2.5, 8)
        colour = _draw_leaves(rng)
    elif kind == "wall":
        height = rng.uniform(1.2, 2.8)
        colour = _random_hsv(rng, (0, 0.15), (0, 0.35), (0.35, 0.75))
    grey = rng.uniform(30, 90)
    return Block(kind=kind, end=end, height=height, colour=colour, window=(grey, grey + 4, grey + 10))


def _draw_leaves(rng: Generator) -> Colour:
    return _random_hsv(rng, (0.16, 0.38), (0.2, 0.55), (0.22, 0.5))


def _draw_light(rng: Generator) -> Light:
    brightness = rng.uniform(0.75, 1.2)
    red, green, blue = _shifted(rng, 1.0, 0.05)
    return Light(
        gain=(brightness * red, brightness * green, brightness * blue),
        slope=(rng.uniform(-0.25, 0.25), rng.uniform(-0.15, 0.15)),
        haze_distance=rng.uniform(90, 400),
        haze=rng.uniform(150, 215),
        noise=rng.uniform(1.5, 4),
    )


@dataclass(frozen=True, kw_only=True)
class _Spot:
    """Where a thing stands: what every `Thing` is made with."""

    x: float
    distance: float
    texture: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class _Spots:
    """Finds places for things that are inside the view and in front of the facades."""

    rng: Generator
    camera: Camera
    facades: tuple[Facade, Facade]

    def anywhere(self, beside: Span, distance: Span) -> _Spot:
        """Return a place `beside` (metres, left or right) the road's middle, as far away as `distance` says."""
        x = self._between_facades(self.rng.uniform(*beside) * (1 if _chance(self.rng, 0.5) else -1))
        near, far = distance
        left, right = self.camera.view_ends(1.0)
        nearest_in_view = x / (0.95 * (left if x < 0 else right))
        return self._spot(x, self._draw_distance((min(max(near, nearest_in_view), far), far)))

    def abreast(self, place: float, distance: Span) -> _Spot:
        """Return a place about `place`, 0 the left edge of the picture and 1 the right."""
        away = self._draw_distance(distance)
        left, right = self.camera.view_ends(away)
        x = left + (right - left) * self.rng.normal(0.5 + 0.85 * (place - 0.5), 0.06)
        return self._spot(self._between_facades(x), away)

    def _between_facades(self, x: float) -> float:
        # Half a metre off them: nothing stands inside a house.
        left, right = self.facades
        return min(max(x, 0.5 - left.offset), right.offset - 0.5)

    def _draw_distance(self, distance: Span) -> float:
        # Uniform in the logarithm: sizes in the picture are then spread evenly over the octaves.
        near, far = distance
        return math.exp(self.rng.uniform(math.log(near), math.log(far)))

    def _spot(self, x: float, distance: float) -> _Spot:
        return _Spot(x=x, distance=distance, texture=_random_texture(self.rng))


def _draw_things(rng: Generator, mix: Mix, camera: Camera, facades: tuple[Facade, Facade]) -> tuple[Thing, ...]:
    spots = _Spots(rng=rng, camera=camera, facades=facades)

    def some(number: tuple[int, int], beside: Span) -> list[_Spot]:
        return [spots.anywhere(beside, mix.distance) for _ in range(_draw_number(rng, number))]

    return (
        *[_draw_car(rng, spot) for spot in some(mix.cars, (0.5, 5))],
        *[_draw_truck(rng, spot) for spot in some(mix.trucks, (0.5, 5))],
        *[_draw_person(rng, spot) for spot in _find_people_spots(rng, mix, spots)],
        *[_draw_sign(rng, spot) for spot in some(mix.signs, (1.5, 6.5))],
        *[_draw_dog(rng, spot) for spot in some(mix.dogs, (0, 5))],
        *[_draw_pole(rng, spot) for spot in some(mix.poles, (3, 7))],
        *[_draw_tree(rng, spot) for spot in some(mix.trees, (4, 9))],
    )


def _draw_number(rng: Generator, number: tuple[int, int]) -> int:
    least, most = number
    return int(rng.integers(least, most + 1))


def _find_people_spots(rng: Generator, mix: Mix, spots: _Spots) -> list[_Spot]:
    number = _draw_number(rng, mix.people)
    if not mix.abreast:
        return [spots.anywhere((0, 6), mix.people_distance) for _ in range(number)]
    return [spots.abreast((slot + 0.5) / number, mix.people_distance) for slot in range(number)]


def _draw_car(rng: Generator, spot: _Spot) -> Car:
    from_side = _chance(rng, 0.55)
    return Car(
        **dataclasses.asdict(spot),
        width=rng.uniform(3.6, 4.4) if from_side else rng.uniform(1.7, 2),
        height=rng.uniform(1.35, 1.7),
        from_side=from_side,
        paint=_draw_paint(rng),
    )


def _draw_truck(rng: Generator, spot: _Spot) -> Truck:
    from_side = _chance(rng, 0.55)
    return Truck(
        **dataclasses.asdict(spot),
        width=rng.uniform(4.5, 6) if from_side else rng.uniform(2.2, 2.6),
        height=rng.uniform(2.3, 3.1),
        from_side=from_side,
        cab=_draw_paint(rng),
        box=_random_hsv(rng, (0, 1), (0, 0.4), (0.4, 0.95)),
    )


def _draw_paint(rng: Generator) -> Colour:
    return _random_hsv(rng, (0, 1), (0, 0.15) if _chance(rng, 0.5) else (0.3, 0.8), (0.25, 0.95))


def _draw_person(rng: Generator, spot: _Spot) -> Person:
    return Person(
        **dataclasses.asdict(spot),
        pose=draw_pose(rng),
        outfit=draw_outfit(rng),
        stature=rng.uniform(0.85, 1.1),
    )


def draw_pose(rng: Generator) -> Pose:
    """Draw the pose of somebody standing, walking or gesturing."""

    def either(bold: Span, calm: Span) -> float:
        return rng.uniform(*(bold if _chance(rng, 0.5) else calm))

    return Pose(
        left_shoulder=either((-0.1, 2.9), (0.05, 0.6)),
        right_shoulder=either((-0.1, 2.9), (0.05, 0.6)),
        left_elbow=either((-0.2, 2.2), (-0.1, 0.4)),
        right_elbow=either((-0.2, 2.2), (-0.1, 0.4)),
        left_hip=rng.uniform(-0.1, 0.7),
        right_hip=rng.uniform(-0.1, 0.7),
        left_knee=either((-0.8, 0), (0, 0)),
        right_knee=either((-0.8, 0), (0, 0)),
        lean=rng.normal(0, 0.12),
        breadth=rng.uniform(0.65, 1),
        crouch=rng.uniform(0, 0.3) if _chance(rng, 0.1) else 0.0,
    )


def draw_outfit(rng: Generator) -> Outfit:
    """Draw a person's colours; three shirts in five are striped."""

    def cloth(strength: float = 1.0) -> Colour:
        return _random_hsv(rng, (0, 1), (0.1, 0.75), (0.2 * strength, 0.95 * strength))

    stripes = Stripes(amplitude=14, frequency=rng.uniform(0.16, 0.3), angle=rng.uniform(0, math.pi))
    return Outfit(
        skin=_random_hsv(rng, (0.03, 0.09), (0.25, 0.6), (0.35, 0.95)),
        shirt=cloth(),
        trousers=cloth(),
        hair=_random_hsv(rng, (0, 0.15), (0.5, 0.5), (0.08, 0.5)),
        shoes=cloth(0.5),
        stripes=stripes if _chance(rng, 0.6) else None,
    )


def _draw_sign(rng: Generator, spot: _Spot) -> Sign:
    shapes: tuple[Literal["disc", "triangle", "square"], ...] = ("disc", "triangle", "square")
    grey = rng.uniform(50, 150)
    return Sign(
        **dataclasses.asdict(spot),
        shape=shapes[rng.integers(len(shapes))],
        size=rng.uniform(0.6, 1),
        height=rng.uniform(2.3, 3.2),
        post_width=rng.uniform(0.1, 0.22),
        post=(grey, grey, grey + 5),
        rim=_hsv(rng.choice((0, 0.6, 0.12)), rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9)),
        face=_hsv(rng.choice((0, 0.6, 0.12, 0.3)), rng.uniform(0, 0.6), rng.uniform(0.6, 1)),
    )


def _draw_dog(rng: Generator, spot: _Spot) -> Dog:
    first, second, third, fourth = rng.uniform(-0.06, 0.06, 4).tolist()
    return Dog(
        **dataclasses.asdict(spot),
        facing_left=_chance(rng, 0.5),
        strides=(first, second, third, fourth),
        coat=_random_hsv(rng, (0.04, 0.13), (0.1, 0.6), (0.15, 0.9)),
    )


def _draw_pole(rng: Generator, spot: _Spot) -> Pole:
    grey = rng.uniform(50, 150)
    return Pole(
        **dataclasses.asdict(spot),
        height=rng.uniform(4, 7),
        width=rng.uniform(0.12, 0.3),
        paint=(grey, grey, grey + 5),
    )


def _draw_tree(rng: Generator, spot: _Spot) -> Tree:
    discs: list[tuple[float, float, float]] = []
    for _ in range(9):
        angle, out = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.55)
        discs.append((out * math.cos(angle), out * math.sin(angle), rng.uniform(0.3, 0.5)))
    return Tree(
        **dataclasses.asdict(spot),
        height=rng.uniform(3.5, 6.5),
        radius=rng.uniform(1.1, 2.1),
        discs=tuple(discs),
        bark=_random_hsv(rng, (0.05, 0.1), (0.35, 0.35), (0.2, 0.45)),
        leaves=_draw_leaves(rng),
    )


# ------------------------------------------------------------------------------------------------------------- textures


@functools.cache
def _bank() -> dict[Grain, _Floats]:
    """Return tileable noise of zero mean and unit deviation for each grain, the same in every process."""
    rng = np.random.default_rng(12345)
    across = np.fft.fftfreq(_TILE)[None, :]
    down = np.fft.fftfreq(_TILE)[:, None]
    frequency = np.hypot(across, down)
    frequency[0, 0] = 1

    def filtered(response: NDArray[np.float64]) -> _Floats:
        noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_TILE, _TILE))) * response).real
        noise -= noise.mean()
        return np.asarray(noise / noise.std(), dtype=np.float32)

    def band(shortest: float, longest: float) -> NDArray[np.float64]:
        return np.asarray((frequency > 1 / longest) & (frequency < 1 / shortest), np.float64)

    # Upright streaks: quickly changing from left to right, slowly from top to bottom.
    upright = np.exp(-((np.abs(across) - 0.22) ** 2) / 0.01) * np.exp(-((down / 0.08) ** 2))
    return {
        "cloud": filtered(1 / frequency),
        "fine": filtered(band(2.2, 5)),
        "middle": filtered(band(4, 9)),
        "coarse": filtered(band(6, 16)),
        "blades": filtered(upright),
    }


def _texture(
    grain: Grain, rows: NDArray[np.intp], columns: NDArray[np.intp], start: tuple[int, int], scale: float = 1.0
) -> _Floats:
    """Return (rows, columns) of a grain, for canvas coordinates given along the two axes.

    `scale` is texels a picture pixel. Texture is measured in pixels and not in metres so that every class shows its own
    at every distance; in metres, it would melt away within some steps of the camera.
    """
    step = scale / _OVERSAMPLING
    down = (np.floor(rows * step).astype(np.intp) + start[0]) % _TILE
    across = (np.floor(columns * step).astype(np.intp) + start[1]) % _TILE
    return _bank()[grain][np.ix_(down, across)]


# ------------------------------------------------------------------------------------------------------------ rendering


class _Canvas:
    """The picture while it is painted, oversampled. `owners` is 1 + index of the thing whose object a pixel shows."""

    def __init__(self, height: int, width: int) -> None:
        rows, columns = height * _OVERSAMPLING, width * _OVERSAMPLING
        self.rgb: _Floats = np.zeros((rows, columns, 3), np.float32)
        self.classes = np.full((rows, columns), _SKY, np.uint8)
        self.depth = np.full((rows, columns), FAR, np.float32)
        self.owners = np.zeros((rows, columns), np.int16)
        self.rows = np.arange(rows)
        self.columns = np.arange(columns)


class _View:
    """A camera in the pixels of a canvas."""

    def __init__(self, camera: Camera, canvas: _Canvas) -> None:
        self.camera = camera
        self.focal = camera.focal * len(canvas.columns)
        self.centre = camera.centre * len(canvas.columns)
        self.horizon = camera.horizon * len(canvas.rows)
        # Metres right and down of straight ahead for each metre forward.
        self.rightwards: _Floats = ((canvas.columns - self.centre) / self.focal).astype(np.float32)
        self.downwards: _Floats = ((canvas.rows - self.horizon) / self.focal).astype(np.float32)

    def scale(self, distance: float) -> float:
        """Return pixels a metre."""
        return self.focal / distance

    def foot(self, thing: Thing) -> Point:
        """Return column and row of the point on the ground under a thing."""
        scale = self.scale(thing.distance)
        return self.centre + thing.x * scale, self.horizon + self.camera.height * scale


def render(description: Street, height: int, width: int) -> Scene:
    """Paint a description, far to near, and read its ground truths off the painting.

    Raises ValueError if height or width, in pixels, is less than `MIN_SIZE`.
    """
    for name, size in (("height", height), ("width", width)):
        if size < MIN_SIZE:
            raise ValueError(f"{name} must be at least {MIN_SIZE} pixels, not {size}")
    canvas = _Canvas(height, width)
    view = _View(description.camera, canvas)
    _paint_sky(canvas, view, description.sky)
    _paint_ground(canvas, view, description.ground)
    for facade in description.facades:
        _paint_facade(canvas, view, facade)
    things = description.things
    painted = np.zeros(len(things) + 1)
    for index in sorted(range(len(things)), key=lambda index: -things[index].distance):
        painted[index + 1] = _paint_thing(canvas, view, things[index], index + 1) / _OVERSAMPLING**2
    return _read_off(canvas, view, description, painted)


def _paint_sky(canvas: _Canvas, view: _View, sky: Sky) -> None:
    colour = np.array(sky.colour, np.float32)
    paleness = 0.5 * np.clip(canvas.rows / view.horizon, 0, 1)[:, None, None].astype(np.float32)
    clouds = _texture("cloud", canvas.rows, canvas.columns, sky.texture, 0.5)[..., None]
    canvas.rgb[:] = colour + (235 - colour) * paleness + 7 * clouds


def _paint_ground(canvas: _Canvas, view: _View, ground: Ground) -> None:
    first = int(np.searchsorted(view.downwards, view.camera.height / FAR, side="right"))
    rows = canvas.rows[first:]
    ahead = view.camera.height / view.downwards[first:, None]
    beside = view.rightwards * ahead
    off_middle = np.abs(beside)

    def texture(grain: Grain, scale: float = 1.0) -> _Floats:
        return _texture(grain, rows, canvas.columns, ground.texture, scale)

    clouds = texture("cloud", 0.6)
    on_road = off_middle < ground.road_edge
    on_sidewalk = ~on_road & (off_middle < ground.sidewalk_edge)

    asphalt = np.array(ground.road, np.float32) + (8 * texture("fine") + 6 * clouds)[..., None]
    edge_line = np.abs(off_middle - ground.road_edge + 0.25) < 0.07
    middle_line = (off_middle < 0.08) & (ahead % 6 < 3)
    asphalt = np.where((edge_line | middle_line)[..., None], 0.3 * asphalt + 150, asphalt)

    # Joints fade with the distance, where they would be narrower than a pixel and turn into moire.
    joints = ((beside % 0.9 < 0.09) | (ahead % 0.9 < 0.12)) * np.exp(-ahead / 12)
    paving = np.array(ground.sidewalk, np.float32) + (5 * clouds + 4 * texture("middle") - 16 * joints)[..., None]

    tint = np.array([1, 1, 0.7], np.float32)
    grass = np.array(ground.terrain, np.float32) + (15 * texture("blades") + 6 * clouds)[..., None] * tint

    canvas.rgb[first:] = np.where(on_road[..., None], asphalt, np.where(on_sidewalk[..., None], paving, grass))
    canvas.classes[first:] = np.where(on_road, _ROAD, np.where(on_sidewalk, _SIDEWALK, _TERRAIN))
    canvas.depth[first:] = ahead


def _paint_facade(canvas: _Canvas, view: _View, facade: Facade) -> None:
    slopes = facade.side * view.rightwards
    hits = np.flatnonzero(slopes * FAR > facade.offset)
    ahead = facade.offset / slopes[hits]
    # The plane is parallel to the line of sight, so a column meets it at one distance and hence in one block.
    of_block = np.searchsorted([block.end for block in facade.blocks], ahead)
    for index, block in enumerate(facade.blocks):
        chosen = of_block == index
        if block.kind != "gap" and chosen.any():
            _paint_block(canvas, view, facade, block, hits[chosen], ahead[chosen])


def _paint_block(canvas: _Canvas, view: _View, facade: Facade, block: Block, columns: NDArray[np.intp], ahead: _Floats) -> None:
    above_ground = view.camera.height - view.downwards[:, None] * ahead
    top = _block_top(canvas, facade, block, columns)
    inside = (above_ground >= 0) & (above_ground < top)
    touched = np.flatnonzero(inside.any(axis=1))
    if not len(touched):
        return
    down, across = slice(touched[0], touched[-1] + 1), slice(columns[0], columns[-1] + 1)
    rows, inside, above_ground = canvas.rows[down], inside[down], above_ground[down]

    def texture(grain: Grain, scale: float = 1.0) -> _Floats:
        return _texture(grain, rows, columns, facade.texture, scale)

    if block.kind == "building":
        klass, colours = _BUILDING, _masonry(block, above_ground, ahead, texture("fine"), texture("cloud", 0.6))
    elif block.kind == "vegetation":
        klass, colours = _VEGETATION, _foliage(block, texture("coarse"), texture("fine"))
    else:
        klass, colours = _WALL, _slats(block, ahead, texture("cloud", 0.6))
    canvas.rgb[down, across][inside] = facade.brightness * colours[inside]
    canvas.classes[down, across][inside] = klass
    canvas.depth[down, across][inside] = np.broadcast_to(ahead, inside.shape)[inside]


def _block_top(canvas: _Canvas, facade: Facade, block: Block, columns: NDArray[np.intp]) -> _Floats:
    """Return the height in metres up to which a block reaches, (rows or 1, columns): foliage is ragged."""
    if block.kind != "vegetation":
        return np.full((1, len(columns)), block.height, np.float32)
    swell = _texture("coarse", canvas.rows[:1], columns, facade.texture, 0.7)
    fringe = _texture("middle", canvas.rows, columns, facade.texture)
    return block.height + 0.5 * swell + 0.25 * fringe


def _coarsened(length: float, ahead: _Floats) -> float:
    """Return a pattern's length doubled often enough to be seen at this distance, as a mipmap does."""
    return length * max(1.0, 2.0 ** round(math.log2(max(float(ahead.mean()), 4) / 5)))


def _masonry(block: Block, above_ground: _Floats, ahead: _Floats, fine: _Floats, cloud: _Floats) -> _Floats:
    brick = _coarsened(0.28, ahead)
    course = np.floor(above_ground / brick)
    bed_joint = above_ground % brick < 0.2 * brick
    head_joint = (ahead + brick * (course % 2)) % (2 * brick) < 0.25 * brick
    stone = -20 * (bed_joint | head_joint) + 4 * fine + 5 * cloud
    bricks = np.array(block.colour, np.float32) + stone[..., None]

    along, up = ahead % 3.2, above_ground % 3
    window = (along > 1.1) & (along < 2.3) & (up > 1) & (up < 2.3)
    panes = np.array(block.window, np.float32) + 3 * cloud[..., None]
    return np.where(window[..., None], panes, bricks)


def _foliage(block: Block, coarse: _Floats, fine: _Floats) -> _Floats:
    tint = np.array([1, 1.1, 0.7], np.float32)
    return np.array(block.colour, np.float32) + (15 * coarse + 11 * fine)[..., None] * tint


def _slats(block: Block, ahead: _Floats, cloud: _Floats) -> _Floats:
    slat = _coarsened(0.22, ahead)
    relief = 17 * np.sign(np.sin(2 * np.pi * ahead / slat)) + 4 * cloud
    return np.asarray(np.array(block.colour) + relief[..., None], np.float32)


def _paint_thing(canvas: _Canvas, view: _View, thing: Thing, owner: int) -> int:
    """Paint a thing over what is there; return how many canvas pixels of the object to be detected it covers."""
    scale = view.scale(thing.distance)
    foot = view.foot(thing)
    if thing.shadow:
        _paint_shadow(canvas, foot, 1.05 * thing.span * scale)
    materials = thing.materials()
    plan = Image.new("L", (len(canvas.columns), len(canvas.rows)), 0)
    numbers = {name: number for number, name in enumerate(materials, start=1)}
    thing.sketch(Pen(ImageDraw.Draw(plan), numbers, foot, (scale, scale)))
    bounds = plan.getbbox()
    if bounds is None:
        return 0
    left, upper, right, lower = bounds
    parts = np.asarray(plan.crop(bounds))
    inside = parts > 0
    window = (slice(upper, lower), slice(left, right))

    # Counted from the foot, texture and stripes stay on the thing when it moves.
    rows = canvas.rows[upper:lower] - math.floor(foot[1])
    columns = canvas.columns[left:right] - math.floor(foot[0])
    colours = _thing_colours(thing, list(materials.values()), parts, rows, columns, scale)
    klass = np.array([0] + [material.klass for material in materials.values()], np.uint8)
    counted = np.array([False] + [material.counted for material in materials.values()])
    is_object = counted[parts] & (thing.label is not None)
    canvas.rgb[window][inside] = colours[inside]
    canvas.classes[window][inside] = klass[parts][inside]
    canvas.depth[window][inside] = thing.distance
    canvas.owners[window][inside] = np.where(is_object, owner, 0)[inside]
    return int(is_object.sum())


def _thing_colours(
    thing: Thing,
    materials: list[Material],
    parts: NDArray[np.uint8],
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    scale: float,
) -> _Floats:
    """Return the colours (rows, columns, 3) of a plan of part numbers; rows and columns count from the foot."""
    palette = np.array([(0.0, 0.0, 0.0)] + [material.colour for material in materials], np.float32)
    roughness = np.array([0.0] + [material.roughness for material in materials], np.float32)
    relief = roughness[parts] * _texture(thing.grain, rows, columns, thing.texture)
    for number, material in enumerate(materials, start=1):
        if material.stripes is not None:
            relief += (parts == number) * _stripes(material.stripes, rows, columns)
    shade = 1 - 0.36 * np.clip(columns / (thing.span * scale), -0.5, 0.5).astype(np.float32)
    return np.asarray(palette[parts] * shade[:, None] + relief[..., None], np.float32)


def _stripes(stripes: Stripes, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> _Floats:
    along = (rows[:, None] * math.sin(stripes.angle) + columns * math.cos(stripes.angle)) / _OVERSAMPLING
    return (stripes.amplitude * np.sign(np.sin(2 * np.pi * stripes.frequency * along))).astype(np.float32)


def _paint_shadow(canvas: _Canvas, foot: Point, width: float) -> None:
    plan = Image.new("L", (len(canvas.columns), len(canvas.rows)), 0)
    x, y = foot
    half_height = max(2.0, 0.09 * width)
    ImageDraw.Draw(plan).ellipse((x - width / 2, y - half_height, x + width / 2, y + half_height), fill=1)
    bounds = plan.getbbox()
    if bounds is None:
        return
    left, upper, right, lower = bounds
    canvas.rgb[upper:lower, left:right][np.asarray(plan.crop(bounds)) > 0] *= 0.7


# --------------------------------------------------------------------------------------------------------- ground truth


def _read_off(canvas: _Canvas, view: _View, description: Street, painted: NDArray[np.float64]) -> Scene:
    """Reduce a painted canvas to a scene. `painted` is how many pixels of each owner were painted, hidden or not."""
    # One sample a pixel for the truths: classes and depths of different things cannot be averaged.
    sampled = (slice(_OVERSAMPLING // 2, None, _OVERSAMPLING),) * 2
    depth = np.ascontiguousarray(canvas.depth[sampled])
    owners = canvas.owners[sampled]
    kept, boxes = _find_boxes(owners, painted)
    things = [description.things[owner - 1] for owner in kept]
    instance_of = np.zeros(len(painted), np.int16)
    instance_of[kept] = np.arange(1, len(kept) + 1)
    instances = instance_of[owners]
    pixels = np.bincount(instances.ravel(), minlength=len(kept) + 1)
    people = [(number, thing) for number, thing in enumerate(things, start=1) if isinstance(thing, Person)]
    joints = [_find_joints(view, person, depth) for _, person in people]
    return Scene(
        rgb=_expose(canvas, depth, description.light, description.noise_seed),
        classes=np.ascontiguousarray(canvas.classes[sampled]),
        depth=depth,
        instances=instances,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array([thing.label for thing in things], np.int64),
        joints=np.array(joints, np.float32).reshape(-1, len(JOINTS), 3),
        areas=np.array([pixels[number] for number, _ in people], np.float32),
    )


def _find_boxes(owners: NDArray[np.int16], painted: NDArray[np.float64]) -> tuple[list[int], list[tuple[int, int, int, int]]]:
    """Return the owners that show enough of themselves to be instances, and their boxes."""
    visible = np.bincount(owners.ravel(), minlength=len(painted))
    kept: list[int] = []
    boxes: list[tuple[int, int, int, int]] = []
    for owner in range(1, len(painted)):
        if visible[owner] < max(_MIN_VISIBLE_PIXELS, _MIN_VISIBLE_SHARE * painted[owner]):
            continue
        shown = owners == owner
        rows = np.flatnonzero(shown.any(axis=1))
        columns = np.flatnonzero(shown.any(axis=0))
        x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
        if x1 - x0 >= _MIN_BOX_WIDTH and y1 - y0 >= _MIN_BOX_HEIGHT:
            kept.append(owner)
            boxes.append((x0, y0, x1, y1))
    return kept, boxes


def _find_joints(view: _View, person: Person, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (17, 3): x, y, visibility. A joint is hidden where the picture shows something nearer than the person."""
    height, width = depth.shape
    scale = view.scale(person.distance)
    foot_x, foot_y = view.foot(person)
    places = person.joints()
    found = np.zeros((len(JOINTS), 3), np.float32)
    for row, name in enumerate(JOINTS):
        x = (foot_x + places[name][0] * scale) / _OVERSAMPLING
        y = (foot_y - places[name][1] * scale) / _OVERSAMPLING
        if 0 <= x < width and 0 <= y < height:
            hidden = depth[int(y), int(x)] < np.float32(person.distance)
            found[row] = (x, y, 1 if hidden else 2)
    return found


def _expose(canvas: _Canvas, depth: NDArray[np.float32], light: Light, noise_seed: int) -> NDArray[np.uint8]:
    """Return the picture (H, W, 3) as the camera gives it: box-filtered, hazy, unevenly lit, noisy."""
    height, width = depth.shape
    fine = canvas.rgb
    rgb = fine.reshape(height, _OVERSAMPLING, width, _OVERSAMPLING, 3).mean(axis=(1, 3))
    clear = np.exp(-depth / light.haze_distance)[..., None]
    rgb = rgb * clear + light.haze * (1 - clear)
    across = np.linspace(-1, 1, width, dtype=np.float32)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    fall_off = 1 + light.slope[0] * across + light.slope[1] * down
    rgb = rgb * fall_off[..., None] * np.array(light.gain, np.float32)
    rng = np.random.default_rng(noise_seed)
    coloured = rng.standard_normal((height, width, 3), dtype=np.float32)
    grey = rng.standard_normal((height, width, 1), dtype=np.float32)
    rgb = rgb + light.noise * (0.6 * coloured + 0.8 * grey)
    return np.asarray(np.clip(rgb + 0.5, 0, 255), np.uint8)


def street(seed: int, index: int, *, height: int = 96, width: int = 128, mix: Mix = STREET) -> Scene:
    """Return the scene `index` of the data set `seed`.

    Seed and index are at least 0, height and width, in pixels, at least `MIN_SIZE`; a larger picture shows the same street
    in more detail. Raises ValueError for other numbers.
    """
    for name, number in (("seed", seed), ("index", index)):
        if number < 0:
            raise ValueError(f"{name} must be at least 0, not {number}")
    return render(describe(np.random.default_rng([seed, index]), mix), height, width)
