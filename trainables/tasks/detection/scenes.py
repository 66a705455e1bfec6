"""Embedded detection data: procedural streets with people, cars, trucks, signs and dogs.

To change what is in them, give `scenes_source` another mix.
"""

import numpy as np

from trainables import scenes
from trainables.contracts import Source
from trainables.tasks.detection.boxes import Truth
from trainables.data.embedded import scenes_source


def street_objects() -> Source:
    """The embedded set: 300 / 40 / 80 scenes of 96x128."""
    return scenes_source("street_objects", scenes.OBJECTS, (300, 40, 80), objects, mix=scenes.STREET_WITH_DOGS)


def objects(scene: scenes.Scene) -> Truth:
    """What shows enough of itself in a scene; areas are of the visible pixels."""
    count = len(scene.labels)
    visible = np.bincount(scene.instances.ravel(), minlength=count + 1)[1:]
    none = np.zeros(count, np.bool_)
    return Truth(boxes=scene.boxes, labels=scene.labels, areas=visible.astype(np.float32), difficult=none, crowd=none)
