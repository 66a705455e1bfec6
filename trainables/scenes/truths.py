"""Scenes, and the extraction of their ground truth from the painted canvas.

To add a kind of ground truth, add a field to `Scene` and fill it in `extract_scene`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.scenes.camera import Canvas, View, expose
from trainables.scenes.description import Street
from trainables.scenes.people import Person
from trainables.scenes.vocabulary import JOINTS, OVERSAMPLING


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An image and its ground truth. Row n of `boxes` and `labels` describes instance n + 1 in `instances`.

    Objects that are too small or too hidden are not instances: fewer than 12 visible pixels, less than a quarter of the part inside
    the image visible, or a box below 4 x 5 pixels. Their pixels keep their class and depth.

    Fields:
        rgb: uint8 (H, W, 3).
        classes: uint8 (H, W), indices into `CLASSES`, or `IGNORED` for dogs.
        depth: float32 (H, W), metres along the camera's forward axis, above 0, at most `FAR`; constant within a thing.
        instances: int16 (H, W), 0 for none.
        boxes: float32 (N, 4), (x0, y0, x1, y1) in pixels with exclusive ends; the tight box of the visible pixels.
        labels: int64 (N,), indices into `OBJECTS`.
        joints: float32 (P, 17, 3), (x, y, visibility) of `JOINTS` for each person in `labels`, in the same order. x and y are in
            pixels; pixel i covers i to i + 1. Visibility is COCO's: 2 visible, 1 hidden by a nearer thing, 0 outside the image
            (then x = y = 0).
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


# Smaller or more hidden objects are not instances, since no network could be expected to find them.
_MIN_VISIBLE_PIXELS = 12
_MIN_VISIBLE_SHARE = 0.25
_MIN_BOX_WIDTH = 4
_MIN_BOX_HEIGHT = 5


def extract_scene(canvas: Canvas, view: View, description: Street, painted: NDArray[np.float64]) -> Scene:
    """Reduce a painted canvas to a scene. `painted` is the number of pixels painted for each owner, visible or hidden."""
    # Ground truth is sampled once per pixel: classes and depths of different things cannot be averaged.
    sampled = (slice(OVERSAMPLING // 2, None, OVERSAMPLING),) * 2
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
        rgb=expose(canvas, depth, description.light, description.noise_seed),
        classes=np.ascontiguousarray(canvas.classes[sampled]),
        depth=depth,
        instances=instances,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array([thing.label for thing in things], np.int64),
        joints=np.array(joints, np.float32).reshape(-1, len(JOINTS), 3),
        areas=np.array([pixels[number] for number, _ in people], np.float32),
    )


def _find_boxes(owners: NDArray[np.int16], painted: NDArray[np.float64]) -> tuple[list[int], list[tuple[int, int, int, int]]]:
    """Return the owners that are large and visible enough to be instances, and their boxes."""
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


def _find_joints(view: View, person: Person, depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (17, 3): x, y, visibility. A joint is hidden where the image shows a thing nearer than the person."""
    height, width = depth.shape
    scale = view.scale(person.distance)
    foot_x, foot_y = view.foot(person)
    places = person.joints()
    found = np.zeros((len(JOINTS), 3), np.float32)
    for row, name in enumerate(JOINTS):
        x = (foot_x + places[name][0] * scale) / OVERSAMPLING
        y = (foot_y - places[name][1] * scale) / OVERSAMPLING
        if 0 <= x < width and 0 <= y < height:
            hidden = depth[int(y), int(x)] < np.float32(person.distance)
            found[row] = (x, y, 1 if hidden else 2)
    return found
