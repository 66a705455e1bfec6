"""Scoring a network under conditions, with the bootstrap replicates computed where the metrics are.

A metric is added in a task's folder: the task's `statistics` say what each item contributes, its `score` weighs and combines them.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from trainables.contracts import Calibration, Condition, Fusion, Learner, Score, Scoring, Size, Source, SplitName, View, Weights
from trainables.engine.loading import evaluation_draws, loader, samples
from trainables.engine.numerics import computing, prepare
from trainables.engine.resampling import resamples
from trainables.engine.workload import Workload
from trainables.networks.initial import load

PICTURES = 3
"""Number of test items drawn under each condition."""
PROGRESS_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of one pass of a network over a split."""

    statistics: list[Any] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    pictures: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    outputs: list[npt.NDArray[np.float32]] = field(default_factory=list)


class Measuring(NamedTuple):
    """Progress of one pass over a split."""

    view: View
    measured: int
    items: int


def evaluate(
    workload: Workload, weights: Weights, *, conditions: Sequence[Condition], split: SplitName = "test"
) -> Iterator[Score]:
    """Score weights on a split under each condition, yielding after each.

    A task that calibrates its scoring is measured on validation too. Raises ValueError for an unknown codec, a level outside its
    range, or weights that do not fit the network.
    """
    for each in scoring(workload, weights, [View(split, condition) for condition in conditions]):
        if isinstance(each, Score):
            yield each


def scoring(workload: Workload, weights: Weights, views: Sequence[View]) -> Iterator[Score | Measuring]:
    """`evaluate` for views, with progress: about once per second, the number of items measured in the present view."""
    architecture, task, data = workload.architecture, workload.architecture.task, workload.data
    learner = architecture.learner(workload.hyper, data, 1, workload.runtime.device)
    load(architecture, learner.network, weights)
    prepare(learner, workload.numerics)

    known: dict[Condition, Measured] = {}
    """Passes over validation, which calibration reads and which may be scored too."""

    def validation(condition: Condition) -> Sequence[Any]:
        if condition not in known:
            known[condition] = measure(workload, learner, "val", condition)
        return known[condition].statistics

    for split, condition in views:
        counts = resamples(data.fingerprint, data.split(split).groups)
        score, chosen = Calibration(task.score, {}) if task.calibrate is None else task.calibrate(validation, condition)
        measured, told = known.get(condition) if split == "val" else None, time.monotonic()
        if measured is None:
            for measured in measuring(workload, learner, split, condition, pictures=PICTURES if split == "test" else 0):
                if time.monotonic() - told > PROGRESS_SECONDS:
                    told = time.monotonic()
                    yield Measuring(View(split, condition), len(measured.statistics), len(data.split(split).names))
        if measured is None:
            raise ValueError(f"{data.name}: split {split} is empty")
        yield Score(
            split=split,
            condition=condition,
            **_rates(measured, condition),
            metrics=metrics(score, measured.statistics),
            chosen=chosen,
            replicates=dict(score(measured.statistics, counts)),
            pictures=measured.pictures,
            outputs=np.stack(measured.outputs) if measured.outputs else None,
        )


def fuse(
    fusion: Fusion, outputs: Sequence[npt.NDArray[np.float32]], *, data: Source, split: SplitName = "test"
) -> tuple[dict[str, float], dict[str, npt.NDArray[np.float64]]]:
    """Metrics and replicates of a fusion, from the outputs of its streams for the items of a split."""
    statistics = fusion.fuse(outputs, data.split(split))
    counts = resamples(data.fingerprint, data.split(split).groups)
    return metrics(fusion.task.score, statistics), dict(fusion.task.score(statistics, counts))


def _rates(measured: Measured, condition: Condition) -> dict[str, float | None]:
    """Encoded sizes; None for clean."""
    if condition.codec is None:
        return dict.fromkeys(("bits_per_pixel", "stream_bits_per_pixel", "bytes_per_item"))
    total = sum(size.total for size in measured.sizes)
    later = sum((frames - 1) * height * width for frames, height, width in measured.shapes)
    return {
        "bits_per_pixel": 8 * total / sum(map(math.prod, measured.shapes)),
        "stream_bits_per_pixel": 8 * sum(size.rest for size in measured.sizes) / later if later else None,
        "bytes_per_item": total / len(measured.sizes),
    }


def metrics(score: Scoring, statistics: Sequence[Any]) -> dict[str, float]:
    """Every metric, with each item counted once."""
    once = np.ones((1, len(statistics)), np.int64)
    return {name: float(values[0]) for name, values in score(statistics, once).items()}


def measure(
    workload: Workload, learner: Learner, split: SplitName, condition: Condition, *, items: Sequence[int] | None = None
) -> Measured:
    """Run a network over a split, or over the items at some indices, under one condition."""
    *_, measured = measuring(workload, learner, split, condition, items=items)
    return measured


def measuring(
    workload: Workload,
    learner: Learner,
    split: SplitName,
    condition: Condition,
    *,
    items: Sequence[int] | None = None,
    pictures: int = 0,
) -> Iterator[Measured]:
    """`measure`, drawing the first `pictures` items of the split and yielding the results so far after each batch."""
    architecture, runtime = workload.architecture, workload.runtime
    read = samples(workload, split, keep_frames=pictures)
    chosen = range(len(read.split.names)) if items is None else items
    draws = evaluation_draws(chosen, workload.hyper.batch_size, condition)
    learner.network.eval()
    measured = Measured()
    for batch in loader(read, draws, runtime):
        with torch.inference_mode(), computing(workload.numerics, runtime.device):
            predictions = learner.predict(batch.examples)
        measured.statistics.extend(architecture.task.statistics(predictions, batch.examples, workload.data))
        measured.sizes.extend(batch.sizes)
        measured.shapes.extend(batch.shapes)
        if architecture.output is not None:
            measured.outputs.extend(map(architecture.output, predictions))
        drawn = zip(batch.frames, predictions, strict=False)
        measured.pictures.extend(architecture.task.picture(frames, prediction) for frames, prediction in drawn)
        yield measured
