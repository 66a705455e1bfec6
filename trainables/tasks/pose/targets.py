"""Training targets of the network: a heat map per body part and a part affinity field per limb (Cao et al. 2017).

Targets lie on a grid of square cells with sides of `stride` pixels; the centre of cell i is at (i + 0.5) x stride pixels. Arrays
(people, parts, rows, columns) hold all people at once.
"""

import numpy as np
import numpy.typing as npt

from trainables.tasks.pose.skeleton import LIMB_ENDS, PARTS

Floats = npt.NDArray[np.float32]

MAPS, FIELDS = len(PARTS) + 1, 2 * len(LIMB_ENDS)
"""Number of channels: one map per part and one for the background; two components, right and down, per limb."""
FLOOR = 0.01
"""Gaussians are set to 0 below this value, as published."""


def heat_maps(parts: Floats, grid: tuple[int, int], *, stride: int, sigma: float) -> Floats:
    """Heat maps (19, h, w) in 0..1 of parts (N, 18, 3) in pixels: Gaussians with a standard deviation of `sigma` pixels.

    Where the Gaussians of several people overlap, the maximum is taken, so that peaks stay separate. The last map, the background,
    is one minus the maximum of the others. Parts with flag 0 are left out.
    """
    columns, rows = (_gaussians(parts[..., axis], grid[1 - axis], stride, sigma) for axis in (0, 1))
    every = rows[..., None] * columns[..., None, :] * (parts[..., 2] > 0)[..., None, None]
    maps = np.where(every < FLOOR, 0, every).max(axis=0, initial=0)
    return np.concatenate([maps, 1 - maps.max(axis=0, keepdims=True)]).astype(np.float32)


def _gaussians(places: Floats, cells: int, stride: int, sigma: float) -> Floats:
    """One-dimensional Gaussians (N, 18, cells) around places (N, 18) in pixels."""
    centres = (np.arange(cells, dtype=np.float32) + 0.5) * stride
    return np.asarray(np.exp(-np.square(centres - places[..., None]) / (2 * sigma**2)))


def fields(parts: Floats, grid: tuple[int, int], *, stride: int, width: float) -> Floats:
    """Affinity fields (38, h, w) of parts (N, 18, 3) in pixels: the unit direction of each limb, as right and down components.

    A limb covers `width` cells to either side and beyond both ends; without that, a limb shorter than a cell could cover none.
    Where the same limb of several people overlaps, directions are averaged. A limb with a missing end is left out.
    """
    ends = parts[:, LIMB_ENDS]  # (N, 19, 2, 3)
    starts, along = ends[..., 0, :2] / stride, (ends[..., 1, :2] - ends[..., 0, :2]) / stride
    lengths = np.hypot(along[..., 0], along[..., 1])
    present = (ends[..., 2] > 0).all(axis=-1) & (lengths > 1e-6)
    right, down = np.moveaxis(along / np.where(present, lengths, 1)[..., None], -1, 0)[..., None, None]
    rows, columns = np.ogrid[: grid[0], : grid[1]]
    x = (columns + np.float32(0.5)) - starts[..., 0, None, None]
    y = (rows + np.float32(0.5)) - starts[..., 1, None, None]
    ahead, aside = right * x + down * y, right * y - down * x
    on = (ahead >= -width) & (ahead <= lengths[..., None, None] + width) & (np.abs(aside) <= width) & present[..., None, None]
    count = np.maximum(on.sum(axis=0), 1)
    found = np.stack([(on * right).sum(axis=0) / count, (on * down).sum(axis=0) / count], axis=1)
    return found.reshape(FIELDS, *grid).astype(np.float32)
