"""From a split to batches: which items, at which level, with which random stream, and the codec in between.

All randomness hangs on (seed, generation, epoch, item), never on the number of loader workers or the order of work: the sampler,
in the main process, draws order and levels; a worker gets (item, level, key) and seeds the item's own stream from the key.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import set_forkserver_preload
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from trainables.codecs import CODECS
from trainables.contracts import Architecture, Derived, Frames, Schedule, Size, Source, Split
from trainables.engine.runtime import Runtime
from trainables.store.imagery import Direct, Each, Imagery

ORDER, LEVELS, AUGMENTATION = range(3)
"""Names of the random streams. Levels have their own, so that recipes that differ in levels share order and augmentation."""
AHEAD = 8
"""Items that a process makes ahead of a slower one: clips take as long as they are."""


class Draw(NamedTuple):
    """One item of a batch: what a loader worker is told."""

    item: int
    level: int | None
    key: tuple[int, ...] | None
    """Seeds the augmentation; None means evaluation, without any."""


class Sample(NamedTuple):
    """One item of a `Batch`, before collating."""

    example: Any
    frames: Frames | None
    size: Size
    shape: tuple[int, int, int]


class Batch(NamedTuple):
    """Collated examples, with what scoring and figures need beside them."""

    examples: Any
    frames: Sequence[Frames]
    """Each item after the codec; empty unless asked for."""
    sizes: Sequence[Size]
    """Of each item after coding, 0 where it is clean."""
    shapes: Sequence[tuple[int, int, int]]
    """Frames, height and width of each item, all of it, at native resolution."""


class EpochSampler(Sampler[list[Draw]]):
    """The batches of one training epoch; set `epoch` before iterating.

    A remainder smaller than a batch is left out (another one each epoch): batch norm on a stray item would be noise.
    """

    def __init__(self, items: int, batch_size: int, schedule: Schedule, *, epochs: int, key: tuple[int, int]) -> None:
        if items < batch_size:
            raise ValueError(f"a batch of {batch_size} is larger than the training split of {items}: lower batch_size")
        self.items, self.batch_size, self.schedule, self.epochs, self.key = items, batch_size, schedule, epochs, key
        self.epoch = 0

    def __len__(self) -> int:
        return self.items // self.batch_size

    def __iter__(self) -> Iterator[list[Draw]]:
        order = np.random.default_rng((*self.key, self.epoch, ORDER)).permutation(self.items)
        for batch in range(len(self)):
            places = range(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield [self._draw(place, int(order[place])) for place in places]

    def _draw(self, place: int, index: int) -> Draw:
        progress = (self.epoch + place / self.items) / self.epochs
        rng = np.random.default_rng((*self.key, self.epoch, LEVELS, index))
        return Draw(index, self.schedule.level(progress, rng), (*self.key, self.epoch, AUGMENTATION, index))


def evaluation_draws(items: int, batch_size: int, level: int | None) -> list[list[Draw]]:
    """Every item once, in order, at one level."""
    draws = [Draw(index, level, None) for index in range(items)]
    return [draws[start : start + batch_size] for start in range(0, items, batch_size)]


@dataclass(frozen=True, kw_only=True)
class Samples(Dataset[Sample]):
    """Items of a split after the codec, as an architecture's examples."""

    architecture: Architecture
    hyper: Any
    split: Split
    imagery: Imagery
    """What examples are made of."""
    pictured: Imagery
    """What figures show: the same, or the frames that it is derived of."""
    keep_frames: int = 0
    """The first items hand their frames out too, for figures."""

    def __getitem__(self, draw: Draw) -> Sample:
        rng = None if draw.key is None else np.random.default_rng(draw.key)

        def window(count: int) -> Sequence[int]:
            return range(count) if self.architecture.window is None else self.architecture.window(count, self.hyper, rng)

        # Examples want the frames of their window, figures all of an item: the rest need not be decoded.
        coded = self.imagery.item(draw.item, draw.level, None if self.architecture.window is None else window)
        example = self.architecture.example(coded.frames, self.split.target(draw.item), self.hyper, rng)
        pictured = self.pictured.item(draw.item, draw.level).frames if draw.item < self.keep_frames else None
        return Sample(example, pictured, coded.size, coded.shape)


def samples(
    architecture: Architecture, hyper: Any, data: Source, split: str, codec: str | None, runtime: Runtime, *, keep_frames: int = 0
) -> Samples:
    """The samples of a split, through the store where there is one. Raises ValueError for a codec that is not in `CODECS`."""
    if codec is not None and codec not in CODECS:
        raise ValueError(f"unknown codec {codec!r}: known are {', '.join(CODECS)}")
    value, part = CODECS[codec] if codec else None, data.split(split)

    def imagery(derived: Derived | None) -> Imagery:
        if runtime.store is None:
            return Direct(split=part, codec=value, derived=derived)
        return runtime.store.imagery(data, split, value, derived)

    return Samples(
        architecture=architecture,
        hyper=hyper,
        split=part,
        imagery=imagery(architecture.derive(hyper)),
        pictured=imagery(None),
        keep_frames=keep_frames,
    )


@dataclass(frozen=True)
class _Collate:
    """The architecture's collate, with frames and sizes carried along. A value, so that it can be sent to loader workers."""

    examples: Callable[[Sequence[Any]], Any]

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        examples, frames, sizes, shapes = zip(*samples, strict=True)
        return Batch(self.examples(examples), [kept for kept in frames if kept is not None], sizes, shapes)


def _one_thread(_worker: int) -> None:
    """Workers run side by side: OpenCV, like torch, gives each one thread."""
    cv2.setNumThreads(1)


def loader(items: Samples, batches: Sequence[list[Draw]] | Sampler[list[Draw]], runtime: Runtime) -> DataLoader[Sample]:
    """A torch loader of `Batch`es; with workers, they persist over epochs.

    Workers come from a fork server: they die within seconds with a killed parent, and never fork a process that runs threads.
    """
    if runtime.workers:
        set_forkserver_preload(["trainables.engine.loading"])  # imports torch once, not in every worker
    return DataLoader(
        items,
        batch_sampler=batches,
        num_workers=runtime.workers,
        collate_fn=_Collate(items.architecture.collate),
        pin_memory=runtime.device != "cpu",
        persistent_workers=runtime.workers > 0,
        multiprocessing_context="forkserver" if runtime.workers else None,
        worker_init_fn=_one_thread if runtime.workers else None,
        generator=torch.Generator(),  # else every pass would draw from, and so shift, the global stream
    )


@dataclass(frozen=True)
class _Calls(Dataset[Any]):
    """What a function returns, as a data set. A value, so that it can be sent to loader workers."""

    function: Callable[[int], Any]

    def __getitem__(self, index: int) -> Any:
        return self.function(index)


def over_processes(workers: int) -> Each:
    """`map` over so many processes, or in this one for 0: the same in the same order. The processes are a torch loader's."""
    if not workers:
        return map
    set_forkserver_preload(["trainables.engine.loading"])

    def mapped(function: Callable[[int], Any], items: Sequence[int]) -> DataLoader[Any]:
        return DataLoader(
            _Calls(function),
            sampler=items,
            batch_size=None,
            num_workers=workers,
            collate_fn=tuple,  # bytes and shape stay what they are
            prefetch_factor=AHEAD,
            multiprocessing_context="forkserver",
            worker_init_fn=_one_thread,
            generator=torch.Generator(),
        )

    return mapped
