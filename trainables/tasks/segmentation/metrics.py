"""Segmentation metrics, computed from one confusion matrix, as in the paper's Table I (section III-A).

To add a metric, compute it from the confusion matrices in `score`, and name it in the task's `metrics`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

VOID = 255
"""Label of pixels that are ignored in training and in scoring. In a prediction it counts as a miss."""


def confusion(
    prediction: npt.NDArray[np.uint8], target: npt.NDArray[np.uint8], classes: int, data: str = "the data set"
) -> npt.NDArray[np.int64]:
    """Pixel counts (K, K + 1) of two class maps of equal shape: true class by row, predicted class by column, void last.

    Pixels whose true label is void are ignored. Raises ValueError, naming the `data`, where a predicted label is not a class.
    """
    unknown = prediction[(prediction >= classes) & (prediction != VOID)]
    if unknown.size:
        raise ValueError(
            f"the network predicts class {unknown.max()}, but {data} has {classes} classes (0..{classes - 1}); give the network "
            f"{classes} outputs, or name its void output in the hyper-parameter void_output"
        )
    known = target != VOID
    columns = np.minimum(prediction[known], classes)
    pairs = target[known].astype(np.int64) * (classes + 1) + columns
    return np.bincount(pairs, minlength=classes * (classes + 1)).reshape(classes, classes + 1)


def score(confusions: Sequence[npt.NDArray[np.int64]], weights: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    """Metrics of the summed confusion matrix of N items under weights (R, N): `miou`, `global_accuracy`, `mean_class_accuracy`.

    Each is (R,), in 0..1. A class that occurs neither in truth nor in prediction is left out of both means. A class that is
    predicted but never true enters mIoU as 0 and is left out of the mean class accuracy. A pixel predicted as void is wrong in all
    three. NaN for a resample without any labelled pixel. Raises ValueError where no item at all has a labelled pixel.
    """
    stacked = np.stack(confusions).astype(np.float64)
    if not stacked.any():
        raise ValueError("segmentation: none of the images to be scored has a labelled pixel; check the annotations and the size")
    total = np.tensordot(weights.astype(np.float64), stacked, axes=1)
    right = np.diagonal(total, axis1=1, axis2=2)
    truth, predicted = total.sum(axis=2), total[:, :, :-1].sum(axis=1)
    pixels = total.sum(axis=(1, 2))
    return {
        "miou": _mean(right, truth + predicted - right),
        "global_accuracy": right.sum(axis=1) / np.where(pixels > 0, pixels, np.nan),
        "mean_class_accuracy": _mean(right, truth),
    }


def _mean(numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean over the classes of the ratios of two (R, K) arrays; classes with denominator 0 are left out, NaN if all are."""
    ratio = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)
    classes = (denominator > 0).sum(axis=1)
    return np.asarray(ratio.sum(axis=1) / np.where(classes > 0, classes, np.nan))
