"""Segmentation metrics from one confusion matrix, as the paper's Table I reports them (section III-A).

To add a metric, derive it from the confusion matrices in `score` and name it in the architectures' `metrics`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

VOID = 255
"""Label of pixels that count nowhere."""


def confusion(prediction: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.int64]:
    """(K, K) pixel counts, truth by row and prediction by column, of two class maps of equal shape; void truth is left out."""
    known = target != VOID
    pairs = target[known].astype(np.int64) * classes + prediction[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def score(confusions: Sequence[npt.NDArray[np.int64]], weights: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    """Metrics of the summed confusion matrix of N items under weights (R, N): `miou`, `global_accuracy`, `mean_class_accuracy`.

    All in 0..1, each (R,). A class that occurs neither in truth nor in prediction counts in no mean; one that is predicted but
    never true counts in mIoU alone, as 0.
    """
    stacked = np.stack(confusions).astype(np.float64)
    total = np.tensordot(weights.astype(np.float64), stacked, axes=1)
    right = np.diagonal(total, axis1=1, axis2=2)
    truth, predicted = total.sum(axis=2), total.sum(axis=1)
    return {
        "miou": _mean(right, truth + predicted - right),
        "global_accuracy": right.sum(axis=1) / total.sum(axis=(1, 2)),
        "mean_class_accuracy": _mean(right, truth),
    }


def _mean(numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over the classes of (R, K) ratios, leaving out those of 0 / 0."""
    ratio = np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
    return np.asarray(np.nanmean(ratio, axis=1))
