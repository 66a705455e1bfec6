"""Scoring a network under test conditions, with the bootstrap replicates made where the metrics live.

A metric is added in a task's room: its `statistics` say what each item contributes, its `score` weighs and sums them up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.contracts import Architecture, Condition, Learner, Numerics, Score, Source, Weights
from trainables.initial import load
from trainables.loading import evaluation_draws, loader, samples
from trainables.numerics import computing, prepare
from trainables.resampling import resamples
from trainables.runtime import Runtime

PICTURES = 3
"""How many test items every condition draws."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one pass of a network over a split left."""

    statistics: list[Any] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    pixels: list[int] = field(default_factory=list)
    pictures: list[npt.NDArray[np.uint8]] = field(default_factory=list)


def evaluate(
    architecture: Architecture,
    hyper: Any,
    weights: Weights,
    *,
    data: Source,
    conditions: Sequence[Condition],
    numerics: Numerics = Numerics(),
    runtime: Runtime = Runtime(),
) -> Iterator[Score]:
    """Score weights on the test split under each condition, yielding after each.

    Raises ValueError for a codec that is not in `CODECS`, a level that it does not have, or weights that do not fit the network.
    """
    learner = architecture.learner(hyper, data, 1, runtime.device)
    load(architecture, learner.network, weights)
    prepare(learner, numerics)
    counts = resamples(data.fingerprint, data.test.groups)
    for condition in conditions:
        measured = measure(architecture, hyper, learner, data, "test", condition, numerics, runtime, pictures=PICTURES)
        coded = condition.codec is not None
        yield Score(
            condition=condition,
            bits_per_pixel=8 * sum(measured.sizes) / sum(measured.pixels) if coded else None,
            bytes_per_item=sum(measured.sizes) / len(measured.sizes) if coded else None,
            metrics=metrics(architecture, measured.statistics),
            replicates=dict(architecture.score(measured.statistics, counts)),
            pictures=measured.pictures,
        )


def metrics(architecture: Architecture, statistics: Sequence[Any]) -> dict[str, float]:
    """Every metric over items that count once each."""
    once = np.ones((1, len(statistics)), np.int64)
    return {name: float(values[0]) for name, values in architecture.score(statistics, once).items()}


def measure(
    architecture: Architecture,
    hyper: Any,
    learner: Learner,
    data: Source,
    split: str,
    condition: Condition,
    numerics: Numerics,
    runtime: Runtime,
    *,
    pictures: int = 0,
) -> Measured:
    """Pass one whole split of a source through a network under one condition, drawing the first `pictures` items."""
    items = samples(architecture, hyper, data, split, condition.codec, runtime, keep_frames=pictures)
    draws = evaluation_draws(len(items.split.names), hyper.batch_size, condition.level)
    learner.network.eval()
    measured = Measured()
    for batch in loader(items, draws, runtime):
        with torch.inference_mode(), computing(numerics, runtime.device):
            predictions = learner.predict(batch.examples)
        measured.statistics.extend(architecture.statistics(predictions, batch.examples, data))
        measured.sizes.extend(batch.sizes)
        measured.pixels.extend(batch.pixels)
        drawn = zip(batch.frames, predictions, strict=False)
        measured.pictures.extend(architecture.picture(frames, prediction) for frames, prediction in drawn)
    return measured
