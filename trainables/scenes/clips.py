"""Clips of a person who performs an action in a street, filmed by a slightly shaking camera.

`clip(seed, index)` returns the frames of a clip, `action_of(index)` the number of its action. Actions differ in motion. A still
reveals little of it, since arms that take no part in the action are held at random. A still does show the ground: as each sport has
its court, each action usually, but not always, takes place on one of `GROUNDS`, a pattern of fine stripes that strong compression
removes.

To add an action, append its name to `ACTIONS` and its ground to `GROUNDS`, and describe one frame of it in `_act`.
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trainables.scenes.camera import Canvas, View, expose
from trainables.scenes.chance import chance
from trainables.scenes.description import Mix, Street, describe
from trainables.scenes.people import Person, Pose, draw_person
from trainables.scenes.rendering import paint_surroundings, paint_thing
from trainables.scenes.texture import random_texture
from trainables.scenes.things import Spot, Stripes
from trainables.scenes.vocabulary import OVERSAMPLING, Point, Span

ACTIONS: tuple[str, ...] = ("walk_left", "walk_right", "wave", "raise_arms", "jump", "squat", "approach", "sway")
"""Actions of the person in front, by class number."""

GROUNDS: tuple[Stripes, ...] = tuple(
    Stripes(amplitude=12, frequency=frequency, angle=quarter * math.pi / 4) for frequency in (0.15, 0.24) for quarter in range(4)
)
"""The usual ground pattern of each of `ACTIONS`."""

_USUAL = 0.75
"""Probability that an action takes place on its usual ground; otherwise the ground is drawn from all."""
_LENGTH = 16
"""Frames per clip."""
_DISTANCE: Span = (2.7, 3.6)
_PASSERS_BY_DISTANCE: Span = (6.0, 9.0)
_PLACE = Mix(cars=(0, 1), trucks=(0, 0), people=(0, 0), signs=(0, 1), poles=(0, 1), trees=(0, 1), distance=(10.0, 18.0))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """The full input of `render_clip`.

    Fields:
        place: the street without the people; its noise seed is that of the first frame.
        people: the people in each frame.
        shake: displacement of the camera in each frame, in pixels to the right and down.
    """

    place: Street
    people: tuple[tuple[Person, ...], ...]
    shake: tuple[Point, ...]


def clip(seed: int, index: int, *, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """Return the frames (16, H, W, 3) of clip `index` of the data set `seed`."""
    return render_clip(describe_clip(np.random.default_rng([seed, index]), action_of(index)), height, width)


def action_of(index: int) -> int:
    """Return the action of clip `index`, as an index into `ACTIONS`: `index` modulo their number."""
    return index % len(ACTIONS)


def describe_clip(rng: Generator, action: int) -> Clip:
    """Draw a place, the acting person, a second person in the background in half of the clips, and the camera's shake."""
    place = describe(rng, _PLACE)
    pattern = GROUNDS[action if chance(rng, _USUAL) else rng.integers(len(GROUNDS))]
    place = dataclasses.replace(place, ground=dataclasses.replace(place.ground, pattern=pattern))
    people = [_draw_performance(rng, place, action, _DISTANCE, off_centre=0.18)]
    if chance(rng, 0.5):
        people.append(_draw_performance(rng, place, int(rng.integers(len(ACTIONS))), _PASSERS_BY_DISTANCE, off_centre=0.4))
    steps = rng.normal(0, 0.25, (_LENGTH, 2)).cumsum(axis=0).clip(-4, 4)
    return Clip(place=place, people=tuple(zip(*people, strict=True)), shake=tuple((x, y) for x, y in steps.tolist()))


