"""Monocular depth estimation (paper section III-B). Importing this loads no torch: functions that need torch import it themselves.

A target is a (H, W) float32 map of metres along the camera's axis, 0 where the depth is unknown. To add an architecture or a data
set, append a value to `ARCHITECTURES` or `DATASETS`.

`study run demo 'depth_gan/*'` trains the reduced network on the embedded scenes, in about 40 seconds per training on one core.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from trainables.contracts import Architecture, Dataset, Frames, Inputs, Learner, Source, Task
from trainables.tasks.depth import rgbd, streets, synthia
from trainables.tasks.depth.metrics import errors, score


@dataclass(frozen=True, kw_only=True)
class DepthGANHyper:
    """Hyper-parameters of the depth GAN. Defaults are the paper's (section III-B) or, where it gives none, pix2pix's.

    The paper does not state its range of depths: `max_depth`, `min_depth` and `representation` are this project's choice. Raises
    ValueError for a network that does not fit the size, a negative jitter, or an empty range of depths.
    """

    batch_size: int = 10
    lr: float = 1e-4
    lr_schedule: Literal["constant", "one_cycle"] = "constant"
    """Applies to generator and discriminator."""
    betas: tuple[float, float] = (0.5, 0.999)
    l1_weight: float = 100.0
    adversarial_weight: float = 1.0
    width: int = 64
    """Channels of the first convolution of both networks; deeper convolutions have up to eight times as many."""
    downsamplings: int = 8
    """Convolutions of the generator that halve the size; as many transposed convolutions double it again."""
    size: tuple[int, int] = (256, 256)
    """(H, W) to which images and depth maps are resized after the codec, multiples of 2 ** downsamplings; scores are computed at
    this size."""
    jitter: int = 30
    """Training resizes image and depth map to `size` plus this many pixels per side, and crops `size` at a random place, as
    pix2pix: 286, then 256. 0: no crop. Evaluation resizes to `size`."""
    flip: bool = True
    """Mirror half of the training images with their depth maps, as in pix2pix."""
    max_depth: float = 80.0
    """Metres. Greater depths, the sky included, are clipped to it: in training, in the truth that is scored and in predictions."""
    min_depth: float = 0.1
    """Metres. Smaller depths are clipped to it."""
    representation: Literal["linear", "log"] = "linear"
    """Meaning of the generator's outputs -1..1: 0..max_depth linearly, or min_depth..max_depth logarithmically."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.downsamplings < 2:
            raise ValueError(
                f"depth_gan: width {self.width} and downsamplings {self.downsamplings} are too small; give at least 1 and 2"
            )
        step = 2**self.downsamplings
        if any(side % step or side < 32 for side in self.size):
            raise ValueError(
                f"depth_gan: size {self.size} cannot be halved {self.downsamplings} times; give multiples of {step}, at least 32"
            )
        if self.jitter < 0:
            raise ValueError(f"depth_gan: jitter {self.jitter} is negative; give a number of pixels, or 0 for none")
        if not 0 < self.min_depth < self.max_depth:
            raise ValueError(
                f"depth_gan: min_depth {self.min_depth} and max_depth {self.max_depth} are no range; give 0 < min_depth < max_depth"
            )


Image = npt.NDArray[np.uint8]
DepthMap = npt.NDArray[np.float32]


def _example(frames: Frames, target: DepthMap, hyper: Any, rng: np.random.Generator | None) -> Any:
    """Image (3, H, W) uint8; depth (H, W) float32 in min_depth..max_depth, 0 where unknown; max_depth, for scoring."""
    if rng is None:
        image, depth = _resized(frames[0], target, hyper.size)
    else:
        image, depth = _jittered(frames[0], target, hyper, rng)
    clipped = np.where(depth > 0, depth.clip(hyper.min_depth, hyper.max_depth), 0).astype(np.float32)
    return {
        "image": np.ascontiguousarray(image.transpose(2, 0, 1)),
        "depth": clipped,
        "max_depth": np.float32(hyper.max_depth),
    }


