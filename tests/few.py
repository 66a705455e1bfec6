"""A data set of a few embedded scenes, for tests that train. Plans name it `tests.few:FEW`."""

from dataclasses import replace

from trainables import DATASETS, Source
from trainables.data.embedded import scenes_split
from trainables.scenes import STREET
from trainables.tasks.segmentation.data import class_map


def few_streets() -> Source:
    """12 training, 4 validation and 6 test scenes."""
    counts = {"train": 12, "val": 4, "test": 6}
    splits = {name: scenes_split(seed, count, STREET, class_map) for seed, (name, count) in enumerate(counts.items())}
    return replace(DATASETS["street_scenes"].source(None), **splits)  # type: ignore[arg-type]


FEW = replace(DATASETS["street_scenes"], name="few_streets", make=few_streets)
