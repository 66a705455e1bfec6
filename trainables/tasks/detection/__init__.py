"""Object detection (paper section III-C). Plain values: torch is imported by the functions that need it.

To add an architecture or a data set, append a value to `ARCHITECTURES` or `DATASETS`.

`study run demo 'faster_rcnn/*'` trains the reduced network on the embedded scenes; `search_spaces/demo.py` states the figures to
expect.
"""

import colorsys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainables.contracts import Architecture, Calibration, Condition, Dataset, Frames, Learner, Source


@dataclass(frozen=True, kw_only=True)
class FasterRCNNHyper:
    """Hyper-parameters of Faster R-CNN; defaults are the paper's (section III-C) and, where it gives none, Detectron's.

    The defaults want published initial weights: a network from `none` needs `frozen_batch_norm` off and all layers trained.
    """

    batch_size: int = 2
    """The paper gives none; Detectron's two images a GPU."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.001
    lr_schedule: Literal["constant", "one_cycle"] = "constant"
    momentum: float = 0.9
    weight_decay: float = 0.0005
    clip: float = 0.0
    """The most that the norm of the gradient may be; 0 clips nothing."""
    flip: bool = True
    """Half of the training images are mirrored left to right."""
    backbone: Literal["resnet50_fpn", "small"] = "resnet50_fpn"
    trainable_layers: int = 3
    """How many of ResNet50's five stages are trained, from the last; `small` is trained whole."""
    frozen_batch_norm: bool = True
    """Batch norms keep the weights and statistics that they start with."""
    min_size: int = 800
    max_size: int = 1333
    """After the codec, images are brought to a shorter side of `min_size`, or less where the longer would exceed `max_size`."""


def _example(frames: Frames, target: Any, hyper: Any, rng: np.random.Generator | None) -> Any:
    """Image (3, H, W), uint8, and its objects."""
    image = frames[0]
    if rng is not None and hyper.flip and rng.random() < 0.5:
        image = image[:, ::-1]
        x0, y0, x1, y1 = target["boxes"].T
        target = {**target, "boxes": np.stack([image.shape[1] - x1, y0, image.shape[1] - x0, y1], axis=1)}
    return {"image": np.ascontiguousarray(image.transpose(2, 0, 1)), "truth": target}


def _collate(examples: Sequence[Any]) -> Any:
    """Images, (3, H, W) tensors of their own sizes, and their objects."""
    import torch

    return {
        "images": [torch.from_numpy(example["image"]) for example in examples],
        "truths": [example["truth"] for example in examples],
    }


def _learner(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.detection.faster_rcnn import faster_rcnn

    return faster_rcnn(hyper, source, steps, device)


def _imagenet(network: Any) -> None:
    from trainables.tasks.detection.faster_rcnn import imagenet

    imagenet(network)


def _trained_on_coco(network: Any) -> None:
    from trainables.tasks.detection.faster_rcnn import coco

    coco(network)


def _statistics(predictions: Sequence[Any], batch: Any, source: Source) -> Sequence[Any]:
    from trainables.tasks.detection.metrics import statistics

    return statistics(predictions, batch["truths"], len(source.classes))


def _score(statistics: Sequence[Any], weights: npt.NDArray[np.int64]) -> Any:
    from trainables.tasks.detection.metrics import score

    return score(statistics, weights)


def _calibrate(validation: Callable[[Condition], Sequence[Any]], _: Condition) -> Calibration:
    """One threshold for all conditions: what a user of the network would have chosen before he compressed anything."""
    from trainables.tasks.detection.metrics import calibrate

    return calibrate(validation(Condition()))


SHOWN = 0.5
"""Pictures show detections of this score or more."""


def _picture(frames: Frames, prediction: Any) -> npt.NDArray[np.uint8]:
    """The image with boxes in the colours of their classes, the surest on top."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(frames[0])
    draw, pen = ImageDraw.Draw(image), max(1, image.width // 320)
    for place in np.argsort(prediction["scores"]):
        if prediction["scores"][place] >= SHOWN:
            x0, y0, x1, y1 = (float(each) for each in prediction["boxes"][place])
            draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=_colour(int(prediction["labels"][place])), width=pen)
    return np.asarray(image, np.uint8)


def _colour(label: int) -> tuple[int, int, int]:
    """Bright; neighbours in the list of classes are far apart in hue (golden angle)."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.9, 1)
    return round(255 * red), round(255 * green), round(255 * blue)


def _street_objects() -> Source:
    from trainables.tasks.detection.scenes import street_objects

    return street_objects()


def _voc2007(root: Path) -> Source:
    from trainables.tasks.detection.voc import voc2007

    return voc2007(root)


def _voc(root: Path) -> Source:
    from trainables.tasks.detection.voc import voc

    return voc(root)


def _coco(root: Path) -> Source:
    from trainables.tasks.detection.coco import coco

    return coco(root)


def _present(target: Any) -> Iterable[int]:
    """The classes of the objects, those included that are not asked for."""
    return [int(label) for label in np.unique(target["labels"])]


FASTER_RCNN = Architecture(
    name="faster_rcnn",
    task="detection",
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
    hyper=FasterRCNNHyper,
    example=_example,
    learner=_learner,
    statistics=_statistics,
    score=_score,
    calibrate=_calibrate,
    picture=_picture,
    collate=_collate,
    initial={"imagenet": _imagenet, "coco": _trained_on_coco},
)

ARCHITECTURES = (FASTER_RCNN,)

DATASETS = (
    Dataset(
        name="street_objects",
        task="detection",
        summary="embedded procedural streets, 5 classes of objects",
        present=_present,
        make=_street_objects,
    ),
    Dataset(
        name="voc2007",
        task="detection",
        summary="Pascal VOC 2007, 20 classes, in its native tree (VOCdevkit/VOC2007)",
        present=_present,
        open=_voc2007,
    ),
    Dataset(
        name="voc",
        task="detection",
        summary="a tree in VOC's layout with classes of its own (JPEGImages, Annotations, ImageSets/Main)",
        present=_present,
        open=_voc,
    ),
    Dataset(
        name="coco",
        task="detection",
        summary="COCO 2017, 80 classes, in its native tree (train2017, val2017, annotations)",
        present=_present,
        open=_coco,
    ),
)