def _jittered(image: Image, depth: DepthMap, hyper: Any, rng: np.random.Generator) -> tuple[Image, DepthMap]:
    """Both resized to a little more than the network's input, cropped at the same random place, and mirrored at random."""
    height, width = hyper.size
    image, depth = _resized(image, depth, (height + hyper.jitter, width + hyper.jitter))
    top, left = rng.integers(hyper.jitter + 1, size=2)
    rows, columns = slice(top, top + height), slice(left, left + width)
    step = -1 if hyper.flip and rng.random() < 0.5 else 1
    return image[rows, columns][:, ::step], depth[rows, columns][:, ::step]


def _resized(image: Image, depth: DepthMap, size: tuple[int, int]) -> tuple[Image, DepthMap]:
    """An image (H, W, 3) and its depth map (H, W) at another size."""
    if size == depth.shape:
        return image, depth
    height, width = size
    shrinks = height * width < depth.size
    smooth = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return (
        np.asarray(cv2.resize(image, (width, height), interpolation=smooth), np.uint8),
        # Nearest neighbour: averaging depths across an object's edge, or with unknown pixels, gives a depth that exists nowhere.
        np.asarray(cv2.resize(depth, (width, height), interpolation=cv2.INTER_NEAREST), np.float32),
    )


def _depth_gan(hyper: Any, source: Source, steps: int, device: str) -> Learner:  # noqa: ARG001
    from trainables.tasks.depth.depth_gan import DepthGANLearner

    return DepthGANLearner(hyper, steps=steps, device=device)


def _statistics(predictions: Sequence[Any], batch: Any, source: Source) -> Sequence[Any]:  # noqa: ARG001
    truths, ends = batch["depth"].numpy(), batch["max_depth"].numpy()
    return [errors(found, truth, float(end)) for found, truth, end in zip(predictions, truths, ends, strict=True)]


PICTURED = (0.5, 80.0)
"""Metres: depths that `_picture` draws brightest and darkest, the same for every data set, network and condition."""


def _picture(frames: Frames, prediction: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The image above its predicted depth map, in the same size: inferno colours over the logarithm of depth, near is bright."""
    near, far = PICTURED
    nearness = 1 - np.log(prediction.clip(near, far) / near) / np.log(far / near)
    colours = cv2.applyColorMap((255 * nearness).astype(np.uint8), cv2.COLORMAP_INFERNO)
    height, width = frames.shape[1:3]
    shown = cv2.resize(cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), (width, height), interpolation=cv2.INTER_NEAREST)
    return np.concatenate([frames[0], np.asarray(shown, np.uint8)])


def _no_classes(target: Any) -> Iterable[int]:  # noqa: ARG001
    return ()


DEPTH = Task(
    name="depth",
    metric="rmse",
    metrics={"rmse": "min", "abs_rel": "min", "sq_rel": "min", "rmse_normalised": "min", "sq_rel_normalised": "min"},
    statistics=_statistics,
    score=score,
    picture=_picture,
)

INPUTS = Inputs(example=_example)

DEPTH_GAN = Architecture(
    name="depth_gan",
    task=DEPTH,
    inputs=INPUTS,
    hyper=DepthGANHyper(),
    learner=_depth_gan,
    revision=1,
)

ARCHITECTURES = (DEPTH_GAN,)

DATASETS = (
    Dataset(
        name="street_depth",
        task=DEPTH.name,
        summary="embedded procedural streets from a level camera, metres up to 80",
        present=_no_classes,
        make=streets.street_depth,
    ),
    Dataset(
        name="synthia",
        task=DEPTH.name,
        summary="SYNTHIA in its native tree: RAND-CITYSCAPES (RGB/, Depth/Depth/) or sequences (RGB/Stereo_Left/Omni_F/, ...)",
        present=_no_classes,
        open=synthia.synthia,
    ),
    Dataset(
        name="rgbd",
        task=DEPTH.name,
        summary="frames of one camera path: NAME.color.jpg beside NAME.depth.png (16 bits, millimetres)",
        present=_no_classes,
        open=rgbd.rgbd,
    ),
)
