"""What the network learns to put out for an image with people: a heat map for each part, and an affinity field for each limb.

As published (Cao et al. 2017). All people at once: (people, parts, rows, columns) arrays, no loop. Maps are on a grid of cells of
`stride` pixels; the middle of cell i is at (i + 0.5) x stride.
"""

import numpy as np
import numpy.typing as npt

from trainables.tasks.pose.skeleton import LIMB_ENDS, PARTS

Floats = npt.NDArray[np.float32]

MAPS, FIELDS = len(PARTS) + 1, 2 * len(LIMB_ENDS)
"""Channels: the parts and the background; right and down of each limb."""
FLOOR = 0.01
"""Below this a Gaussian is cut off, as published."""


def heat_maps(parts: Floats, grid: tuple[int, int], *, stride: int, sigma: float) -> Floats:
    """(19, h, w), in 0..1, of people's parts (N, 18, 3) in pixels: for each part, Gaussians of `sigma` pixels around it.

    Where people are near to one another the larger value holds, so that peaks stay apart. The last map, the background, is one
    minus the largest of the others. Parts with flag 0 are not there.
    """
    columns, rows = (_bells(parts[..., axis], grid[1 - axis], stride, sigma) for axis in (0, 1))
    every = rows[..., None] * columns[..., None, :] * (parts[..., 2] > 0)[..., None, None]
    maps = np.where(every < FLOOR, 0, every).max(axis=0, initial=0)
    return np.concatenate([maps, 1 - maps.max(axis=0, keepdims=True)]).astype(np.float32)


def _bells(places: Floats, cells: int, stride: int, sigma: float) -> Floats:
    """(N, 18, cells): Gaussians along one axis."""
    middles = (np.arange(cells, dtype=np.float32) + 0.5) * stride
    return np.asarray(np.exp(-np.square(middles - places[..., None]) / (2 * sigma**2)))


def fields(parts: Floats, grid: tuple[int, int], *, stride: int, width: float) -> Floats:
    """(38, h, w) of people's parts (N, 18, 3) in pixels: on each limb its direction, right and down, of length 1.

    A limb is `width` cells wide to either side, and goes on so far beyond its ends, since one shorter than a cell might else touch
    none. Where people's limbs of a kind lie on one another, the mean of their directions. A limb that lacks an end is not there.
    """
    ends = parts[:, LIMB_ENDS]  # (N, 19, 2, 3)
    starts, along = ends[..., 0, :2] / stride, (ends[..., 1, :2] - ends[..., 0, :2]) / stride
    lengths = np.hypot(along[..., 0], along[..., 1])
    there = (ends[..., 2] > 0).all(axis=-1) & (lengths > 1e-6)
    right, down = np.moveaxis(along / np.where(there, lengths, 1)[..., None], -1, 0)[..., None, None]
    rows, columns = np.ogrid[: grid[0], : grid[1]]
    x = (columns + np.float32(0.5)) - starts[..., 0, None, None]
    y = (rows + np.float32(0.5)) - starts[..., 1, None, None]
    ahead, aside = right * x + down * y, right * y - down * x
    on = (ahead >= -width) & (ahead <= lengths[..., None, None] + width) & (np.abs(aside) <= width) & there[..., None, None]
    count = np.maximum(on.sum(axis=0), 1)
    found = np.stack([(on * right).sum(axis=0) / count, (on * down).sum(axis=0) / count], axis=1)
    return found.reshape(FIELDS, *grid).astype(np.float32)