def _draw_performance(rng: Generator, place: Street, action: int, distance: Span, *, off_centre: float) -> list[Person]:
    """Draw a person and return their description in each frame, at most `off_centre` image widths from the centre."""
    metres = rng.uniform(*distance)
    left, right = place.camera.view_ends(metres)
    x = (left + right) / 2 + rng.uniform(-off_centre, off_centre) * (right - left)
    person = draw_person(rng, Spot(x=x, distance=metres, texture=random_texture(rng)))
    # Straight legs for every action: bent legs in a still would reveal the actions that need them.
    upright = dataclasses.replace(person.pose, left_hip=0.08, right_hip=0.08, left_knee=0.0, right_knee=0.0, crouch=0.0)
    person = dataclasses.replace(person, pose=upright)
    start, turn, speed = rng.uniform(0, 2 * math.pi), 2 * math.pi * rng.uniform(0.06, 0.1), rng.uniform(0.05, 0.09)
    frames = range(_LENGTH)
    return [_act(ACTIONS[action], person, start + turn * frame, speed * (frame - _LENGTH / 2)) for frame in frames]


def _act(action: str, person: Person, phase: float, walked: float) -> Person:
    """Return a person at one moment of an action: `phase` of periodic motion in radians, `walked` metres from the midpoint."""
    pose, swing = person.pose, math.sin(phase)
    strides = dataclasses.replace(pose, left_hip=0.4 * swing, right_hip=0.4 * swing)
    if action == "walk_left":
        return dataclasses.replace(person, pose=strides, x=person.x - walked)
    if action == "walk_right":
        return dataclasses.replace(person, pose=strides, x=person.x + walked)
    if action == "approach":
        return dataclasses.replace(person, pose=strides, distance=person.distance - walked)
    if action == "jump":
        return dataclasses.replace(person, lift=0.35 * abs(swing))
    moves: dict[str, Pose] = {
        "wave": dataclasses.replace(pose, right_shoulder=1.9 + 0.8 * math.sin(2 * phase), right_elbow=0.3),
        "raise_arms": dataclasses.replace(pose, left_shoulder=1.4 + 1.3 * swing, right_shoulder=1.4 + 1.3 * swing),
        "squat": dataclasses.replace(pose, crouch=0.2 * (1 + swing)),
        "sway": dataclasses.replace(pose, lean=0.35 * swing),
    }
    return dataclasses.replace(person, pose=moves[action])


def render_clip(description: Clip, height: int, width: int) -> NDArray[np.uint8]:
    """Paint the frames (T, H, W, 3). Without shake, each frame equals `render` of the place with that frame's people.

    Everything behind all people is painted once and reused for each frame.
    """
    behind = Canvas(height, width)
    place = description.place
    view = View(place.camera, behind)
    paint_surroundings(behind, view, place)
    farthest = max((person.distance for people in description.people for person in people), default=0.0)
    far, near = ([thing for thing in place.things if (thing.distance > farthest) is beyond] for beyond in (True, False))
    for thing in sorted(far, key=lambda thing: -thing.distance):
        paint_thing(behind, view, thing, 0)
    frames = []
    for people, shift, noise in zip(description.people, description.shake, itertools.count(place.noise_seed), strict=False):
        canvas = Canvas(height, width)
        canvas.rgb[:], canvas.depth[:] = behind.rgb, behind.depth
        for thing in sorted([*near, *people], key=lambda thing: -thing.distance):
            paint_thing(canvas, view, thing, 0)
        canvas.rgb, canvas.depth = _shifted(canvas.rgb, shift), _shifted(canvas.depth, shift)
        sampled = canvas.depth[OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING]
        frames.append(expose(canvas, sampled, place.light, noise))
    return np.stack(frames)


def _shifted(surface: NDArray[np.float32], shift: Point) -> NDArray[np.float32]:
    """Return the surface seen by a camera displaced by `shift` pixels; the image is mirrored at its edges."""
    right, down = (OVERSAMPLING * part for part in shift)
    moved = cv2.warpAffine(
        surface,
        np.array([[1, 0, -right], [0, 1, -down]], np.float64),
        (surface.shape[1], surface.shape[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(moved, np.float32)
