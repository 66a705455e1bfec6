"""The embedded street scenes with their depth."""

import numpy as np
import numpy.typing as npt

from trainables import scenes
from trainables.contracts import Source
from trainables.data.embedded import scenes_source


def street_depth() -> Source:
    """300 / 24 / 60 scenes of 96x128 from a camera that hardly moves."""
    return scenes_source("street_depth", (), (300, 24, 60), depth_map, mix=scenes.STREET_LEVEL)


def depth_map(scene: scenes.Scene) -> npt.NDArray[np.float32]:
    """(96, 128) metres, all known; the sky is at `scenes.FAR`, 80 m."""
    return scene.depth
