"""Renders a description from far to near: sky, ground, facades, things.

To add a surface behind the things, paint it in `paint_surroundings`.
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
from trainables.scenes.truths import Scene, extract_scene
from trainables.scenes.vocabulary import OVERSAMPLING, Floats, Point

MIN_SIZE = 32
"""Smallest height and width of an image in pixels."""


def street(seed: int, index: int, *, height: int = 96, width: int = 128, mix: Mix = STREET) -> Scene:
    """Return the scene `index` of the data set `seed`. A larger image shows the same street in more detail.

    Raises ValueError for a negative seed or index, and for a height or width below `MIN_SIZE` pixels.
    """
    for name, number in (("seed", seed), ("index", index)):
        if number < 0:
            raise ValueError(f"{name} must be at least 0, got {number}")
    return render(describe(np.random.default_rng([seed, index]), mix), height, width)


def render(description: Street, height: int, width: int) -> Scene:
    """Paint a description and extract its ground truth.

    Raises ValueError for a height or width below `MIN_SIZE` pixels.
    """
    for name, size in (("height", height), ("width", width)):
        if size < MIN_SIZE:
            raise ValueError(f"{name} must be at least {MIN_SIZE} pixels, got {size}")
    canvas = Canvas(height, width)
    view = View(description.camera, canvas)
    paint_surroundings(canvas, view, description)
    things = description.things
    painted = np.zeros(len(things) + 1)
    for index in sorted(range(len(things)), key=lambda index: -things[index].distance):
        painted[index + 1] = paint_thing(canvas, view, things[index], index + 1) / OVERSAMPLING**2
    return extract_scene(canvas, view, description, painted)


def paint_surroundings(canvas: Canvas, view: View, description: Street) -> None:
    """Paint sky, ground and facades."""
    paint_sky(canvas, view, description.sky)
    paint_ground(canvas, view, description.ground)
    for facade in description.facades:
        paint_facade(canvas, view, facade)


def paint_thing(canvas: Canvas, view: View, thing: Thing, owner: int) -> int:
    """Paint a thing over the canvas; return the number of canvas pixels that belong to a detectable object."""
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

    # Coordinates relative to the foot keep texture and stripes fixed to a moving thing.
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
    """Return the colours (rows, columns, 3) for an array of part numbers; coordinates are relative to the foot."""
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
