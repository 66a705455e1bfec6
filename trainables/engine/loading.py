"""Batches from a split: draws items and conditions, applies the codec, builds examples and collates them.

Every random number depends on (seed, generation, epoch, item) alone, never on the number of loader workers or the order of work:
the sampler, in the main process, draws order and levels; a worker receives (item, condition, key) and seeds the item's stream from
the key.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import set_forkserver_preload
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from trainables.contracts import CLEAN, Condition, Derived, Frames, Inputs, Pair, Recipe, Size, Split, SplitName
from trainables.engine.runtime import Runtime
from trainables.engine.workload import Workload
from trainables.store.imagery import Direct, Each, Imagery

ORDER_STREAM, SCHEDULE_STREAM, AUGMENTATION_STREAM = range(3)
"""Identifiers of the random streams. The schedule has its own, so recipes that differ in levels share order and augmentation."""
PREFETCH = 8
"""Prefetch depth per worker; clips vary in length, so fast workers run ahead."""


class Draw(NamedTuple):
    """One item of a batch, as sent to a loader worker."""

    item: int
    condition: Condition
    key: tuple[int, ...] | None
    """Seed of the augmentation; None: evaluation, no augmentation."""


class Sample(NamedTuple):
    """One item of a `Batch`, before collation."""

    example: Any
    """An example, or a `Pair` of examples."""
    frames: Frames | None
    size: Size
    shape: tuple[int, int, int]


class Batch(NamedTuple):
    """Collated examples, with sizes and frames for scoring and figures."""

    examples: Any
    """A collated batch, or a `Pair` of batches."""
    frames: Sequence[Frames]
    """Frames of each item after the codec; empty unless requested."""
    sizes: Sequence[Size]
    """Encoded size of each item, 0 where clean."""
    shapes: Sequence[tuple[int, int, int]]
    """Frames, height and width of each whole item, at native resolution."""


class EpochSampler(Sampler[list[Draw]]):
    """The batches of one training epoch; set `epoch` before iterating.

    Drops the last incomplete batch (different items in each epoch): batch norm on a few stray items would add noise.
    """

    def __init__(self, items: Sequence[int], batch_size: int, recipe: Recipe, *, epochs: int, key: tuple[int, int]) -> None:
        """`items` are indices in the training split, `key` is (seed, generation). `schedule` may be replaced between epochs.

        Raises ValueError for a recipe without a schedule, or a batch larger than the split.
        """
        if recipe.schedule is None:
            raise ValueError(f"recipe {recipe.name} has no schedule: it does not train")
        if len(items) < batch_size:
            raise ValueError(f"batch_size {batch_size} exceeds the {len(items)} items of the training split: lower batch_size")
        self.items, self.batch_size, self.recipe, self.epochs, self.key = items, batch_size, recipe, epochs, key
        self.schedule = recipe.schedule
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.items) // self.batch_size

    def __iter__(self) -> Iterator[list[Draw]]:
        order = np.random.default_rng((*self.key, self.epoch, ORDER_STREAM)).permutation(len(self.items))
        for batch in range(len(self)):
            places = range(batch * self.batch_size, (batch + 1) * self.batch_size)
            yield [self._draw(place, self.items[order[place]]) for place in places]

    def _draw(self, place: int, index: int) -> Draw:
        progress = (self.epoch + place / len(self.items)) / self.epochs
        rng = np.random.default_rng((*self.key, self.epoch, SCHEDULE_STREAM, index))
        condition = self.recipe.condition(self.schedule.level(progress, rng))
        return Draw(index, condition, (*self.key, self.epoch, AUGMENTATION_STREAM, index))


def evaluation_draws(items: Sequence[int], batch_size: int, condition: Condition) -> list[list[Draw]]:
    """Every item once, in order, under one condition; `items` are indices in the split."""
    draws = [Draw(index, condition, None) for index in items]
    return [draws[start : start + batch_size] for start in range(0, len(draws), batch_size)]


@dataclass(frozen=True, kw_only=True)
class Samples(Dataset[Sample]):
    """The items of a split after the codec, as an architecture's examples."""

    inputs: Inputs
    hyper: Any
    split: Split
    imagery: Imagery
    """Source of examples."""
    pictured: Imagery
    """Source of figures: the same, or the frames from which examples' data are derived."""
    keep_frames: int = 0
    """Number of leading items that also return their frames, for figures."""
    paired: bool = False
    """Return a `Pair` of examples: under the drawn condition and clean."""

    def __getitem__(self, draw: Draw) -> Sample:
        example, size, shape = self._example(draw)
        if self.paired:
            example = Pair(example, self._example(draw._replace(condition=CLEAN))[0])
        pictured = self.pictured.item(draw.item, draw.condition).frames if draw.item < self.keep_frames else None
        return Sample(example, pictured, size, shape)

    def _example(self, draw: Draw) -> tuple[Any, Size, tuple[int, int, int]]:
        rng = None if draw.key is None else np.random.default_rng(draw.key)

        def window(count: int) -> Sequence[int]:
            return range(count) if self.inputs.window is None else self.inputs.window(count, self.hyper, rng)

        # Examples need the frames of their window, figures all frames of the item: the rest is not decoded.
        coded = self.imagery.item(draw.item, draw.condition, None if self.inputs.window is None else window)
        example = self.inputs.example(coded.frames, self.split.target(draw.item), self.hyper, rng)
        return example, coded.size, coded.shape


