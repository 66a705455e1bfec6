"""Clips: a street in which a person does something, and the camera is not quite still.

`clip(seed, index)` gives the frames of one, `action_of(index)` the number of its action. The motion tells the actions apart; a
still shows little of it, as arms that have nothing to do are held anywhere. What a still does show is the ground: as sports have
their courts, each action is usually, not always, done on one of `GROUNDS`, a pattern of fine stripes that strong compression takes
away.

To add an action, append its name to `ACTIONS`, its ground to `GROUNDS`, and describe one frame of it in `_act`.
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
"""What the person in front does."""

GROUNDS: tuple[Stripes, ...] = tuple(
    Stripes(amplitude=12, frequency=frequency, angle=quarter * math.pi / 4) for frequency in (0.15, 0.24) for quarter in range(4)
)
"""The pattern that each of `ACTIONS` is usually done on."""

_USUAL = 0.75
"""How often an action is done on its own ground; else on any."""
_LENGTH = 16
"""Frames."""
_DISTANCE: Span = (2.7, 3.6)
_PASSERS_BY_DISTANCE: Span = (6.0, 9.0)
_PLACE = Mix(cars=(0, 1), trucks=(0, 0), people=(0, 0), signs=(0, 1), poles=(0, 1), trees=(0, 1), distance=(10.0, 18.0))


@dataclass(frozen=True, kw_only=True)
class Clip:
    """All that `render_clip` needs to know.

    Fields:
        place: what stays as it is; its noise is that of the first frame.
        people: those of each frame.
        shake: how many pixels right and down of its place the camera is, in each frame.
    """

    place: Street
    people: tuple[tuple[Person, ...], ...]
    shake: tuple[Point, ...]


def clip(seed: int, index: int, *, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    """Return the frames (16, H, W, 3) of clip `index` of the data set `seed`."""
    return render_clip(describe_clip(np.random.default_rng([seed, index]), action_of(index)), height, width)


def action_of(index: int) -> int:
    """Return the action of clip `index`, an index into `ACTIONS`: they take turns."""
    return index % len(ACTIONS)


def describe_clip(rng: Generator, action: int) -> Clip:
    """Draw a place, the person who acts in it, somebody in the background in half of the clips, and the camera's shake."""
    place = describe(rng, _PLACE)
    pattern = GROUNDS[action if chance(rng, _USUAL) else rng.integers(len(GROUNDS))]
    place = dataclasses.replace(place, ground=dataclasses.replace(place.ground, pattern=pattern))
    people = [_draw_performance(rng, place, action, _DISTANCE, beside=0.18)]
    if chance(rng, 0.5):
        people.append(_draw_performance(rng, place, int(rng.integers(len(ACTIONS))), _PASSERS_BY_DISTANCE, beside=0.4))
    steps = rng.normal(0, 0.25, (_LENGTH, 2)).cumsum(axis=0).clip(-4, 4)
    return Clip(place=place, people=tuple(zip(*people, strict=True)), shake=tuple((x, y) for x, y in steps.tolist()))


def _draw_performance(rng: Generator, place: Street, action: int, distance: Span, *, beside: float) -> list[Person]:
    """Draw somebody and return each frame's description; `beside` is how far off the middle, in picture widths, at most."""
    away = rng.uniform(*distance)
    left, right = place.camera.view_ends(away)
    x = (left + right) / 2 + rng.uniform(-beside, beside) * (right - left)
    person = draw_person(rng, Spot(x=x, distance=away, texture=random_texture(rng)))
    # Hips and knees as of somebody standing: bent legs would show in a still which actions need them.
    upright = dataclasses.replace(person.pose, left_hip=0.08, right_hip=0.08, left_knee=0.0, right_knee=0.0, crouch=0.0)
    person = dataclasses.replace(person, pose=upright)
    start, turn, speed = rng.uniform(0, 2 * math.pi), 2 * math.pi * rng.uniform(0.06, 0.1), rng.uniform(0.05, 0.09)
    frames = range(_LENGTH)
    return [_act(ACTIONS[action], person, start + turn * frame, speed * (frame - _LENGTH / 2)) for frame in frames]


def _act(action: str, person: Person, phase: float, way: float) -> Person:
    """Return somebody at one moment of an action: `phase` of what repeats, in radians; `way` in metres from the middle."""
    pose, swing = person.pose, math.sin(phase)
    strides = dataclasses.replace(pose, left_hip=0.4 * swing, right_hip=0.4 * swing)
    if action == "walk_left":
        return dataclasses.replace(person, pose=strides, x=person.x - way)
    if action == "walk_right":
        return dataclasses.replace(person, pose=strides, x=person.x + way)
    if action == "approach":
        return dataclasses.replace(person, pose=strides, distance=person.distance - way)
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
    """Paint the frames (T, H, W, 3). Of one without shake, each is what `render` makes of the place and its people.

    What no frame changes is painted once: people are drawn over what is behind all of them.
    """
    behind = Canvas(height, width)
    place = description.place
    view = View(place.camera, behind)
    paint_surroundings(behind, view, place)
    reach = max((person.distance for people in description.people for person in people), default=0.0)
    far, near = ([thing for thing in place.things if (thing.distance > reach) is beyond] for beyond in (True, False))
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
    """Return what a camera sees that moved by some pixels, the picture mirrored at its edges."""
    right, down = (OVERSAMPLING * part for part in shift)
    moved = cv2.warpAffine(
        surface,
        np.array([[1, 0, -right], [0, 1, -down]], np.float64),
        (surface.shape[1], surface.shape[0]),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(moved, np.float32)
