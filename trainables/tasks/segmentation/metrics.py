"""Segmentation metrics, computed from one confusion matrix, as in the paper's Table I (section III-A).

To add a metric, compute it from the confusion matrices in `score`, and name it in the task's `metrics`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

VOID = 255
"""Label of pixels that are ignored in training and in scoring."""


def confusion(prediction: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], classes: int) -> npt.NDArray[np.int64]:
    """Pixel counts (K, K), true class by row and predicted class by column, of two class maps of equal shape. Void is ignored."""
    known = target != VOID
    pairs = target[known].astype(np.int64) * classes + prediction[known]
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def score(confusions: Sequence[npt.NDArray[np.int64]], weights: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    """Metrics of the summed confusion matrix of N items under weights (R, N): `miou`, `global_accuracy`, `mean_class_accuracy`.

    Each is (R,), in 0..1. A class that occurs neither in truth nor in prediction is left out of both means. A class that is
    predicted but never true enters mIoU as 0 and is left out of the mean class accuracy.
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
    """Mean over the classes of the ratios of two (R, K) arrays; classes with denominator 0 are left out."""
    ratio = np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)
    return np.asarray(np.nanmean(ratio, axis=1))
