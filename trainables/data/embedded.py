"""Embedded data: what a program draws as a data set, for any task.

A task's room gives `scenes_source` its mix of things and a function that takes the ground truth off a scene. What is no scene needs
two functions like those of `scenes_split`, and a `Source` of `DrawnSplit`s.
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

MOST = 1024
"""Scenes that a process keeps."""


@dataclass(frozen=True, kw_only=True)
class DrawnSplit:
    """Items of one seed that are drawn."""

    seed: int
    count: int
    imagery: Callable[[int, int], Frames]
    """(seed, index) to an item's frames. It can be sent to loader workers: functions of a module can."""
    truth: Callable[[int, int], Any]
    """The same for its ground truth, which is asked for with every sample, while frames come from the store."""

    @cached_property
    def names(self) -> Sequence[str]:
        """`00000`, `00001`, ..."""
        return [f"{index:05d}" for index in range(self.count)]

    @cached_property
    def groups(self) -> Sequence[str]:
        """Items are independent: each is its own group. The seed tells those of one split from another's."""
        return [f"{self.seed}/{name}" for name in self.names]

    def frames(self, index: int) -> Frames:
        """(T, H, W, 3)."""
        return self.imagery(self.seed, index)

    def target(self, index: int) -> Any:
        """The ground truth."""
        return self.truth(self.seed, index)

    def files(self, index: int) -> tuple[Path, ...]:  # noqa: ARG002
        """None: items are drawn."""
        return ()


@lru_cache(maxsize=MOST)
def _scene(seed: int, index: int, mix: scenes.Mix) -> scenes.Scene:
    """Drawing a scene costs more than training on it: keep the whole set (0.2 MB each), as every epoch asks for all."""
    return scenes.street(seed, index, mix=mix)


def _picture(mix: scenes.Mix, seed: int, index: int) -> Frames:
    """(1, 96, 128, 3)."""
    return _scene(seed, index, mix).rgb[None]


def _taken(mix: scenes.Mix, truth: Callable[[scenes.Scene], Any], seed: int, index: int) -> Any:
    """What a function takes off a scene."""
    return truth(_scene(seed, index, mix))


def scenes_split(seed: int, count: int, mix: scenes.Mix, truth: Callable[[scenes.Scene], Any]) -> DrawnSplit:
    """So many scenes of a seed. `truth` is a function of a module."""
    return DrawnSplit(seed=seed, count=count, imagery=partial(_picture, mix), truth=partial(_taken, mix, truth))


def scenes_source(
    name: str,
    classes: tuple[str, ...],
    counts: tuple[int, int, int],
    truth: Callable[[scenes.Scene], Any],
    mix: scenes.Mix = scenes.STREET,
) -> Source:
    """A source of so many training, validation and test scenes, of seeds 0, 1, 2. `truth` is a function of a module.

    Its fingerprint hangs on what the generator draws, not on a version number.
    """
    train, val, test = (scenes_split(seed, count, mix, truth) for seed, count in enumerate(counts))
    digest = hashlib.sha256(repr((counts, mix)).encode())
    for split in (train, val, test):
        digest.update(split.frames(0).tobytes())
        digest.update(_bytes(split.target(0)))
    fingerprint = digest.hexdigest()[:16]
    return Source(name=name, classes=classes, train=train, val=val, test=test, fingerprint=fingerprint, slow=True)


def _bytes(truth: Any) -> bytes:
    """A ground truth, an array or arrays by name, for the fingerprint."""
    if isinstance(truth, Mapping):
        return b"".join(str(key).encode() + _bytes(value) for key, value in truth.items())
    return np.asarray(truth).tobytes()
