"""Embedded pose data: procedural streets with one to five people in the foreground and exact key points.

To change their contents, pass another `mix` to `scenes_source`.
"""

import numpy as np

from trainables import scenes
from trainables.contracts import Source
from trainables.data.embedded import scenes_source
from trainables.tasks.pose.skeleton import People

PERSON = scenes.OBJECTS.index("person")


def street_people() -> Source:
    """The embedded data set: 300 training, 120 validation and 80 test scenes of 96x128 pixels."""
    return scenes_source("street_people", ("person",), (300, 120, 80), people, mix=scenes.PEOPLE)


def people(scene: scenes.Scene) -> People:
    """The people of a scene that are visible enough to be labelled; areas count visible pixels. Other people are unlabelled."""
    persons = scene.labels == PERSON
    return People(
        keypoints=scene.joints,
        boxes=scene.boxes[persons],
        areas=scene.areas,
        crowd=np.zeros(len(scene.joints), np.bool_),
        unlabelled=(scene.classes == scenes.CLASSES.index("person")) & (scene.instances == 0),
    )
