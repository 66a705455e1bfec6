"""Multi-person pose estimation (paper section III-D). Plain values: torch is imported by the functions that need it.

To add an architecture or a data set, append a value to `ARCHITECTURES` or `DATASETS`.

`study run demo 'openpose/*'` trains the reduced network on the embedded scenes; `search_spaces/demo.py` states the figures to
expect.
"""

import colorsys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainables.contracts import Architecture, Calibration, Condition, Dataset, Frames, Learner, Source, stack

STRIDES = {"vgg19": 8, "small": 4}
"""Pixels of a cell, by trunk."""


@dataclass(frozen=True, kw_only=True)
class OpenPoseHyper:
    """Hyper-parameters of OpenPose; defaults are the paper's (section III-D) and the published network's.

    The paper names no optimiser beside its learning rate, and implementations scale the loss in every way. As it is scaled here
    (see `PoseLearner.update`), SGD learns at that rate from random weights, and AdamW does not: it does at a tenth of it.
    """

    batch_size: int = 8
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.001
    lr_schedule: Literal["constant", "one_cycle"] = "constant"
    momentum: float = 0.9
    weight_decay: float = 0.0005
    clip: float = 0.0
    """The most that the norm of the gradient may be; 0 clips nothing."""
    trunk: Literal["vgg19", "small"] = "vgg19"
    width: int = 16
    """Channels of the small trunk's first convolution; VGG19 has its own."""
    stages: int = 6
    size: tuple[int, int] = (368, 368)
    """(H, W) of the crops of training; in evaluation whole images are brought to this height."""
    person: float = 0.6
    """Share of a crop's height that the person in its middle takes, before `scale`; 0 crops nobody, but the whole image."""
    scale: tuple[float, float] = (0.5, 1.1)
    rotation: float = 40.0
    """Degrees, to either side."""
    shift: float = 40.0
    """Pixels of the crop, to either side."""
    flip: bool = True
    """Half of the training images are mirrored, and left and right change names."""
    sigma: float = 7.0
    """Pixels: the standard deviation of a part's heat map."""
    limb_width: float = 1.0
    """Cells to either side of a limb."""


def _example(frames: Frames, target: Any, hyper: Any, rng: np.random.Generator | None) -> Any:
    """For training a crop with its fields, maps and where they are known; for evaluation the whole image and the truth."""
    from trainables.tasks.pose import augmentation, targets
    from trainables.tasks.pose.skeleton import moved, with_neck

    image, stride = frames[0], STRIDES[hyper.trunk]
    native = image.shape[0], image.shape[1]
    if rng is None:
        move, size = augmentation.whole(native, hyper), (hyper.size[0], max(1, round(native[1] * hyper.size[0] / native[0])))
        picture = augmentation.warped(image, move, size, augmentation.GREY)
        return {"image": picture, "truth": target, "scale": float(move[0, 0])}
    move, mirrored = augmentation.draw(target, native, hyper, rng)
    grid = hyper.size[0] // stride, hyper.size[1] // stride
    parts = with_neck(moved(target["keypoints"], move, mirrored=mirrored))
    unlabelled = augmentation.warped(target["unlabelled"].astype(np.uint8) * 255, move, hyper.size, 0)
    cells = unlabelled[: grid[0] * stride, : grid[1] * stride].reshape(grid[0], stride, grid[1], stride)
    picture = augmentation.warped(image, move, hyper.size, augmentation.GREY)
    return {
        "image": np.ascontiguousarray(picture.transpose(2, 0, 1)),
        "fields": targets.fields(parts, grid, stride=stride, width=hyper.limb_width),
        "maps": targets.heat_maps(parts, grid, stride=stride, sigma=hyper.sigma),
        "known": (cells.mean(axis=(1, 3)) < 127.5).astype(np.float32),
    }


