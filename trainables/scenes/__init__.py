"""Street scenes drawn by program: the embedded data set, with exact ground truths and nothing to download.

`street(seed, index)` gives one picture with its class map, depth map, boxes and key points. The same arguments give
bit-identical arrays on one machine, in whatever order the scenes are asked for.

It works in two halves. `describe` draws a `Street` from a random generator: camera, sky, ground, facades, things,
light, all plain frozen dataclasses in metres. `render` turns a `Street` into a `Scene` and draws nothing at random beyond
the sensor noise, whose seed is part of the description. A sequence of one place is therefore a sequence of descriptions
made with `dataclasses.replace` (a person with another `x` and `pose`, another `noise_seed`), each of them rendered; `clips` makes
such sequences of people who do something.

The classes are told apart by shape, by place and by fine texture of a few pixels' wavelength. Colours are drawn from
ranges that overlap on purpose: what strong compression takes away must be something that a network needs.

To add a kind of thing: in a module like `roadside`, derive a frozen dataclass from `things.Thing` that names its `materials`
and sketches its outline in metres, and write a `draw_...` function that makes one at random. In `description`, give it a
number range in `Mix` and a line in `_draw_things`. If it is to be detected, add its name to `OBJECTS` in `vocabulary` and
set `label`; if it is a class of its own, add its name to `CLASSES` there. Rendering, boxes, depth and occlusion follow.

A module imports only those before it: `vocabulary`, `chance`, `texture`; `things`, and its kinds in `people`, `vehicles` and
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
