"""Painting a description, far to near: the sky, the ground, the facades, the things.

To add something that surrounds the things, call its painter in `paint_surroundings`.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trainables.scenes.camera import Canvas, View
from trainables.scenes.description import STREET, Mix, Street, describe
from trainables.scenes.facades import paint_facade
from trainables.scenes.ground import paint_ground, paint_sky
from trainables.scenes.texture import sample_texture
from trainables.scenes.things import Material, Pen, Thing
from trainables.scenes.truths import Scene, read_off
from trainables.scenes.vocabulary import OVERSAMPLING, Floats, Point

MIN_SIZE = 32
"""Pixels; smaller pictures are refused."""


def street(seed: int, index: int, *, height: int = 96, width: int = 128, mix: Mix = STREET) -> Scene:
    """Return the scene `index` of the data set `seed`.

    Seed and index are at least 0, height and width, in pixels, at least `MIN_SIZE`; a larger picture shows the same street
    in more detail. Raises ValueError for other numbers.
    """
    for name, number in (("seed", seed), ("index", index)):
        if number < 0:
            raise ValueError(f"{name} must be at least 0, not {number}")
    return render(describe(np.random.default_rng([seed, index]), mix), height, width)


def render(description: Street, height: int, width: int) -> Scene:
    """Paint a description, far to near, and read its ground truths off the painting.

    Raises ValueError if height or width, in pixels, is less than `MIN_SIZE`.
    """
    for name, size in (("height", height), ("width", width)):
        if size < MIN_SIZE:
            raise ValueError(f"{name} must be at least {MIN_SIZE} pixels, not {size}")
    canvas = Canvas(height, width)
    view = View(description.camera, canvas)
    paint_surroundings(canvas, view, description)
    things = description.things
    painted = np.zeros(len(things) + 1)
    for index in sorted(range(len(things)), key=lambda index: -things[index].distance):
        painted[index + 1] = paint_thing(canvas, view, things[index], index + 1) / OVERSAMPLING**2
    return read_off(canvas, view, description, painted)


def paint_surroundings(canvas: Canvas, view: View, description: Street) -> None:
    """Paint what the things stand before and on."""
    paint_sky(canvas, view, description.sky)
    paint_ground(canvas, view, description.ground)
    for facade in description.facades:
        paint_facade(canvas, view, facade)


def paint_thing(canvas: Canvas, view: View, thing: Thing, owner: int) -> int:
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
) -> Floats:
    """Return the colours (rows, columns, 3) of a plan of part numbers; rows and columns count from the foot."""
    palette = np.array([(0.0, 0.0, 0.0)] + [material.colour for material in materials], np.float32)
    roughness = np.array([0.0] + [material.roughness for material in materials], np.float32)
    relief = roughness[parts] * sample_texture(thing.grain, rows, columns, thing.texture)
    for number, material in enumerate(materials, start=1):
        if material.stripes is not None:
            relief += (parts == number) * material.stripes.relief(rows, columns)
    shade = 1 - 0.36 * np.clip(columns / (thing.span * scale), -0.5, 0.5).astype(np.float32)
    return np.asarray(palette[parts] * shade[:, None] + relief[..., None], np.float32)


def _paint_shadow(canvas: Canvas, foot: Point, width: float) -> None:
    plan = Image.new("L", (len(canvas.columns), len(canvas.rows)), 0)
    x, y = foot
    half_height = max(2.0, 0.09 * width)
    ImageDraw.Draw(plan).ellipse((x - width / 2, y - half_height, x + width / 2, y + half_height), fill=1)
    bounds = plan.getbbox()
    if bounds is None:
        return
    left, upper, right, lower = bounds
    canvas.rgb[upper:lower, left:right][np.asarray(plan.crop(bounds)) > 0] *= 0.7
