"""Action recognition by two streams (paper section III-E). Importing this loads no torch.

One network sees stills, the other the optical flow between frames. Their fusion, `TWO_STREAM`, sums the logits of both and trains
nothing. To add an architecture or a data set, append a value to `ARCHITECTURES` or `DATASETS`; to add an optical flow, see flow.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from trainables.contracts import Architecture, Dataset, Frames, Fusion, Inputs, Learner, Source, Task
from trainables.tasks.action import data, metrics, sampling
from trainables.tasks.action.flow import DIS_FAST, colours, flows
from trainables.tasks.action.stored import stored_flow


@dataclass(frozen=True, kw_only=True)
class StreamHyper:
    """Hyper-parameters of both streams. Defaults are the paper's (section III-E) and the published network's."""

    batch_size: int = 12
    backbone: Literal["resnet101", "small"] = "resnet101"
    width: int = 16
    """Channels of the `small` backbone's first convolution; ResNet-101 ignores it."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1e-3
    lr_schedule: Literal["constant", "one_cycle"] = "constant"
    momentum: float = 0.9
    weight_decay: float = 0.0
    size: tuple[int, int] = (224, 224)
    """(H, W) of the network's input. Frames are cropped or resized after the codec; flow is computed before it is resized."""
    positions: int = 19
    """Evenly spaced positions in a clip at which evaluation samples; their logits are summed."""


Crop = Literal["window", "none"]
FlowRange = Literal["zero_to_one", "symmetric"]


@dataclass(frozen=True, kw_only=True)
class SpatialHyper(StreamHyper):
    """Hyper-parameters of the stream that sees stills. Raises ValueError for an unknown `crop`."""

    segments: int = 3
    """Equal parts of a clip; training samples one random frame from each and sums their logits."""
    crop: Crop = "window"
    """`window`: each training frame is a random window of `size` at native resolution, so compression artefacts keep their size.
    `none`: training resizes whole frames. Evaluation always resizes whole frames."""
    flip: bool = True
    """Mirror half of the training frames. Set to False where left and right make a difference."""

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise ValueError(f"two_stream_spatial: crop {self.crop!r} is unknown; use one of {', '.join(get_args(Crop))}")


@dataclass(frozen=True, kw_only=True)
class MotionHyper(StreamHyper):
    """Hyper-parameters of the stream that sees optical flow. Whole frames are resized, without crops or mirroring, as published.

    Raises ValueError for an unknown `flow_range`.
    """

    pairs: int = 10
    """Consecutive flows per input, two channels each; training starts at one random frame."""
    flow: str = "dis_fast"
    """Name of the optical flow in `flow.EXTRACTORS`, used at every compression level and on clean clips.

    `tvl1` is the published network's; its flow is computed once and stored.
    """
    flow_range: FlowRange = "zero_to_one"
    """Range of the network's inputs, for motion from -20 to 20 pixels per frame. `zero_to_one`, as published: 0.5 is no motion.
    `symmetric`: -1 to 1, and 0 is no motion."""

    def __post_init__(self) -> None:
        if self.flow_range not in get_args(FlowRange):
            known = ", ".join(get_args(FlowRange))
            raise ValueError(f"two_stream_motion: flow_range {self.flow_range!r} is unknown; use one of {known}")


def _spatial_example(frames: Frames, target: int, hyper: Any, rng: np.random.Generator | None) -> Any:
    """Stills (S, 3, H, W) uint8 and the label."""
    return {"clip": sampling.pictures(frames, hyper, rng), "label": target}


def _motion_example(frames: npt.NDArray[Any], target: int, hyper: Any, rng: np.random.Generator | None) -> Any:  # noqa: ARG001
    """Stacks of flow (S, 2 x pairs, H, W) float16, from frames or from stored flow, and the label."""
    return {"clip": sampling.flow_stacks(frames, hyper), "label": target}


def _spatial(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.action.two_stream import spatial

    return spatial(hyper, len(source.classes), steps, device)


def _motion(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.action.two_stream import motion

    return motion(hyper, len(source.classes), steps, device)


def _imagenet(network: Any) -> None:
    from trainables.tasks.action.two_stream import imagenet

    imagenet(network)


def _logits(prediction: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A prediction, (K,), is stored as it is."""
    return prediction


def _picture(frames: Frames, prediction: Any) -> npt.NDArray[np.uint8]:  # noqa: ARG001
    """The middle frame, and beside it the flow to the next frame as colours (paper figure 5)."""
    middle = min((len(frames) - 1) // 2, max(len(frames) - 2, 0))
    pair = frames[[middle, min(middle + 1, len(frames) - 1)]]
    return np.concatenate([frames[middle], colours(flows(pair, DIS_FAST)[0])], axis=1)


def _present(target: int) -> Iterable[int]:
    return (target,)


ACTION = Task(
    name="action",
    metric="top1",
    metrics={"top1": "max", "mean_class_accuracy": "max"},
    statistics=metrics.statistics,
    score=metrics.score,
    picture=_picture,
    clips=True,
)

STILLS = Inputs(example=_spatial_example, window=sampling.stills)
FLOW = Inputs(example=_motion_example, window=sampling.runs, derive=stored_flow)

TWO_STREAM_SPATIAL = Architecture(
    name="two_stream_spatial",
    task=ACTION,
    inputs=STILLS,
    hyper=SpatialHyper(),
    learner=_spatial,
    initial={"imagenet": _imagenet},
    output=_logits,
    revision=1,
)

TWO_STREAM_MOTION = Architecture(
    name="two_stream_motion",
    task=ACTION,
    inputs=FLOW,
    hyper=MotionHyper(),
    learner=_motion,
    initial={"imagenet": _imagenet},
    output=_logits,
    revision=1,
)

TWO_STREAM = Fusion(
    name="two_stream",
    task=ACTION,
    streams={"spatial": TWO_STREAM_SPATIAL.name, "motion": TWO_STREAM_MOTION.name},
    fuse=metrics.fuse,
)

ARCHITECTURES: tuple[Architecture | Fusion, ...] = (TWO_STREAM_SPATIAL, TWO_STREAM_MOTION, TWO_STREAM)

DATASETS = (
    Dataset(
        name="street_actions",
        task=ACTION.name,
        summary="embedded procedural clips of people in a street, 8 actions, 16 frames",
        present=_present,
        make=data.street_actions,
    ),
    Dataset(
        name="ucf101",
        task=ACTION.name,
        summary="UCF101, 101 actions, split 1, in its native tree (UCF-101/CLASS/*.avi, ucfTrainTestlist/)",
        present=_present,
        open=data.ucf101,
    ),
    Dataset(
        name="clips",
        task=ACTION.name,
        summary="any clips, one folder per class (CLASS/*.avi, .mp4, .mkv, .webm, .mov)",
        present=_present,
        open=data.class_folders,
    ),
)
