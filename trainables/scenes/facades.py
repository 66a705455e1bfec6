"""The facades along the street: buildings, vegetation and walls.

To add a kind of block, name it in `BlockKind`, draw it in `_draw_block`, and paint it in `_paint_block`.
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trainables.scenes.camera import Canvas, View
from trainables.scenes.chance import chance, draw_leaves, random_hsv
from trainables.scenes.texture import Grain, random_texture, sample_texture
from trainables.scenes.vocabulary import BUILDING, FAR, VEGETATION, WALL, Colour, Floats, Span

BlockKind: TypeAlias = Literal["building", "vegetation", "wall", "gap"]
"""Kind of block along a section of the street; a gap is empty."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One section of a facade.

    Fields:
        kind: a building, vegetation (a hedge or a row of trees), a wall of slats, or a gap.
        end: distance from the camera at which the section ends, in metres; it starts where the section before it ends.
        height: metres.
        colour: colour of the material.
        window: colour of the windows; only buildings have windows.
    """

    kind: BlockKind
    end: float
    height: float
    colour: Colour
    window: Colour


@dataclass(frozen=True, kw_only=True)
class Facade:
    """All blocks on one side of the street, in one plane parallel to it.

    Fields:
        side: -1 left, 1 right.
        offset: distance from the road's middle in metres, above 0.
        blocks: nearest first.
        brightness: factor on the colours; one side of a street is often in shade.
        texture: row and column in the texture bank.
    """

    side: Literal[-1, 1]
    offset: float
    blocks: tuple[Block, ...]
    brightness: float
    texture: tuple[int, int]


def draw_facade(rng: Generator, side: Literal[-1, 1], sidewalk_edge: float) -> Facade:
    """Draw blocks up to `FAR` metres away, beyond the outer edge of the sidewalk."""
    blocks: list[Block] = []
    end = 0.0
    while end < FAR:
        end += rng.uniform(4, 14)
        blocks.append(_draw_block(rng, end))
    return Facade(
        side=side,
        offset=sidewalk_edge + rng.uniform(0, 4),
        blocks=tuple(blocks),
        brightness=1 - 0.25 * rng.random() if side > 0 else 1.0,
        texture=random_texture(rng),
    )


def _draw_block(rng: Generator, end: float) -> Block:
    kinds: tuple[BlockKind, ...] = ("building", "vegetation", "wall", "gap")
    kind = kinds[rng.choice(len(kinds), p=(0.42, 0.26, 0.24, 0.08))]
    height, colour = 0.0, (0.0, 0.0, 0.0)
    if kind == "building":
        height = rng.uniform(4, 14)
        hue: Span = (0, 0.13) if chance(rng, 0.8) else (0.5, 0.65)
        colour = random_hsv(rng, hue, (0.05, 0.45), (0.35, 0.85))
    elif kind == "vegetation":
        height = rng.uniform(2.5, 8)
        colour = draw_leaves(rng)
    elif kind == "wall":
        height = rng.uniform(1.2, 2.8)
        colour = random_hsv(rng, (0, 0.15), (0, 0.35), (0.35, 0.75))
    grey = rng.uniform(30, 90)
    return Block(kind=kind, end=end, height=height, colour=colour, window=(grey, grey + 4, grey + 10))


def paint_facade(canvas: Canvas, view: View, facade: Facade) -> None:
    """Paint the blocks of one side that are in view."""
    slopes = facade.side * view.rightwards
    hits = np.flatnonzero(slopes * FAR > facade.offset)
    ahead = facade.offset / slopes[hits]
    # The plane is parallel to the line of sight, so a column meets it at one distance and in one block.
    of_block = np.searchsorted([block.end for block in facade.blocks], ahead)
    for index, block in enumerate(facade.blocks):
        chosen = of_block == index
        if block.kind != "gap" and chosen.any():
            _paint_block(canvas, view, facade, block, hits[chosen], ahead[chosen])


def _paint_block(canvas: Canvas, view: View, facade: Facade, block: Block, columns: NDArray[np.intp], ahead: Floats) -> None:
    above_ground = view.camera.height - view.downwards[:, None] * ahead
    top = _block_top(canvas, facade, block, columns)
    inside = (above_ground >= 0) & (above_ground < top)
    touched = np.flatnonzero(inside.any(axis=1))
    if not len(touched):
        return
    down, across = slice(touched[0], touched[-1] + 1), slice(columns[0], columns[-1] + 1)
    rows, inside, above_ground = canvas.rows[down], inside[down], above_ground[down]

    def texture(grain: Grain, scale: float = 1.0) -> Floats:
        return sample_texture(grain, rows, columns, facade.texture, scale)

    if block.kind == "building":
        klass, colours = BUILDING, _masonry(block, above_ground, ahead, texture("fine"), texture("cloud", 0.6))
    elif block.kind == "vegetation":
        klass, colours = VEGETATION, _foliage(block, texture("coarse"), texture("fine"))
    else:
        klass, colours = WALL, _slats(block, ahead, texture("cloud", 0.6))
    canvas.rgb[down, across][inside] = facade.brightness * colours[inside]
    canvas.classes[down, across][inside] = klass
    canvas.depth[down, across][inside] = np.broadcast_to(ahead, inside.shape)[inside]


def _block_top(canvas: Canvas, facade: Facade, block: Block, columns: NDArray[np.intp]) -> Floats:
    """Return the upper edge of a block in metres, (rows or 1, columns); foliage has a ragged edge."""
    if block.kind != "vegetation":
        return np.full((1, len(columns)), block.height, np.float32)
    swell = sample_texture("coarse", canvas.rows[:1], columns, facade.texture, 0.7)
    fringe = sample_texture("middle", canvas.rows, columns, facade.texture)
    return block.height + 0.5 * swell + 0.25 * fringe


def _coarsened(length: float, ahead: Floats) -> float:
    """Return a pattern's length in metres, doubled as often as needed to stay visible at this distance, as in a mipmap."""
    return length * max(1.0, 2.0 ** round(math.log2(max(float(ahead.mean()), 4) / 5)))


def _masonry(block: Block, above_ground: Floats, ahead: Floats, fine: Floats, cloud: Floats) -> Floats:
    brick = _coarsened(0.28, ahead)
    course = np.floor(above_ground / brick)
    bed_joint = above_ground % brick < 0.2 * brick
    head_joint = (ahead + brick * (course % 2)) % (2 * brick) < 0.25 * brick
    stone = -20 * (bed_joint | head_joint) + 4 * fine + 5 * cloud
    bricks = np.array(block.colour, np.float32) + stone[..., None]

    along, up = ahead % 3.2, above_ground % 3
    window = (along > 1.1) & (along < 2.3) & (up > 1) & (up < 2.3)
    panes = np.array(block.window, np.float32) + 3 * cloud[..., None]
    return np.where(window[..., None], panes, bricks)


def _foliage(block: Block, coarse: Floats, fine: Floats) -> Floats:
    tint = np.array([1, 1.1, 0.7], np.float32)
    return np.array(block.colour, np.float32) + (15 * coarse + 11 * fine)[..., None] * tint


def _slats(block: Block, ahead: Floats, cloud: Floats) -> Floats:
    slat = _coarsened(0.22, ahead)
    relief = 17 * np.sign(np.sin(2 * np.pi * ahead / slat)) + 4 * cloud
    return np.asarray(np.array(block.colour) + relief[..., None], np.float32)
