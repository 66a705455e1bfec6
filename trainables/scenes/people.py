"""People: their poses, their clothes and their key points.

To add a way to move, widen what `draw_pose` draws or give `Pose` an angle that `skeleton` heeds.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trainables.scenes.chance import chance, random_hsv
from trainables.scenes.things import Material, Pen, Spot, Stripes, Thing
from trainables.scenes.vocabulary import OBJECTS, PERSON, Colour, Point, Span

_THIGH = _SHIN = 0.43
_UPPER_ARM, _FOREARM = 0.29, 0.26
_ANKLE_HEIGHT = 0.06
_HEAD_RADIUS = 0.125


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
    """A person facing the camera; `stature` is a factor on 1.75 m, `lift` how many metres the feet are above the ground."""

    label: ClassVar[int | None] = OBJECTS.index("person")
    shadow: ClassVar[bool] = True

    pose: Pose
    outfit: Outfit
    stature: float = 1.0
    lift: float = 0.0

    @property
    def span(self) -> float:
        """Width in metres of the trunk with hanging arms."""
        return 0.7 * self.stature

    def joints(self) -> dict[str, Point]:
        """Return metres right of `x` and above the ground of each of `JOINTS`, and of the neck."""
        return {name: (x * self.stature, y * self.stature + self.lift) for name, (x, y) in skeleton(self.pose).items()}

    def materials(self) -> dict[str, Material]:
        """Return skin, shirt, trousers, hair, shoes and eyes."""
        outfit = self.outfit
        return {
            "skin": Material(colour=outfit.skin, roughness=3, klass=PERSON),
            "shirt": Material(colour=outfit.shirt, roughness=9, klass=PERSON, stripes=outfit.stripes),
            "trousers": Material(colour=outfit.trousers, roughness=7, klass=PERSON),
            "hair": Material(colour=outfit.hair, roughness=4, klass=PERSON),
            "shoes": Material(colour=outfit.shoes, roughness=3, klass=PERSON),
            "eyes": Material(colour=(25.0, 20.0, 20.0), roughness=0, klass=PERSON),
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


def draw_person(rng: Generator, spot: Spot) -> Person:
    """Draw the pose, the outfit and the stature of a person."""
    return Person(
        **dataclasses.asdict(spot),
        pose=draw_pose(rng),
        outfit=draw_outfit(rng),
        stature=rng.uniform(0.85, 1.1),
    )


def draw_pose(rng: Generator) -> Pose:
    """Draw the pose of somebody standing, walking or gesturing."""

    def either(bold: Span, calm: Span) -> float:
        return rng.uniform(*(bold if chance(rng, 0.5) else calm))

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
        crouch=rng.uniform(0, 0.3) if chance(rng, 0.1) else 0.0,
    )


def draw_outfit(rng: Generator) -> Outfit:
    """Draw a person's colours; three shirts in five are striped."""

    def cloth(strength: float = 1.0) -> Colour:
        return random_hsv(rng, (0, 1), (0.1, 0.75), (0.2 * strength, 0.95 * strength))

    stripes = Stripes(amplitude=14, frequency=rng.uniform(0.16, 0.3), angle=rng.uniform(0, math.pi))
    return Outfit(
        skin=random_hsv(rng, (0.03, 0.09), (0.25, 0.6), (0.35, 0.95)),
        shirt=cloth(),
        trousers=cloth(),
        hair=random_hsv(rng, (0, 0.15), (0.5, 0.5), (0.08, 0.5)),
        shoes=cloth(0.5),
        stripes=stripes if chance(rng, 0.6) else None,
    )
