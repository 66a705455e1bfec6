"""Data sets of a few embedded scenes, for tests that train. Plans name them `tests.few:FEW` and `tests.few:SOME`."""

from dataclasses import replace

from trainables import DATASETS, Source
from trainables.data.embedded import scenes_split
from trainables.scenes import STREET
from trainables.tasks.segmentation.data import class_map


def streets(train: int, val: int, test: int) -> Source:
    """The first training, validation and test scenes of `street_scenes`."""
    splits = {
        name: scenes_split(seed, count, STREET, class_map)
        for seed, (name, count) in enumerate({"train": train, "val": val, "test": test}.items())
    }
    source = DATASETS["street_scenes"].source(None)
    name, fingerprint = f"streets_{train}_{val}_{test}", f"{train:06x}{val:05x}{test:05x}"
    return replace(source, name=name, fingerprint=fingerprint, **splits)  # type: ignore[arg-type]


def few_streets() -> Source:
    """12 training, 4 validation and 6 test scenes."""
    return streets(12, 4, 6)


def some_streets() -> Source:
    """60 training, 8 validation and 20 test scenes."""
    return streets(60, 8, 20)


FEW = replace(DATASETS["street_scenes"], name="few_streets", make=few_streets)
SOME = replace(DATASETS["street_scenes"], name="some_streets", make=some_streets)
