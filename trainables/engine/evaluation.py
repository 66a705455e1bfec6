"""Scoring a network under test conditions, with the bootstrap replicates made where the metrics live.

A metric is added in a task's room: its `statistics` say what each item contributes, its `score` weighs and sums them up.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainables.contracts import (
    Architecture,
    Calibration,
    Condition,
    Learner,
    Numerics,
    Score,
    Scoring,
    Size,
    Source,
    Weights,
)
from trainables.networks.initial import load
from trainables.engine.loading import evaluation_draws, loader, samples
from trainables.engine.numerics import computing, prepare
from trainables.engine.resampling import resamples
from trainables.engine.runtime import Runtime

PICTURES = 3
"""How many test items every condition draws."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one pass of a network over a split left."""

    statistics: list[Any] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    shapes: list[tuple[int, int, int]] = field(default_factory=list)
    pictures: list[npt.NDArray[np.uint8]] = field(default_factory=list)
    outputs: list[npt.NDArray[np.float32]] = field(default_factory=list)


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

    An architecture that calibrates its scoring is measured on validation too. Raises ValueError for a codec that is not in
    `CODECS`, a level that it does not have, or weights that do not fit the network.
    """
    learner = architecture.learner(hyper, data, 1, runtime.device)
    load(architecture, learner.network, weights)
    prepare(learner, numerics)

    @cache
    def validation(condition: Condition) -> Sequence[Any]:
        return measure(architecture, hyper, learner, data, "val", condition, numerics, runtime).statistics

    counts = resamples(data.fingerprint, data.test.groups)
    for condition in conditions:
        calibrate = architecture.calibrate
        score, chosen = Calibration(architecture.score, {}) if calibrate is None else calibrate(validation, condition)
        measured = measure(architecture, hyper, learner, data, "test", condition, numerics, runtime, pictures=PICTURES)
        yield Score(
            condition=condition,
            **_rates(measured, condition),
            metrics=metrics(score, measured.statistics),
            chosen=chosen,
            replicates=dict(score(measured.statistics, counts)),
            pictures=measured.pictures,
            outputs=np.stack(measured.outputs) if measured.outputs else None,
        )


def fuse(
    architecture: Architecture, outputs: Sequence[npt.NDArray[np.float32]], *, data: Source
) -> tuple[dict[str, float], dict[str, npt.NDArray[np.float64]]]:
    """Metrics and replicates of a fusion, from what its streams put out for the test items. It trains nothing and sees nothing.

    Raises ValueError for an architecture that fuses nothing.
    """
    if architecture.fuse is None:
        raise ValueError(f"{architecture.name} fuses nothing")
    statistics = architecture.fuse(outputs, data)
    counts = resamples(data.fingerprint, data.test.groups)
    return metrics(architecture.score, statistics), dict(architecture.score(statistics, counts))


def _rates(measured: Measured, condition: Condition) -> dict[str, float | None]:
    """What the items take after coding; None where there is no such thing."""
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
    """Every metric over items that count once each."""
    once = np.ones((1, len(statistics)), np.int64)
    return {name: float(values[0]) for name, values in score(statistics, once).items()}


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
        measured.shapes.extend(batch.shapes)
        if architecture.output is not None:
            measured.outputs.extend(map(architecture.output, predictions))
        drawn = zip(batch.frames, predictions, strict=False)
        measured.pictures.extend(architecture.picture(frames, prediction) for frames, prediction in drawn)
    return measured
