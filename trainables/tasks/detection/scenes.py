"""Embedded detection data: procedural streets with people, cars, trucks, signs and dogs.

To change their contents, pass another `mix` to `scenes_source`.
"""

import numpy as np

from trainables import scenes
from trainables.contracts import Source
from trainables.data.embedded import scenes_source
from trainables.tasks.detection.boxes import Truth


def street_objects() -> Source:
    """The embedded data set: 300 training, 120 validation and 80 test scenes of 96x128 pixels."""
    return scenes_source("street_objects", scenes.OBJECTS, (300, 120, 80), objects, mix=scenes.STREET_WITH_DOGS)


def objects(scene: scenes.Scene) -> Truth:
    """The objects of a scene that are visible enough to be labelled; areas count visible pixels."""
    count = len(scene.labels)
    visible = np.bincount(scene.instances.ravel(), minlength=count + 1)[1:]
    none = np.zeros(count, np.bool_)
    return Truth(boxes=scene.boxes, labels=scene.labels, areas=visible.astype(np.float32), difficult=none, crowd=none)
