"""Metrics of action recognition, as in the paper's Table V (section IV-E).

To add a metric, compute it from the outcomes in `score` and add its name to `metrics` of the task.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from trainables.contracts import Source, Split


class Outcome(NamedTuple):
    """The statistics of one clip."""

    truth: int
    answer: int


def outcome(logits: npt.NDArray[np.float32], truth: int) -> Outcome:
    """Outcome of a clip with logits (K,): the answer is the class of the largest logit, the first one in a tie."""
    return Outcome(truth, int(logits.argmax()))


def statistics(predictions: Sequence[Any], batch: Any, source: Source) -> Sequence[Outcome]:  # noqa: ARG001
    """Outcome of each clip of a batch; predictions are logits (K,)."""
    labels = batch["label"].tolist()
    return [outcome(logits, label) for logits, label in zip(predictions, labels, strict=True)]


def fuse(outputs: Sequence[npt.NDArray[np.float32]], split: Split) -> Sequence[Outcome]:
    """Outcome of each clip of a split from the sum of the streams' logits, each (N, K)."""
    return [outcome(logits, split.target(index)) for index, logits in enumerate(np.sum(outputs, axis=0))]


def score(outcomes: Sequence[Outcome], weights: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    """Metrics of N clips under weights (R, N), each (R,) in 0..1: `top1` over clips, `mean_class_accuracy` over classes.

    A class without clips in a resample is left out of that resample's mean.
    """
    truth, answer = np.array(outcomes, np.int64).T
    counts = weights.astype(np.float64)
    right = counts * (truth == answer)
    of_class = (truth[:, None] == np.unique(truth)).astype(np.float64)
    clips = counts @ of_class
    accuracy = np.divide(right @ of_class, clips, out=np.full_like(clips, np.nan), where=clips > 0)
    return {
        "top1": right.sum(axis=1) / counts.sum(axis=1),
        "mean_class_accuracy": np.asarray(np.nanmean(accuracy, axis=1)),
    }
