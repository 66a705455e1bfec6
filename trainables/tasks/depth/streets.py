"""The embedded street scenes with their depth."""

import numpy as np
import numpy.typing as npt

from trainables import scenes
from trainables.contracts import Source
from trainables.data.embedded import scenes_source


def street_depth() -> Source:
    """The embedded street scenes: 300 / 120 / 60 images of 96x128, from a camera whose height and horizon hardly vary."""
    return scenes_source("street_depth", (), (300, 120, 60), depth_map, mix=scenes.STREET_LEVEL)


def depth_map(scene: scenes.Scene) -> npt.NDArray[np.float32]:
    """Depth of a scene, (96, 128) metres, known everywhere; the sky is at `scenes.FAR`, 80 m."""
    return scene.depth