def samples(workload: Workload, split: SplitName, *, keep_frames: int = 0, paired: bool = False) -> Samples:
    """The samples of a split, read through the runtime's store where it has one."""
    inputs, store, part = workload.architecture.inputs, workload.runtime.store, workload.data.split(split)

    def imagery(derived: Derived | None) -> Imagery:
        if store is None:
            return Direct(split=part, derived=derived)
        return store.imagery(workload.data, split, derived)

    return Samples(
        inputs=inputs,
        hyper=workload.hyper,
        split=part,
        imagery=imagery(inputs.derive(workload.hyper)),
        pictured=imagery(None),
        keep_frames=keep_frames,
        paired=paired,
    )


@dataclass(frozen=True)
class _Collate:
    """The architecture's collate function, plus frames and sizes. A picklable value, so that loader workers can receive it."""

    examples: Callable[[Sequence[Any]], Any]

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        examples, frames, sizes, shapes = zip(*samples, strict=True)
        if isinstance(examples[0], Pair):
            collated: Any = Pair(*(self.examples(part) for part in zip(*examples, strict=True)))
        else:
            collated = self.examples(examples)
        return Batch(collated, [kept for kept in frames if kept is not None], sizes, shapes)


def _one_thread(_worker: int) -> None:
    """Give OpenCV one thread, as torch gives itself: workers run side by side."""
    cv2.setNumThreads(1)


def loader(items: Samples, batches: Sequence[list[Draw]] | Sampler[list[Draw]], runtime: Runtime) -> DataLoader[Sample]:
    """A torch loader of `Batch`es. Its worker processes persist over epochs.

    Workers come from a fork server: they exit within seconds after their parent is killed, and never fork a process that runs
    threads.
    """
    if runtime.workers:
        set_forkserver_preload(["trainables.engine.loading"])  # imports torch once, not in every worker
    return DataLoader(
        items,
        batch_sampler=batches,
        num_workers=runtime.workers,
        collate_fn=_Collate(items.inputs.collate),
        pin_memory=runtime.device != "cpu",
        persistent_workers=runtime.workers > 0,
        multiprocessing_context="forkserver" if runtime.workers else None,
        worker_init_fn=_one_thread if runtime.workers else None,
        generator=torch.Generator(),  # otherwise every pass would draw from the global stream
    )


@dataclass(frozen=True)
class _Calls(Dataset[Any]):
    """A function's results as a data set. A picklable value, so that loader workers can receive it."""

    function: Callable[[int], Any]

    def __getitem__(self, index: int) -> Any:
        return self.function(index)


def over_processes(workers: int) -> Each:
    """`map` over that many processes, or in this process for 0, with the same results in the same order."""
    if not workers:
        return map
    set_forkserver_preload(["trainables.engine.loading"])

    def mapped(function: Callable[[int], Any], items: Sequence[int]) -> DataLoader[Any]:
        return DataLoader(
            _Calls(function),
            sampler=items,
            batch_size=None,
            num_workers=workers,
            collate_fn=tuple,  # keep bytes and shape as they are
            prefetch_factor=PREFETCH,
            multiprocessing_context="forkserver",
            worker_init_fn=_one_thread,
            generator=torch.Generator(),
        )

    return mapped
