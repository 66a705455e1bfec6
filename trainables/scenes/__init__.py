"""Procedural street scenes: the embedded data sets, with exact ground truth and nothing to download.

`street(seed, index)` returns one image with its class map, depth map, boxes and keypoints. Equal arguments give bit-identical
arrays on one machine, in any order of calls.

A scene is made in two steps. `describe` draws a `Street` from a random generator: camera, sky, ground, facades, things and light,
all plain frozen dataclasses in metres. `render` turns a `Street` into a `Scene`; its only random numbers are the sensor noise,
whose seed is a field of the `Street`. To make a sequence of one place, vary a description with `dataclasses.replace` (a person's
`x` and `pose`, the `noise_seed`) and render each variant; `clips` makes such sequences of people who perform an action.

Classes differ in shape, position and fine texture with a wavelength of a few pixels. Colours are drawn from ranges that overlap on
purpose: networks must depend on the detail that strong compression removes.

To add a kind of thing: in a module like `roadside`, derive a frozen dataclass from `things.Thing` that lists its `materials` and
sketches its outline in metres, and write a `draw_...` function that returns a random one. In `description`, add a range to `Mix`
and a line to `_draw_things`. To make it a detection class, add its name to `OBJECTS` in `vocabulary` and set `label`; to make it a
segmentation class, add its name to `CLASSES` there. Rendering, boxes, depth and occlusion need no change. `Mix` is part of the
fingerprint of the embedded data sets, so a new field changes the names of all their trials.

A module imports only modules that precede it in this list: `vocabulary`, `chance`, `texture`, `things`; `people`, `vehicles`,
`roadside`; `camera`, `ground`, `facades`; `description`; `truths`, `rendering`; `clips`.
"""

from trainables.scenes.description import PEOPLE, STREET, STREET_LEVEL, STREET_WITH_DOGS, Mix, Street, describe
from trainables.scenes.people import Person, Pose, skeleton
from trainables.scenes.rendering import render, street
from trainables.scenes.roadside import Sign
from trainables.scenes.truths import Scene
from trainables.scenes.vocabulary import CLASSES, FAR, IGNORED, JOINTS, OBJECTS

__all__ = [
    "CLASSES",
    "FAR",
    "IGNORED",
    "JOINTS",
    "OBJECTS",
    "PEOPLE",
    "STREET",
    "STREET_LEVEL",
    "STREET_WITH_DOGS",
    "Mix",
    "Person",
    "Pose",
    "Scene",
    "Sign",
    "Street",
    "describe",
    "render",
    "skeleton",
    "street",
]
