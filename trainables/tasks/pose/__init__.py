"""Multi-person pose estimation (paper section III-D). Importing this loads no torch.

To add an architecture or a data set, append a value to `ARCHITECTURES` or `DATASETS`.

`study run demo 'openpose/*'` trains the reduced network on the embedded scenes; `search_spaces/demo.py` states the figures to
expect.
"""

import colorsys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from trainables.contracts import Architecture, Dataset, Frames, Inputs, Learner, Source, Task, stack
from trainables.tasks.pose import augmentation, coco, metrics, scenes, targets
from trainables.tasks.pose.grouping import PUBLISHED
from trainables.tasks.pose.skeleton import LIMBS, PARTS, REDUNDANT, labelled, moved, with_neck

STRIDES = {"vgg19": 8, "small": 4}
"""Side of a cell in pixels, per backbone."""


@dataclass(frozen=True, kw_only=True)
class OpenPoseHyper:
    """Hyper-parameters of OpenPose. Defaults are the paper's (section III-D) and the published network's.

    The paper states a learning rate but no optimiser, and implementations scale the loss differently. With the scaling used here
    (see `PoseLearner.losses`), SGD trains at the paper's rate from random weights; AdamW needs a tenth of that rate.
    """

    batch_size: int = 8
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.001
    lr_schedule: Literal["constant", "one_cycle", "steps"] = "steps"
    milestones: tuple[float, ...] = (0.63,)
    """Fractions of the training at which `steps` multiplies the learning rate by `decay`. The published training does so every
    1,361,060 images: once in 40 epochs of COCO, after 63 % of them."""
    decay: float = 0.333
    momentum: float = 0.9
    weight_decay: float = 0.0005
    clip: float = 0.0
    """Largest gradient norm; 0 disables clipping."""
    initialisation: Literal["torch", "published"] = "torch"
    """Random weights of convolutions: torch's default, or as published, normal with standard deviation 0.01 and bias 0. Published
    programs train the latter at learning rates that equal 0.03 to 0.17 here; at 0.001 it hardly moves (see docs/fidelity.md)."""
    frozen_steps: int = 0
    """Number of first optimisation steps, also of a retraining, in which VGG19's own ten convolutions keep their weights."""
    backbone: Literal["vgg19", "small"] = "vgg19"
    width: int = 16
    """Channels of the small backbone's first convolution; VGG19's widths are fixed."""
    cascade: int = 6
    """Length of the cascade of refinement branches: the number of successive estimates of fields and maps."""
    size: tuple[int, int] = (368, 368)
    """(H, W) in pixels of training crops. In evaluation whole images are scaled to this height."""
    person: float = 0.6
    """Height of the person in the centre of a training crop, as a fraction of the crop's height and before `scale`. 0: crops are
    not centred on people and show the whole image."""
    scale: tuple[float, float] = (0.5, 1.1)
    """Range of the random scale factor in training."""
    rotation: float = 40.0
    """Largest random rotation in training, in degrees, in both directions."""
    shift: float = 40.0
    """Largest random shift in training, in pixels of the crop, in all directions."""
    flip: bool = True
    """Mirror half of the training images and exchange left and right key points."""
    sigma: float = 7.0
    """Standard deviation in pixels of the Gaussians in heat maps."""
    limb_width: float = 1.0
    """Half-width of a limb in cells."""


def _example(frames: Frames, target: Any, hyper: Any, rng: np.random.Generator | None) -> Any:
    """For training a crop with its fields, maps and mask of labelled cells; for evaluation the whole image and its people."""
    image, stride = frames[0], STRIDES[hyper.backbone]
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
    """Stack training crops. Pad whole images with grey to the largest size, rounded up to a multiple of all strides."""
    if "fields" in examples[0]:
        return stack(examples)
    import torch

    step = max(STRIDES.values())
    height, width = (-(-max(each["image"].shape[axis] for each in examples) // step) * step for axis in (0, 1))
    images = np.full((len(examples), height, width, 3), augmentation.GREY, np.uint8)
    for number, each in enumerate(examples):
        images[number, : each["image"].shape[0], : each["image"].shape[1]] = each["image"]
    return {
        "image": torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))),
        "sizes": [each["image"].shape[:2] for each in examples],
        "scales": [each["scale"] for each in examples],
        "truths": [each["truth"] for each in examples],
    }


def _picture(frames: Frames, prediction: Any) -> npt.NDArray[np.uint8]:
    """The image with the skeletons found at the published threshold (paper figure 4), one colour per limb."""
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


def _present(target: Any) -> Iterable[int]:
    """(0,), the class person, if any person has labelled key points."""
    return (0,) if labelled(target).any() else ()


def _learner(hyper: Any, source: Source, steps: int, device: str) -> Learner:  # noqa: ARG001
    from trainables.tasks.pose.openpose import openpose

    return openpose(hyper, STRIDES[hyper.backbone], steps, device)


def _imagenet(network: Any) -> None:
    from trainables.tasks.pose.openpose import imagenet

    imagenet(network)


POSE = Task(
    name="pose",
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
    statistics=metrics.statistics,
    score=metrics.score,
    picture=_picture,
    calibrate=metrics.calibrate,
)

INPUTS = Inputs(example=_example, collate=_collate)

OPENPOSE = Architecture(
    name="openpose",
    task=POSE,
    inputs=INPUTS,
    hyper=OpenPoseHyper(),
    learner=_learner,
    initial={"imagenet": _imagenet},
    revision=1,
)

ARCHITECTURES = (OPENPOSE,)

DATASETS = (
    Dataset(
        name="street_people",
        task=POSE.name,
        summary="embedded procedural streets with one to five people, 17 key points",
        present=_present,
        make=scenes.street_people,
    ),
    Dataset(
        name="coco_people",
        task=POSE.name,
        summary="COCO 2017's key points in their native layout (train2017, val2017, annotations)",
        present=_present,
        open=coco.coco_people,
    ),
)
