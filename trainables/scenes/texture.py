"""Tileable noise textures, used by every surface.

To add a texture, add its name to `Grain` and append it to the end of the dictionary in `_bank`: the order determines the random
numbers of all that follow.
"""

import functools
from typing import Literal, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trainables.scenes.vocabulary import OVERSAMPLING, Floats

Grain: TypeAlias = Literal["cloud", "fine", "middle", "coarse", "blades"]
"""Name of a texture in the bank."""

_TILE = 256


def random_texture(rng: Generator) -> tuple[int, int]:
    """Draw a random start (row, column) in the bank."""
    return int(rng.integers(_TILE)), int(rng.integers(_TILE))


@functools.cache
def _bank() -> dict[Grain, Floats]:
    """Return tileable noise with zero mean and unit standard deviation for each grain, the same in every process."""
    rng = np.random.default_rng(12345)
    across = np.fft.fftfreq(_TILE)[None, :]
    down = np.fft.fftfreq(_TILE)[:, None]
    frequency = np.hypot(across, down)
    frequency[0, 0] = 1

    def filtered(response: NDArray[np.float64]) -> Floats:
        noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_TILE, _TILE))) * response).real
        noise -= noise.mean()
        return np.asarray(noise / noise.std(), dtype=np.float32)

    def band(shortest: float, longest: float) -> NDArray[np.float64]:
        return np.asarray((frequency > 1 / longest) & (frequency < 1 / shortest), np.float64)

    # Vertical streaks: high frequencies from left to right, low frequencies from top to bottom.
    upright = np.exp(-((np.abs(across) - 0.22) ** 2) / 0.01) * np.exp(-((down / 0.08) ** 2))
    return {
        "cloud": filtered(1 / frequency),
        "fine": filtered(band(2.2, 5)),
        "middle": filtered(band(4, 9)),
        "coarse": filtered(band(6, 16)),
        "blades": filtered(upright),
    }


def sample_texture(
    grain: Grain, rows: NDArray[np.intp], columns: NDArray[np.intp], start: tuple[int, int], scale: float = 1.0
) -> Floats:
    """Return a texture (rows, columns) at canvas coordinates, which are given per axis.

    `scale` is in texels per image pixel. Textures are scaled in pixels, not metres, so that each class shows its texture at every
    distance; in metres, it would blur out a few metres from the camera.
    """
    step = scale / OVERSAMPLING
    down = (np.floor(rows * step).astype(np.intp) + start[0]) % _TILE
    across = (np.floor(columns * step).astype(np.intp) + start[1]) % _TILE
    return _bank()[grain][np.ix_(down, across)]
