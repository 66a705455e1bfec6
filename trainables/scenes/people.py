"""People: poses, clothes and keypoints.

To add a movement, widen a range in `draw_pose`, or add an angle to `Pose` and use it in `skeleton`.
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
    """Joint angles in radians of a body seen from the front.

    A limb that hangs down has angle 0, a limb that points up has angle pi; angles grow outwards. Angles of elbows and knees add
    to the angle of the upper arm or thigh.

    Fields:
        left_shoulder, right_shoulder, left_elbow, right_elbow, left_hip, right_hip, left_knee, right_knee: angles.
        lean: angle of the trunk, towards the right of the image.
        breadth: visible share of the shoulders' width: 1 from the front, near 0 from the side.
        crouch: metres, 0 to 0.8, by which bent knees lower the hips when hip and knee angles are 0.
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
    """Colours of a person, and the stripes of the shirt."""

    skin: Colour
    shirt: Colour
    trousers: Colour
    hair: Colour
    shoes: Colour
    stripes: Stripes | None


def skeleton(pose: Pose) -> dict[str, Point]:
    """Return the positions of `JOINTS` and of the neck for a person of 1.75 m, as metres (right of the hips, above the ground)."""
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
    for side, sign, shoulder, elbow, hip, knee in limbs:
        outwards = sign * pose.breadth * right
        places[f"{side}_eye"] = nose + 0.036 * outwards + 0.04 * up
        places[f"{side}_ear"] = nose + 0.08 * outwards + 0.015 * up
        places[f"{side}_shoulder"] = neck + 0.2 * outwards - 0.02 * up
        places[f"{side}_hip"] = hips + 0.11 * outwards
        places[f"{side}_elbow"] = places[f"{side}_shoulder"] + _UPPER_ARM * _direction(shoulder, sign)
        places[f"{side}_wrist"] = places[f"{side}_elbow"] + _FOREARM * _direction(shoulder + elbow, sign)
        places[f"{side}_knee"] = places[f"{side}_hip"] + _THIGH * _direction(hip + bend, sign)
        places[f"{side}_ankle"] = places[f"{side}_knee"] + _SHIN * _direction(hip + knee - bend, sign)
    # Lower the body until the lower foot stands on the ground.
    sink = min(places["left_ankle"][1], places["right_ankle"][1]) - _ANKLE_HEIGHT
    return {name: (float(x), float(y - sink)) for name, (x, y) in places.items()}


def _direction(angle: float, sign: int) -> NDArray[np.float64]:
    return np.array([sign * math.sin(angle), -math.cos(angle)])


@dataclass(frozen=True, kw_only=True)
class Person(Thing):
    """A person facing the camera. `stature` is a factor on 1.75 m; `lift` is the height of the feet above the ground in metres."""

    label: ClassVar[int | None] = OBJECTS.index("person")
    shadow: ClassVar[bool] = True

    pose: Pose
    outfit: Outfit
    stature: float = 1.0
    lift: float = 0.0

    @property
    def span(self) -> float:
        """Width of the trunk with hanging arms, in metres."""
        return 0.7 * self.stature

    def joints(self) -> dict[str, Point]:
        """Return the positions of `JOINTS` and of the neck, as metres (right of `x`, above the ground)."""
        return {name: (x * self.stature, y * self.stature + self.lift) for name, (x, y) in skeleton(self.pose).items()}

    def materials(self) -> dict[str, Material]:
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
        # A disc is at least one pixel wide, so the eyes of a distant person would cover the face.
        if pen.resolves(0.15 * radius):
            for side in ("left", "right"):
                pen.disc("eyes", at[f"{side}_eye"], 0.12 * radius)


def draw_person(rng: Generator, spot: Spot) -> Person:
    """Draw a person with random pose, outfit and stature."""
    return Person(
        **dataclasses.asdict(spot),
        pose=draw_pose(rng),
        outfit=draw_outfit(rng),
        stature=rng.uniform(0.85, 1.1),
    )


def draw_pose(rng: Generator) -> Pose:
    """Draw the pose of a person who stands, walks or gestures."""

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
    """Draw the colours of a person; 60 % of the shirts are striped."""

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
