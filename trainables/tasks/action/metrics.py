"""Metrics of action recognition, as the paper's Table V reports them (section IV-E).

To add a metric, derive it from the outcomes in `score` and name it in the architectures' `metrics`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Outcome(NamedTuple):
    """What scoring needs of a clip."""

    truth: int
    answer: int


def outcome(logits: npt.NDArray[np.float32], truth: int) -> Outcome:
    """The outcome of a clip by its logits (K,): the answer is the largest, of equal ones the first."""
    return Outcome(truth, int(logits.argmax()))


def score(outcomes: Sequence[Outcome], weights: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    """Metrics of N clips under weights (R, N): `top1` over clips, `mean_class_accuracy` over the classes. In 0..1, each (R,).

    A class of which a resample holds no clip counts in no mean.
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
