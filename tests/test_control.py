"""A retrained network and its control differ in compression alone: same items, same order, same augmentation."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from search_spaces import SPACES
from trainables import ARCHITECTURES, CODECS, DATASETS, Architecture, Frames, Recipe, Workload
from trainables.contracts import Size
from trainables.data.subset import Subset
from trainables.engine.conformance import plain
from trainables.engine.loading import EpochSampler, loader, samples
from trainables.recipes.schedules import Clean, Constant

ITEMS, BATCH = 6, 2
TRAINED = {name: each for name, each in ARCHITECTURES.items() if isinstance(each, Architecture)}


@dataclass(frozen=True)
class Lossless:
    """A codec that changes nothing, so that examples differ only where items, order or augmentation do."""

    name: str = "lossless"
    levels: tuple[int, ...] = (1,)
    shown: tuple[int, ...] = ()
    clips: bool = True

    def encode(self, frames: Frames, level: int) -> bytes:  # noqa: ARG002
        buffer = io.BytesIO()
        np.save(buffer, frames)
        return buffer.getvalue()

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        frames: Frames = np.load(io.BytesIO(data))
        return frames if wanted is None else frames[list(wanted)]

    def size(self, data: bytes) -> Size:
        return Size(len(data))


@pytest.fixture
def lossless(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(CODECS, "lossless", Lossless())
    return "lossless"


def workload(architecture: Architecture) -> Workload:
    """A few items of the embedded data, with the demo's network and the augmentation of the defaults where it has any."""
    dataset = next(each for each in DATASETS.values() if each.task == architecture.task.name and each.make)
    source = dataset.source(None)
    budget = SPACES["demo"].budgets.get(architecture.name)
    hyper = replace(architecture.hyper, **(budget.hyper if budget else {}))
    augmented = {name: True for name in ("flip",) if hasattr(hyper, name)}
    few: dict[str, Any] = {"train": Subset(source.train, range(ITEMS))}
    return Workload(architecture=architecture, hyper=replace(hyper, batch_size=BATCH, **augmented), data=replace(source, **few))


def epoch(of: Workload, recipe: Recipe, number: int) -> list[Any]:
    """The training examples of one epoch, as plain values."""
    sampler = EpochSampler(range(ITEMS), BATCH, recipe, epochs=2, key=(3, 1))
    sampler.epoch = number
    return [plain(batch.examples) for batch in loader(samples(of, "train"), sampler, of.runtime)]


@pytest.mark.parametrize("architecture", TRAINED.values(), ids=TRAINED)
def test_control_and_retrained_network_see_the_same_items_in_the_same_order_under_the_same_augmentation(
    architecture: Architecture, lossless: str
) -> None:
    given = workload(architecture)
    control = Recipe(name="continued", parents=("baseline",), schedule=Clean())
    retrained = Recipe(name="constant-1", parents=("baseline",), codec=lossless, schedule=Constant(at=1))
    for number in range(2):
        assert epoch(given, control, number) == epoch(given, retrained, number)
    assert epoch(given, control, 0) != epoch(given, control, 1)
