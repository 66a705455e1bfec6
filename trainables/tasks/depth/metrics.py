"""Depth metrics as the paper's Table II names them (section III-B), per image and then averaged over the images.

Of an image, over the pixels whose truth d* is known: AbsRel = mean(|d - d*| / d*), SqRel = mean((d - d*)^2 / d*) in metres,
RMSE = sqrt(mean((d - d*)^2)) in metres (Eigen et al. 2014). Truth and prediction are both clipped to the same range before, so
that the sky counts as being as far as the range goes. The normalised ones are of depths divided by the end of the range,
`max_depth`; AbsRel has no unit. To add a metric, name it in `METRICS` and derive it in `errors`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

METRICS = ("abs_rel", "sq_rel", "rmse", "sq_rel_normalised", "rmse_normalised")


def errors(prediction: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], max_depth: float) -> npt.NDArray[np.float64]:
    """(6,): whether the image counts (1 or 0), and `METRICS` of one image.

    Both maps are (H, W) metres; the truth is 0 where it is unknown. An image without a known pixel counts for nothing.
    """
    known = truth > 0
    if not known.any():
        return np.zeros(1 + len(METRICS))
    right = truth[known].astype(np.float64)
    off = prediction[known].astype(np.float64) - right
    abs_rel, sq_rel, rmse = np.mean(np.abs(off) / right), np.mean(off**2 / right), np.sqrt(np.mean(off**2))
    return np.array([1, abs_rel, sq_rel, rmse, sq_rel / max_depth, rmse / max_depth])


def score(statistics: Sequence[npt.NDArray[np.float64]], weights: npt.NDArray[np.int64]) -> Mapping[str, npt.NDArray[np.float64]]:
    """Means of `METRICS` over N images under weights (R, N), each (R,); images that do not count weigh nothing.

    Raises ValueError where no image counts: there is then no error to state.
    """
    table = np.stack(statistics)
    weighed = weights * table[:, 0]
    total = weighed.sum(axis=1)
    if not total.all():
        raise ValueError("depth: no image that is scored has a pixel of known depth; check the depth maps and the size")
    means = weighed @ table[:, 1:] / total[:, None]
    return {name: means[:, column] for column, name in enumerate(METRICS)}
