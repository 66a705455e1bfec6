"""A schedule as two rows of block characters, for `study list` and docs/schedules.md."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from trainables.contracts import Schedule

BLOCKS = "▁▂▃▄▅▆▇"
COLUMNS, DRAWS = 14, 500
"""Points in time, and levels drawn at each, so that equal shares look equal."""


class Drawing(NamedTuple):
    """A schedule by time and by level."""

    over_time: str
    """Mean rung from the start to the end of the training: lowest block clean, highest block the heaviest level."""
    marginal: str
    """Share of each of the schedule's levels, clean first, relative to the most frequent one."""


def drawing(schedule: Schedule) -> Drawing:
    """Draw a schedule from the levels that it gives; one that adapts is drawn as it starts."""
    rng, levels = np.random.default_rng(0), schedule.levels
    place = {level: number for number, level in enumerate(levels)}
    progress = (np.arange(COLUMNS * DRAWS) + 0.5) / (COLUMNS * DRAWS)
    drawn = np.array([place[schedule.level(each, rng)] for each in progress.tolist()])
    means = drawn.reshape(COLUMNS, DRAWS).mean(axis=1) / max(1, len(levels) - 1)
    shares = np.bincount(drawn, minlength=len(levels))
    return Drawing(_blocks(means), _blocks(shares / shares.max()))


def _blocks(heights: npt.NDArray[np.float64]) -> str:
    """Heights from 0 to 1 as block characters."""
    return "".join(BLOCKS[round(float(height) * (len(BLOCKS) - 1))] for height in heights)
