"""The sky and the ground.

To add a surface, add its colour to `Ground` and paint it in `paint_ground`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from trainables.scenes.camera import Canvas, View
from trainables.scenes.chance import random_hsv, shifted
from trainables.scenes.texture import Grain, random_texture, sample_texture
from trainables.scenes.things import Stripes
from trainables.scenes.vocabulary import FAR, ROAD, SIDEWALK, TERRAIN, Colour, Floats


@dataclass(frozen=True, kw_only=True)
class Sky:
    """The sky, which pales towards the horizon.

    Fields:
        colour: colour at the top edge.
        texture: row and column in the texture bank at which its clouds start.
    """

    colour: Colour
    texture: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """A road along the line of sight, a sidewalk on both sides, and terrain beyond.

    Fields:
        road_edge: metres from the road's middle to its edge.
        sidewalk_edge: metres from the road's middle to the outer edge of the sidewalk.
        road, sidewalk, terrain: colours.
        texture: row and column in the texture bank.
        pattern: stripes on road and sidewalk, on top of the texture.
    """

    road_edge: float
    sidewalk_edge: float
    road: Colour
    sidewalk: Colour
    terrain: Colour
    texture: tuple[int, int]
    pattern: Stripes | None = None


def draw_ground(rng: Generator) -> Ground:
    """Draw the widths and the colours of road, sidewalk and terrain."""
    road_edge = rng.uniform(2.8, 5)
    red, green, blue = shifted(rng, rng.uniform(70, 140), 6)
    # Paving has almost the road's grey: networks must recognise it by its joints, not by its colour.
    more_red, more_green, more_blue = shifted(rng, rng.uniform(-12, 35), 5)
    return Ground(
        road_edge=road_edge,
        sidewalk_edge=road_edge + rng.uniform(1.5, 3.5),
        road=(red, green, blue),
        sidewalk=(red + more_red, green + more_green, blue + more_blue),
        terrain=random_hsv(rng, (0.14, 0.34), (0.15, 0.5), (0.3, 0.6)),
        texture=random_texture(rng),
    )


def paint_sky(canvas: Canvas, view: View, sky: Sky) -> None:
    """Fill the canvas with sky."""
    colour = np.array(sky.colour, np.float32)
    paleness = 0.5 * np.clip(canvas.rows / view.horizon, 0, 1)[:, None, None].astype(np.float32)
    clouds = sample_texture("cloud", canvas.rows, canvas.columns, sky.texture, 0.5)[..., None]
    canvas.rgb[:] = colour + (235 - colour) * paleness + 7 * clouds


def paint_ground(canvas: Canvas, view: View, ground: Ground) -> None:
    """Paint road, sidewalk and terrain up to `FAR`."""
    first = int(np.searchsorted(view.downwards, view.camera.height / FAR, side="right"))
    rows = canvas.rows[first:]
    ahead = view.camera.height / view.downwards[first:, None]
    beside = view.rightwards * ahead
    off_middle = np.abs(beside)

    def texture(grain: Grain, scale: float = 1.0) -> Floats:
        return sample_texture(grain, rows, canvas.columns, ground.texture, scale)

    clouds = texture("cloud", 0.6)
    on_road = off_middle < ground.road_edge
    on_sidewalk = ~on_road & (off_middle < ground.sidewalk_edge)

    asphalt = np.array(ground.road, np.float32) + (8 * texture("fine") + 6 * clouds)[..., None]
    edge_line = np.abs(off_middle - ground.road_edge + 0.25) < 0.07
    middle_line = (off_middle < 0.08) & (ahead % 6 < 3)
    asphalt = np.where((edge_line | middle_line)[..., None], 0.3 * asphalt + 150, asphalt)

    # Joints fade with distance: narrower than a pixel, they would cause moire.
    joints = ((beside % 0.9 < 0.09) | (ahead % 0.9 < 0.12)) * np.exp(-ahead / 12)
    paving = np.array(ground.sidewalk, np.float32) + (5 * clouds + 4 * texture("middle") - 16 * joints)[..., None]

    if ground.pattern is not None:
        relief = ground.pattern.relief(rows, canvas.columns)[..., None]
        asphalt, paving = asphalt + relief, paving + relief

    tint = np.array([1, 1, 0.7], np.float32)
    grass = np.array(ground.terrain, np.float32) + (15 * texture("blades") + 6 * clouds)[..., None] * tint

    canvas.rgb[first:] = np.where(on_road[..., None], asphalt, np.where(on_sidewalk[..., None], paving, grass))
    canvas.classes[first:] = np.where(on_road, ROAD, np.where(on_sidewalk, SIDEWALK, TERRAIN))
    canvas.depth[first:] = ahead
