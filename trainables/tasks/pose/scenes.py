"""Embedded pose data: procedural streets with one to five people near by, exact key points.

To change what is in them, give `scenes_source` another mix.
"""

import numpy as np

from trainables import scenes
from trainables.contracts import Source
from trainables.data.embedded import scenes_source
from trainables.tasks.pose.skeleton import People

PERSON = scenes.OBJECTS.index("person")


def street_people() -> Source:
    """The embedded set: 300 / 40 / 80 scenes of 96x128."""
    return scenes_source("street_people", ("person",), (300, 40, 80), people, mix=scenes.PEOPLE)


def people(scene: scenes.Scene) -> People:
    """Who shows enough of himself in a scene; areas are of the visible pixels. Who does not is not labelled."""
    persons = scene.labels == PERSON
    return People(
        keypoints=scene.joints,
        boxes=scene.boxes[persons],
        areas=scene.areas,
        crowd=np.zeros(len(scene.joints), np.bool_),
        unlabelled=(scene.classes == scenes.CLASSES.index("person")) & (scene.instances == 0),
    )
