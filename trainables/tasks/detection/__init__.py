"""Object detection (paper section III-C). Importing this loads no torch.

To add an architecture or a data set, append a value to `ARCHITECTURES` or `DATASETS`.

`study run demo 'faster_rcnn/*'` trains the reduced network on the embedded scenes; `search_spaces/demo.py` states the figures to
expect.
"""

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from trainables.contracts import Architecture, Dataset, Frames, Inputs, Learner, Source, Task
from trainables.tasks.detection import coco, metrics, scenes, voc

SHOWN = 0.5
"""Smallest score of the detections that pictures show."""


@dataclass(frozen=True, kw_only=True)
class FasterRCNNHyper:
    """Hyper-parameters of Faster R-CNN. Defaults are the paper's (section III-C) or, where it states none, Detectron's.

    The defaults assume published initial weights. To train from random weights, set `frozen_batch_norm` to False and
    `trainable_layers` to 5.
    """

    batch_size: int = 2
    """The paper states none; Detectron uses two images per GPU."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.001
    lr_schedule: Literal["constant", "one_cycle", "warmup_steps"] = "warmup_steps"
    warmup: int = 500
    """Number of first steps over which `warmup_steps` raises the learning rate linearly, from a third of `lr`."""
    milestones: tuple[float, ...] = (2 / 3, 8 / 9)
    """Fractions of the training at which `warmup_steps` multiplies the learning rate by `decay`."""
    decay: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 0.0005
    clip: float = 0.0
    """Largest gradient norm; 0 disables clipping."""
    flip: bool = True
    """Mirror half of the training images left to right."""
    backbone: Literal["resnet50_fpn", "mobilenet_v2_fpn", "small"] = "resnet50_fpn"
    trainable_layers: int = 3
    """Number of ResNet50's five layers, or of MobileNetV2's five strides, that are trained, counted from the last; the `small`
    backbone is trained whole."""
    frozen_batch_norm: bool = True
    """Keep the initial weights and statistics of all batch norms."""
    min_size: int = 800
    """Length in pixels to which the shorter side of an image is resized, after the codec."""
    max_size: int = 1333
    """Upper limit of the longer side in pixels; where it would be exceeded, the shorter side becomes less than `min_size`."""
    nms: float = 0.3
    """IoU above which the lower-scored of two detections of a class is dropped. Detectron's default; torchvision's is 0.5."""


def _example(frames: Frames, target: Any, hyper: Any, rng: np.random.Generator | None) -> Any:
    """Image (3, H, W) uint8 and its objects."""
    image = frames[0]
    if rng is not None and hyper.flip and rng.random() < 0.5:
        image = image[:, ::-1]
        x0, y0, x1, y1 = target["boxes"].T
        target = {**target, "boxes": np.stack([image.shape[1] - x1, y0, image.shape[1] - x0, y1], axis=1)}
    return {"image": np.ascontiguousarray(image.transpose(2, 0, 1)), "truth": target}


def _collate(examples: Sequence[Any]) -> Any:
    """Lists of images, tensors (3, H, W) of differing sizes, and of their objects."""
    import torch

    return {
        "images": [torch.from_numpy(example["image"]) for example in examples],
        "truths": [example["truth"] for example in examples],
    }


def _picture(frames: Frames, prediction: Any) -> npt.NDArray[np.uint8]:
    """The image with boxes in the colours of their classes, the highest score on top."""
    image = Image.fromarray(frames[0])
    draw, pen = ImageDraw.Draw(image), max(1, image.width // 320)
    for place in np.argsort(prediction["scores"]):
        if prediction["scores"][place] >= SHOWN:
            x0, y0, x1, y1 = (float(each) for each in prediction["boxes"][place])
            draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=_colour(int(prediction["labels"][place])), width=pen)
    return np.asarray(image, np.uint8)


def _colour(label: int) -> tuple[int, int, int]:
    """A bright colour; neighbouring classes are far apart in hue (golden angle)."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.9, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _present(target: Any) -> Iterable[int]:
    """Classes of the objects, including objects that are excluded from scoring."""
    return [int(label) for label in np.unique(target["labels"])]


def _learner(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.detection.faster_rcnn import faster_rcnn

    return faster_rcnn(hyper, source, steps, device)


def _imagenet(network: Any) -> None:
    from trainables.tasks.detection.faster_rcnn import imagenet

    imagenet(network)


def _trained_on_coco(network: Any) -> None:
    from trainables.tasks.detection.faster_rcnn import coco

    coco(network)


def _mobilenet_imagenet(network: Any) -> None:
    from trainables.tasks.detection.mobilenet import imagenet

    imagenet(network)


DETECTION = Task(
    name="detection",
    metric="map",
    metrics={
        "map": "max",
        "ap50": "max",
        "ap75": "max",
        "ap_small": "max",
        "ap_medium": "max",
        "ap_large": "max",
        "voc07_ap50": "max",
        "precision": "max",
        "recall": "max",
        "confidence": "max",
        "missed": "min",
        "mislocalised": "min",
        "misclassified": "min",
        "background": "min",
    },
    statistics=metrics.statistics,
    score=metrics.score,
    picture=_picture,
    calibrate=metrics.calibrate,
)

INPUTS = Inputs(example=_example, collate=_collate)

FASTER_RCNN = Architecture(
    name="faster_rcnn",
    task=DETECTION,
    inputs=INPUTS,
    hyper=FasterRCNNHyper(),
    learner=_learner,
    initial={"imagenet": _imagenet, "coco": _trained_on_coco},
    revision=1,
)

FASTER_RCNN_MOBILENET_V2 = replace(
    FASTER_RCNN,
    name="faster_rcnn_mobilenet_v2",
    hyper=replace(FASTER_RCNN.hyper, backbone="mobilenet_v2_fpn", min_size=320, max_size=640),
    initial={"imagenet": _mobilenet_imagenet},
)

ARCHITECTURES = (FASTER_RCNN, FASTER_RCNN_MOBILENET_V2)

DATASETS = (
    Dataset(
        name="street_objects",
        task=DETECTION.name,
        summary="embedded procedural streets, 5 classes of objects",
        present=_present,
        make=scenes.street_objects,
    ),
    Dataset(
        name="voc2007",
        task=DETECTION.name,
        summary="Pascal VOC 2007, 20 classes, in its native layout (VOCdevkit/VOC2007)",
        present=_present,
        open=voc.voc2007,
    ),
    Dataset(
        name="voc",
        task=DETECTION.name,
        summary="VOC's layout with any classes (JPEGImages, Annotations, ImageSets/Main)",
        present=_present,
        open=voc.voc,
    ),
    Dataset(
        name="coco",
        task=DETECTION.name,
        summary="COCO 2017, 80 classes, in its native layout (train2017, val2017, annotations)",
        present=_present,
        open=coco.coco,
    ),
)