def _collate(examples: Sequence[Any]) -> Any:
    """Crops as they are; whole images on grey of the largest's size, a multiple of all strides, with their own."""
    if "fields" in examples[0]:
        return stack(examples)
    import torch

    from trainables.tasks.pose.augmentation import GREY

    step = max(STRIDES.values())
    height, width = (-(-max(each["image"].shape[axis] for each in examples) // step) * step for axis in (0, 1))
    images = np.full((len(examples), height, width, 3), GREY, np.uint8)
    for number, each in enumerate(examples):
        images[number, : each["image"].shape[0], : each["image"].shape[1]] = each["image"]
    return {
        "image": torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        "sizes": [each["image"].shape[:2] for each in examples],
        "scales": [each["scale"] for each in examples],
        "truths": [each["truth"] for each in examples],
    }


def _learner(hyper: Any, source: Source, steps: int, device: str) -> Learner:  # noqa: ARG001
    from trainables.tasks.pose.openpose import openpose

    return openpose(hyper, STRIDES[hyper.trunk], steps, device)


def _imagenet(network: Any) -> None:
    from trainables.tasks.pose.openpose import imagenet

    imagenet(network)


def _statistics(predictions: Sequence[Any], batch: Any, source: Source) -> Sequence[Any]:  # noqa: ARG001
    from trainables.tasks.pose.metrics import statistics

    return statistics(predictions, batch["truths"])


def _score(statistics: Sequence[Any], weights: npt.NDArray[np.int64]) -> Any:
    from trainables.tasks.pose.metrics import score

    return score(statistics, weights)


def _calibrate(validation: Callable[[Condition], Sequence[Any]], condition: Condition) -> Calibration:
    """The threshold of joints is chosen on clean for all conditions, the tuned one of people for each (paper section IV-D)."""
    from trainables.tasks.pose.metrics import calibrate

    return calibrate(validation(Condition()), validation(condition))


def _picture(frames: Frames, prediction: Any) -> npt.NDArray[np.uint8]:
    """The image with the skeletons that are found at the published threshold (paper figure 4): a colour for each limb."""
    from PIL import Image, ImageDraw

    from trainables.tasks.pose.grouping import PUBLISHED
    from trainables.tasks.pose.skeleton import LIMBS, PARTS, REDUNDANT, with_neck

    times = max(1, 320 // frames.shape[2])
    image = Image.fromarray(frames[0].repeat(times, axis=0).repeat(times, axis=1))
    draw, pen = ImageDraw.Draw(image), max(2, image.width // 160)
    drawn = LIMBS[: len(LIMBS) - REDUNDANT]
    for person in with_neck(prediction[PUBLISHED].keypoints):
        for number, (one, other) in enumerate(drawn):
            ends = person[[PARTS.index(one), PARTS.index(other)]]
            if (ends[:, 2] > 0).all():
                hue = tuple(round(255 * each) for each in colorsys.hsv_to_rgb(number / len(drawn), 0.9, 1))
                draw.line([tuple(float(value) * times for value in end[:2]) for end in ends], fill=hue, width=pen)
    return np.asarray(image, np.uint8)


def _street_people() -> Source:
    from trainables.tasks.pose.scenes import street_people

    return street_people()


def _coco_people(root: Path) -> Source:
    from trainables.tasks.pose.coco import coco_people

    return coco_people(root)


def _present(target: Any) -> Iterable[int]:
    """Whether there is anybody with key points."""
    from trainables.tasks.pose.skeleton import asked_for

    return (0,) if asked_for(target).any() else ()


OPENPOSE = Architecture(
    name="openpose",
    task="pose",
    metric="oks_map",
    metrics={
        "oks_map": "max",
        "ap50": "max",
        "ap75": "max",
        "ap_medium": "max",
        "ap_large": "max",
        "oks_map_tuned": "max",
        "missed_joints": "min",
        "false_joints": "min",
    },
    hyper=OpenPoseHyper,
    example=_example,
    learner=_learner,
    statistics=_statistics,
    score=_score,
    calibrate=_calibrate,
    picture=_picture,
    collate=_collate,
    initial={"imagenet": _imagenet},
)

ARCHITECTURES = (OPENPOSE,)

DATASETS = (
    Dataset(
        name="street_people",
        task="pose",
        summary="embedded procedural streets with one to five people, 17 key points",
        present=_present,
        make=_street_people,
    ),
    Dataset(
        name="coco_people",
        task="pose",
        summary="COCO 2017's key points in its native tree (train2017, val2017, annotations)",
        present=_present,
        open=_coco_people,
    ),
)
