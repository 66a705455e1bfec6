"""Embedded data: what a program draws as a data set, for any task.

A task's room gives `scenes_source` its mix of things and a function that takes the ground truth off a scene. What is no scene needs
a function like `scene_item` and a `Source` of `DrawnSplit`s.
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
    draw: Callable[[int, int], tuple[Frames, Any]]
    """(seed, index) to an item's imagery and ground truth. It can be sent to loader workers: functions of a module can."""

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
        return self.draw(self.seed, index)[0]

    def target(self, index: int) -> Any:
        """The ground truth."""
        return self.draw(self.seed, index)[1]

    def files(self, index: int) -> tuple[Path, ...]:  # noqa: ARG002
        """None: items are drawn."""
        return ()


@lru_cache(maxsize=MOST)
def _scene(seed: int, index: int, mix: scenes.Mix) -> scenes.Scene:
    """Drawing a scene costs more than training on it: keep the whole set (0.2 MB each), as every epoch asks for all."""
    return scenes.street(seed, index, mix=mix)


def scene_item(mix: scenes.Mix, truth: Callable[[scenes.Scene], Any], seed: int, index: int) -> tuple[Frames, Any]:
    """The picture (1, 96, 128, 3) of a scene, and what a function takes off it."""
    scene = _scene(seed, index, mix)
    return scene.rgb[None], truth(scene)


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
    draw = partial(scene_item, mix, truth)
    train, val, test = (DrawnSplit(seed=seed, count=count, draw=draw) for seed, count in enumerate(counts))
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
