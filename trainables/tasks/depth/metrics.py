"""Depth metrics, named as in the paper's Table II (section III-B), computed per image and averaged over the images.

With prediction d and truth d*, over an image's pixels of known truth (Eigen et al. 2014):
AbsRel = mean(|d - d*| / d*), without unit; SqRel = mean((d - d*)^2 / d*), in metres; RMSE = sqrt(mean((d - d*)^2)), in metres.
Truth and prediction are clipped to the same range beforehand, so the sky counts as being at `max_depth`. The normalised metrics are
those of depths divided by `max_depth`.

To add a metric, name it in `METRICS`, compute it in `errors`, and name it in the task's `metrics`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

METRICS = ("abs_rel", "sq_rel", "rmse", "sq_rel_normalised", "rmse_normalised")


def errors(prediction: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], max_depth: float) -> npt.NDArray[np.float64]:
    """Statistics of one image, (6,): 1 if any true depth is known, else 0; then the values of `METRICS`, or zeros.

    Both maps are (H, W) metres; the truth is 0 where it is unknown.
    """
    known = truth > 0
    if not known.any():
        return np.zeros(1 + len(METRICS))
    right = truth[known].astype(np.float64)
    off = prediction[known].astype(np.float64) - right
    abs_rel, sq_rel, rmse = np.mean(np.abs(off) / right), np.mean(off**2 / right), np.sqrt(np.mean(off**2))
    return np.array([1, abs_rel, sq_rel, rmse, sq_rel / max_depth, rmse / max_depth])


def score(statistics: Sequence[npt.NDArray[np.float64]], weights: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    """Means of `METRICS` over N images under weights (R, N), each (R,). Images without known depth are left out.

    NaN for a resample without any known depth. Raises ValueError where no image at all has known depth.
    """
    table = np.stack(statistics)
    if not table[:, 0].any():
        raise ValueError("depth: none of the images to be scored has a pixel of known depth; check the depth maps and the size")
    weighed = weights * table[:, 0]
    total = weighed.sum(axis=1)
    means = weighed @ table[:, 1:] / np.where(total > 0, total, np.nan)[:, None]
    return {name: means[:, column] for column, name in enumerate(METRICS)}
