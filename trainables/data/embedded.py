"""Embedded data sets: items that the program draws, for any task.

A task passes `scenes_source` a mix of objects and a function that extracts its ground truth from a scene. For items other than
street scenes, build `DrawnSplit`s from two functions of (seed, index), and a `Source` of them.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from trainables import scenes
from trainables.contracts import Frames, Source

CACHED = 1024
"""Scenes that each process keeps in memory, 0.2 MB each."""


@dataclass(frozen=True, kw_only=True)
class DrawnSplit:
    """Drawn items of one seed. Its functions must be picklable, since loader workers receive them."""

    seed: int
    count: int
    imagery: Callable[[int, int], Frames]
    """Maps (seed, index) to an item's frames."""
    truth: Callable[[int, int], Any]
    """Maps (seed, index) to an item's ground truth. Called for every sample, whereas frames come from the store."""

    @cached_property
    def names(self) -> Sequence[str]:
        return [f"{index:05d}" for index in range(self.count)]

    @cached_property
    def groups(self) -> Sequence[str]:
        """Each item is its own group. The seed in the name keeps the groups of two splits apart."""
        return [f"{self.seed}/{name}" for name in self.names]

    def frames(self, index: int) -> Frames:
        return self.imagery(self.seed, index)

    def target(self, index: int) -> Any:
        return self.truth(self.seed, index)

    def files(self, index: int) -> tuple[Path, ...]:  # noqa: ARG002
        return ()


@lru_cache(maxsize=CACHED)
def _scene(seed: int, index: int, mix: scenes.Mix) -> scenes.Scene:
    """Drawing a scene takes longer than training on it, and every epoch asks for all of them, so the whole set is cached."""
    return scenes.street(seed, index, mix=mix)


def _frames(mix: scenes.Mix, seed: int, index: int) -> Frames:
    return _scene(seed, index, mix).rgb[None]


def _truth(mix: scenes.Mix, truth: Callable[[scenes.Scene], Any], seed: int, index: int) -> Any:
    return truth(_scene(seed, index, mix))


def scenes_split(seed: int, count: int, mix: scenes.Mix, truth: Callable[[scenes.Scene], Any]) -> DrawnSplit:
    """A split of `count` street scenes of a seed. `truth` is a module-level function, so that it can be pickled."""
    return DrawnSplit(seed=seed, count=count, imagery=partial(_frames, mix), truth=partial(_truth, mix, truth))


def scenes_source(
    name: str,
    classes: tuple[str, ...],
    counts: tuple[int, int, int],
    truth: Callable[[scenes.Scene], Any],
    mix: scenes.Mix = scenes.STREET,
) -> Source:
    """A source of street scenes: `counts` for training, validation and test, from seeds 0, 1 and 2.

    `truth` is a module-level function. The fingerprint depends on the pixels and truths that are drawn, not on a version number.
    """
    train, val, test = (scenes_split(seed, count, mix, truth) for seed, count in enumerate(counts))
    digest = hashlib.sha256(repr((counts, mix)).encode())
    for split in (train, val, test):
        digest.update(split.frames(0).tobytes())
        digest.update(_bytes(split.target(0)))
    fingerprint = digest.hexdigest()[:16]
    return Source(name=name, classes=classes, train=train, val=val, test=test, fingerprint=fingerprint, slow=True)


def _bytes(truth: Any) -> bytes:
    """Bytes of a ground truth, an array or a mapping of arrays, for the fingerprint."""
    if isinstance(truth, Mapping):
        return b"".join(str(key).encode() + _bytes(value) for key, value in truth.items())
    return np.asarray(truth).tobytes()
