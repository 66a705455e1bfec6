"""Action recognition by two streams (paper section III-E). Plain values: torch is imported by the functions that need it.

One network sees stills, one the optical flow between frames; their fusion, `TWO_STREAM`, sums both's logits and trains nothing.
To add an architecture or a data set, append a value to `ARCHITECTURES` or `DATASETS`; an optical flow goes into flow.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from trainables.contracts import Architecture, Dataset, Derived, Frames, Learner, Source


@dataclass(frozen=True, kw_only=True)
class StreamHyper:
    """Hyper-parameters that both streams have; defaults are the paper's (section III-E) and the published network's."""

    batch_size: int = 12
    network: Literal["resnet101", "small"] = "resnet101"
    width: int = 16
    """Channels of the small network's first convolution; ResNet-101 has its own."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1e-3
    lr_schedule: Literal["constant", "one_cycle"] = "constant"
    momentum: float = 0.9
    weight_decay: float = 0.0
    size: tuple[int, int] = (224, 224)
    """(H, W) that the network sees, brought to after the codec and, in the motion stream, after the flow."""
    crop: float = 0.5
    """Least share of a frame that a random crop keeps in training; 1 takes whole frames, as evaluation does."""
    flip: bool = True
    """Mirror half of the training clips. False where left and right make a difference."""
    positions: int = 19
    """Evenly spaced places of a clip that evaluation looks at; their logits are summed."""


@dataclass(frozen=True, kw_only=True)
class SpatialHyper(StreamHyper):
    """Hyper-parameters of the stream that sees stills."""

    segments: int = 3
    """Equal parts of a clip, of each of which training takes one random frame; their logits are summed."""


@dataclass(frozen=True, kw_only=True)
class MotionHyper(StreamHyper):
    """Hyper-parameters of the stream that sees optical flow."""

    pairs: int = 10
    """Consecutive flows, each of two channels, that are stacked; in training from one random start."""
    flow: str = "dis_fast"
    """The optical flow, a name in `flow.EXTRACTORS`: the same at every level, the source included. That of `tvl1`, the published
    network's, is stored."""


@dataclass(frozen=True, kw_only=True)
class FusionHyper:
    """A fusion computes nothing by itself."""

    batch_size: int = 12


def _spatial_window(frames: int, hyper: Any, rng: np.random.Generator | None) -> Sequence[int]:
    from trainables.tasks.action.sampling import stills

    return stills(frames, hyper, rng)


def _motion_window(frames: int, hyper: Any, rng: np.random.Generator | None) -> Sequence[int]:
    from trainables.tasks.action.sampling import runs

    return runs(frames, hyper, rng)


def _stored_flow(hyper: Any) -> Derived | None:
    from trainables.tasks.action.stored import stored_flow

    return stored_flow(hyper)


def _spatial_example(frames: Frames, target: int, hyper: Any, rng: np.random.Generator | None) -> Any:
    """Stills (S, 3, H, W) uint8 and the label."""
    from trainables.tasks.action.sampling import pictures

    return {"clip": pictures(frames, hyper, rng), "label": target}


def _motion_example(frames: Frames, target: int, hyper: Any, rng: np.random.Generator | None) -> Any:
    """Stacks of flow (S, 2 x pairs, H, W) float16 and the label; of frames, or of flow that was stored."""
    from trainables.tasks.action.sampling import flow_stacks

    return {"clip": flow_stacks(frames, hyper, rng), "label": target}


def _spatial(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.action.two_stream import spatial

    return spatial(hyper, len(source.classes), steps, device)


def _motion(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.action.two_stream import motion

    return motion(hyper, len(source.classes), steps, device)


def _no_learner(hyper: Any, source: Source, steps: int, device: str) -> Learner:  # noqa: ARG001
    raise ValueError("two_stream has no network of its own: it sums what its streams put out")


def _imagenet(network: Any) -> None:
    from trainables.tasks.action.two_stream import imagenet

    imagenet(network)


def _statistics(predictions: Sequence[Any], batch: Any, source: Source) -> Sequence[Any]:  # noqa: ARG001
    from trainables.tasks.action.metrics import outcome

    labels = batch["label"].tolist()
    return [outcome(logits, label) for logits, label in zip(predictions, labels, strict=True)]


def _score(statistics: Sequence[Any], weights: npt.NDArray[np.int64]) -> Any:
    from trainables.tasks.action.metrics import score

    return score(statistics, weights)


def _output(prediction: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The logits, (K,)."""
    return prediction


def _fuse(outputs: Sequence[npt.NDArray[np.float32]], source: Source) -> Sequence[Any]:
    """Outcomes by the plain sum of the streams' logits."""
    from trainables.tasks.action.metrics import outcome

    return [outcome(logits, source.test.target(index)) for index, logits in enumerate(np.sum(outputs, axis=0))]


def _picture(frames: Frames, prediction: Any) -> npt.NDArray[np.uint8]:  # noqa: ARG001
    """The middle frame, and beside it the flow to the next one in the colours of its directions (paper figure 5)."""
    from trainables.tasks.action.flow import EXTRACTORS, colours, flows

    middle = min((len(frames) - 1) // 2, max(len(frames) - 2, 0))
    pair = frames[[middle, min(middle + 1, len(frames) - 1)]]
    return np.concatenate([frames[middle], colours(flows(pair, EXTRACTORS[MotionHyper.flow])[0])], axis=1)


def _street_actions() -> Source:
    from trainables.tasks.action.data import street_actions

    return street_actions()


def _ucf101(root: Path) -> Source:
    from trainables.tasks.action.data import ucf101

    return ucf101(root)


def _class_folders(root: Path) -> Source:
    from trainables.tasks.action.data import class_folders

    return class_folders(root)


def _present(target: int) -> Iterable[int]:
    return (target,)


TWO_STREAM_SPATIAL = Architecture(
    name="two_stream_spatial",
    task="action",
    metric="top1",
    metrics={"top1": "max", "mean_class_accuracy": "max"},
    hyper=SpatialHyper,
    example=_spatial_example,
    window=_spatial_window,
    learner=_spatial,
    statistics=_statistics,
    score=_score,
    picture=_picture,
    output=_output,
    initial={"imagenet": _imagenet},
    codec="h264",
)

TWO_STREAM_MOTION = replace(
    TWO_STREAM_SPATIAL,
    name="two_stream_motion",
    hyper=MotionHyper,
    example=_motion_example,
    window=_motion_window,
    derive=_stored_flow,
    learner=_motion,
)

TWO_STREAM = replace(
    TWO_STREAM_SPATIAL,
    name="two_stream",
    hyper=FusionHyper,
    learner=_no_learner,
    initial={},
    streams={"spatial": "two_stream_spatial", "motion": "two_stream_motion"},
    fuse=_fuse,
)

ARCHITECTURES = (TWO_STREAM_SPATIAL, TWO_STREAM_MOTION, TWO_STREAM)

DATASETS = (
    Dataset(
        name="street_actions",
        task="action",
        summary="embedded procedural clips of people in a street, 8 actions, 16 frames",
        present=_present,
        make=_street_actions,
    ),
    Dataset(
        name="ucf101",
        task="action",
        summary="UCF101, 101 actions, split 1, in its native tree (UCF-101/CLASS/*.avi, ucfTrainTestlist/)",
        present=_present,
        open=_ucf101,
    ),
    Dataset(
        name="clips",
        task="action",
        summary="any clips in a folder for each class (CLASS/*.avi, .mp4, .mkv, .webm, .mov)",
        present=_present,
        open=_class_folders,
    ),
)
