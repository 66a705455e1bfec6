"""Monocular depth estimation (paper section III-B). Plain values: torch is imported by the functions that need it.

A target is a (H, W) float32 map of metres along the camera's axis, 0 where the truth is unknown. To add an architecture or a data
set, append a value to `ARCHITECTURES` or `DATASETS`.

`study run demo 'depth_gan/*'` trains the reduced network on the embedded scenes, some 40 seconds a training on one core.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainables.contracts import Architecture, Dataset, Frames, Learner, Source


@dataclass(frozen=True, kw_only=True)
class DepthGANHyper:
    """Hyper-parameters of the depth GAN; defaults are the paper's (section III-B) and, where it is silent, pix2pix's.

    The paper does not state its scale of depth: `max_depth` and `representation` are this project's own. Raises ValueError for
    a network that the size does not fit and for a range of depths that is none.
    """

    batch_size: int = 10
    lr: float = 1e-4
    lr_schedule: Literal["constant", "one_cycle"] = "constant"
    """Of generator and discriminator alike."""
    betas: tuple[float, float] = (0.5, 0.999)
    l1_weight: float = 100.0
    adversarial_weight: float = 1.0
    width: int = 64
    """Channels of the first convolution of both networks; deeper ones have up to eight times as many."""
    levels: int = 8
    """Convolutions down, and up again, of the generator; each halves the size."""
    size: tuple[int, int] = (256, 256)
    """(H, W) that images and depth maps are brought to after the codec, and scored at; multiples of 2 ** levels."""
    max_depth: float = 80.0
    """Metres. What is farther counts as this far, the sky too: in training, in the truth that is scored and in predictions."""
    min_depth: float = 0.1
    """Metres. What is nearer counts as this near."""
    representation: Literal["linear", "log"] = "linear"
    """What the generator's -1..1 stands for: 0..max_depth linearly, or min_depth..max_depth by the logarithm."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.levels < 2:
            raise ValueError(f"depth_gan: needs a width of 1 and 2 levels at least, not {self.width} and {self.levels}")
        if any(side % 2**self.levels or side < 32 for side in self.size):
            raise ValueError(
                f"depth_gan: size {self.size} does not halve {self.levels} times; take multiples of {2**self.levels}, 32 or more"
            )
        if not 0 < self.min_depth < self.max_depth:
            raise ValueError(f"depth_gan: depths from {self.min_depth} to {self.max_depth} m are no range; give 0 < min < max")


def _example(frames: Frames, target: npt.NDArray[np.float32], hyper: Any, rng: np.random.Generator | None) -> Any:  # noqa: ARG001
    """Image (3, H, W) uint8; depth (H, W) float32 in min_depth..max_depth, 0 where unknown; max_depth, for scoring."""
    image, depth = frames[0], target
    if hyper.size != depth.shape:
        import cv2

        height, width = hyper.size
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        # Nearest: a mean of two things' depths, or of a depth and an unknown one, is nobody's.
        depth = np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)
    clipped = np.where(depth > 0, depth.clip(hyper.min_depth, hyper.max_depth), 0).astype(np.float32)
    return {
        "image": np.ascontiguousarray(image.transpose(2, 0, 1)),
        "depth": clipped,
        "max_depth": np.float32(hyper.max_depth),
    }


def _depth_gan(hyper: Any, source: Source, steps: int, device: str) -> Learner:  # noqa: ARG001
    from trainables.tasks.depth.depth_gan import DepthGANLearner

    return DepthGANLearner(hyper, steps=steps, device=device)


def _statistics(predictions: Sequence[Any], batch: Any, source: Source) -> Sequence[Any]:  # noqa: ARG001
    from trainables.tasks.depth.metrics import errors

    truths, scales = batch["depth"].numpy(), batch["max_depth"].numpy()
    return [errors(found, truth, float(scale)) for found, truth, scale in zip(predictions, truths, scales, strict=True)]


def _score(statistics: Sequence[Any], weights: npt.NDArray[np.int64]) -> Any:
    from trainables.tasks.depth.metrics import score

    return score(statistics, weights)


DRAWN = (0.5, 80.0)
"""Metres: what `_picture` draws brightest and darkest, the same for every data set, network and condition."""


def _picture(frames: Frames, prediction: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The image above its depth map in the same size: inferno over the logarithm of the depth, near bright."""
    import cv2

    near, far = DRAWN
    nearness = 1 - np.log(prediction.clip(near, far) / near) / np.log(far / near)
    colours = cv2.applyColorMap((255 * nearness).astype(np.uint8), cv2.COLORMAP_INFERNO)
    height, width = frames.shape[1:3]
    shown = cv2.resize(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.concatenate([frames[0], np.asarray(shown, np.uint8)])


def _no_classes(target: Any) -> Iterable[int]:  # noqa: ARG001
    return ()


def _street_depth() -> Source:
    from trainables.tasks.depth.streets import street_depth

    return street_depth()


def _synthia(root: Path) -> Source:
    from trainables.tasks.depth.synthia import synthia

    return synthia(root)


def _rgbd(root: Path) -> Source:
    from trainables.tasks.depth.rgbd import rgbd

    return rgbd(root)


DEPTH_GAN = Architecture(
    name="depth_gan",
    task="depth",
    metric="rmse",
    metrics={"rmse": "min", "abs_rel": "min", "sq_rel": "min", "rmse_normalised": "min", "sq_rel_normalised": "min"},
    hyper=DepthGANHyper,
    example=_example,
    learner=_depth_gan,
    statistics=_statistics,
    score=_score,
    picture=_picture,
)

ARCHITECTURES = (DEPTH_GAN,)

DATASETS = (
    Dataset(
        name="street_depth",
        task="depth",
        summary="embedded procedural streets from a level camera, metres up to 80",
        present=_no_classes,
        make=_street_depth,
    ),
    Dataset(
        name="synthia",
        task="depth",
        summary="SYNTHIA in its native tree: RAND-CITYSCAPES (RGB/, Depth/Depth/) or sequences (RGB/Stereo_Left/Omni_F/, ...)",
        present=_no_classes,
        open=_synthia,
    ),
    Dataset(
        name="rgbd",
        task="depth",
        summary="frames of one camera path: NAME.color.jpg beside NAME.depth.png (16 bits, millimetres)",
        present=_no_classes,
        open=_rgbd,
    ),
)
