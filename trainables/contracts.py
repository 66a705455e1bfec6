"""The types that every part of `trainables` agrees on. Importing this module loads no torch.

To add a codec, a schedule, a data set or an architecture, write a value of the matching type below and append it to its table:
`CODECS` (codecs/__init__.py), `schedules` (recipes/schedules.py), `DATASETS` or `ARCHITECTURES` (the task's folder in tasks/).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

Frames = npt.NDArray[np.uint8]
"""Decoded imagery: (T, H, W, 3), RGB, 0..255. A still has T = 1."""

Weights = Mapping[str, "Tensor"]
"""A network's `state_dict`: parameters and buffers by name."""

Precision = Literal["float32", "bfloat16"]

Mode = Literal["max", "min"]
"""Whether higher or lower values of a metric are better."""

SplitName = Literal["train", "val", "test"]

Scoring = Callable[[Sequence[Any], npt.NDArray[np.int64]], Mapping[str, npt.NDArray[np.float64]]]
"""Maps (statistics of N items, integer weights (R, N)) to (R,) values of every metric; a weight is how often an item counts.

A value is NaN where a resample holds nothing to score. Raises ValueError, in one line, where no item at all can be scored.
"""


class Calibration(NamedTuple):
    """A scoring function with its thresholds fixed on the validation split."""

    score: Scoring
    chosen: Mapping[str, float]
    """The chosen thresholds, by name."""


class Size(NamedTuple):
    """Size of an encoded item in bytes, without what the project's own container adds."""

    first: int
    """Bytes of the first frame: the whole of a still, the leading keyframe of a clip."""
    rest: int = 0
    """Bytes of all later frames."""

    @property
    def total(self) -> int:
        """Bytes of the whole item."""
        return self.first + self.rest


@runtime_checkable
class Codec(Protocol):
    """A lossy codec with all its settings except the level. A frozen value."""

    @property
    def name(self) -> str:
        """Name in cells, tags and tables, e.g. `jpeg`."""

    @property
    def levels(self) -> tuple[int, ...]:
        """Default ladder in the codec's own parameter, mildest first."""

    @property
    def shown(self) -> tuple[int, ...]:
        """Levels that the panel of predictions shows beside clean."""

    @property
    def clips(self) -> bool:
        """True for video codecs, False for still-image codecs."""

    def encode(self, frames: Frames, level: int) -> bytes:
        """Compress (T, H, W, 3) frames. Raises ValueError for a level outside the codec's range."""

    def __hash__(self) -> int: ...

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        """Decompress to frames of the original shape, or only to the `wanted` frames, in the order given.

        Raises ValueError for corrupt data.
        """

    def size(self, data: bytes) -> Size:
        """Encoded size of the item, without the bytes that `encode` adds for its own container."""


class Derived(Protocol):
    """Data computed from an item's decoded frames and stored once for all trials, e.g. optical flow. A frozen value."""

    @property
    def name(self) -> str:
        """File-name-safe identifier, ending in a digest of the output on a fixed probe, e.g. `tvl1-224x224-3f2a`."""

    def derive(self, frames: Frames, wanted: Sequence[int]) -> npt.NDArray[Any]:
        """Compute the values (N, ...) of the wanted frames, in the order given, from all frames (T, H, W, 3) of the item."""

    def encode(self, values: npt.NDArray[Any]) -> bytes:
        """Serialise all values (T, ...) of an item losslessly."""

    def decode(self, data: bytes, wanted: Sequence[int]) -> npt.NDArray[Any]:
        """Read the wanted values (N, ...) back, in the order given, without decoding the others."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Condition:
    """The state of an item's imagery: clean (neither field), or compressed by a codec at a level (both fields)."""

    codec: str | None = None
    """Codec by name, or `package.module:NAME` for a codec outside the table."""
    level: int | None = None

    def __post_init__(self) -> None:
        if (self.codec is None) != (self.level is None):
            raise ValueError(f"condition with codec {self.codec!r} and level {self.level!r}: give both, or neither for clean")

    def __str__(self) -> str:
        return "clean" if self.codec is None else f"{self.codec}-{self.level}"


CLEAN = Condition()


class View(NamedTuple):
    """What one score is measured on: a split of the data under a condition."""

    split: SplitName
    condition: Condition

    def __str__(self) -> str:
        return f"{self.condition} of {self.split}"


class Schedule(Protocol):
    """Decides which compression level, if any, each training sample gets. A frozen value that holds its levels."""

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Every level that can occur; None is clean."""

    def level(self, progress: float, rng: np.random.Generator) -> int | None:
        """Level of one sample at `progress` in [0, 1) of the training; None leaves the sample clean."""


@runtime_checkable
class Adapting(Schedule, Protocol):
    """A schedule that changes after each epoch, by its errors on a withheld slice of the training split."""

    @property
    def weights(self) -> tuple[float, ...]:
        """The only field that changes during a training; a checkpoint stores it."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each of `levels` in the coming epoch."""

    def after(self, errors: Mapping[int | None, float]) -> "Adapting":
        """The schedule of the next epoch, from the error at each of `levels`: 0 as on clean imagery, 1 everything lost."""


class Pair(NamedTuple):
    """One batch at the schedule's levels and the same items clean, under the same augmentation."""

    compressed: Any
    clean: Any


class Learner(Protocol):
    """A network together with its optimisers, so that one training loop serves every architecture."""

    network: "nn.Module"
    """Every module with weights (both networks of a GAN). Its `state_dict` is what children start from."""

    def update(self, batch: Any) -> Mapping[str, "Tensor"]:
        """Take one optimisation step on a batch, or on a `Pair` of batches where the recipe is paired.

        Returns the losses by name, as detached scalars.
        """

    def predict(self, batch: Any) -> Sequence[Any]:
        """Predictions for an evaluation batch, one per item, on the CPU."""

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-identical continuation needs: weights, optimisers, learning-rate schedules."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""


class Split(Protocol):
    """The training, validation or test part of a data set."""

    @property
    def names(self) -> Sequence[str]:
        """Item names relative to the data set, sorted and unique. Read once per item, so compute them once."""

    @property
    def groups(self) -> Sequence[str]:
        """Group of each item (video, city, sequence block). Groups are resampled whole and lie within one split."""

    def frames(self, index: int) -> Frames:
        """Imagery of an item as distributed, at native resolution; greyscale is expanded to RGB."""

    def target(self, index: int) -> Any:
        """Ground truth of an item, in the task's format. Codecs never touch it."""

    def files(self, index: int) -> tuple[Path, ...]:
        """Files of an item, imagery first; empty for generated data."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """An opened data set: readable splits and a fingerprint of the contents."""

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    fingerprint: str
    """Digest of the sorted (relative name, size) of every file and of the split lists."""
    slow: bool = False
    """True where decoding an item costs much more than reading its pixels (PNG, rendered scenes); decoded frames are then
    stored."""

    def split(self, name: SplitName) -> Split:
        """`train`, `val` or `test`."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set as a value: it knows how to open the data, not where they are."""

    name: str
    task: str
    summary: str
    """One line: contents, and the directory layout that the reader expects."""
    present: Callable[[Any], Iterable[int]]
    """Class indices that occur in a target."""
    open: Callable[[Path], Source] | None = None
    """Opens the tree at a path. Raises ValueError in one line that names the file, the place and the remedy."""
    make: Callable[[], Source] | None = None
    """Generates the embedded data. Exactly one of `open` and `make` is given."""

    def source(self, path: Path | None) -> Source:
        """Open the data set at a path, or generate the embedded one. Raises ValueError for a missing or superfluous path."""
        if self.make is not None:
            if path is not None:
                raise ValueError(f"--data {self.name}={path}: {self.name} is embedded and takes no path; drop the flag")
            return replace(self.make(), name=self.name)
        if path is None or self.open is None:
            raise ValueError(f"no path given for data set {self.name}: pass --data {self.name}=PATH (expects {self.summary})")
        if not path.is_dir():
            raise ValueError(f"--data {self.name}={path}: no such directory")
        return replace(self.open(path), name=self.name)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is made: its parents, the codec and the schedule."""

    name: str
    parents: tuple[str, ...] = ()
    """Recipes whose networks this one starts from; a fusion has one per stream, in the order of its streams."""
    baseline: str | None = None
    """Reference recipe B: gains are reported relative to it."""
    control: str | None = None
    """Control recipe C: the baseline trained on, on clean imagery, for as long."""
    codec: str | None = None
    """Codec by name, or `package.module:NAME`; None: clean imagery only."""
    schedule: Schedule | None = None
    """None: this recipe does not train."""
    paired: bool = False
    """True: each training step sees a `Pair`, the compressed batch and the same items clean."""
    recalibrated_at: int | None = None
    """If set, re-estimate the parent's batch-norm statistics at this level; no weights are trained."""
    fused: "Recipe | None" = None
    """For a fusion: the recipe of the retrained streams."""
    streams: tuple[str, ...] = ()
    """For a fusion: the streams that followed `fused`; the others are baselines."""
    revision: int = 0
    """Raise this when the recipe's figures change although its fields stay equal."""

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Every level of training imagery that this recipe reads; None is clean."""
        if self.recalibrated_at is not None:
            return (self.recalibrated_at,)
        levels = self.schedule.levels if self.schedule else ()
        return (None, *levels) if self.paired and None not in levels else levels

    @property
    def seen(self) -> tuple[int | None, ...]:
        """Every level of training imagery that the network, or any fused network, has seen."""
        return self.fused.seen if self.fused else self.levels

    @property
    def role(self) -> Literal["baseline", "continued", "retrained"]:
        """Role in the estimands: B, the control C, or R."""
        if self.control:
            return "retrained"
        return self.fused.role if self.fused else "continued" if self.parents else "baseline"

    @property
    def recalibrated(self) -> bool:
        """Whether only batch-norm statistics were re-estimated, in this network or in those it fuses."""
        return self.fused.recalibrated if self.fused else self.recalibrated_at is not None

    def condition(self, level: int | None) -> Condition:
        """Condition of training imagery at one of the recipe's levels; None is clean."""
        return CLEAN if level is None else Condition(codec=self.codec, level=level)


def stack(examples: Sequence[Any]) -> Any:
    """Collate with torch's default: stack arrays and tensors of equal shape, dictionaries key by key."""
    from torch.utils.data import default_collate

    return default_collate(list(examples))


def frames_alone(hyper: Any) -> Derived | None:  # noqa: ARG001
    """Derive nothing: `Inputs.example` receives frames."""
    return None


@dataclass(frozen=True, kw_only=True)
class Task:
    """The kind of prediction and its scoring, shared by all architectures of the task."""

    name: str
    metric: str
    """Primary metric: validation chooses by it, tables lead with it."""
    metrics: Mapping[str, Mode]
    statistics: Callable[[Sequence[Any], Any, Source], Sequence[Any]]
    """Maps (predictions, batch, source) to the statistics of each item: a confusion matrix, matches, errors."""
    score: Scoring
    picture: Callable[[Frames, Any], npt.NDArray[np.uint8]]
    """Draws a prediction: (frames after the codec, prediction) to an RGB image."""
    calibrate: Callable[[Callable[[Condition], Sequence[Any]], Condition], Calibration] | None = None
    """Chooses thresholds on the validation split, for metrics that have any. Receives a function from a condition to the validation
    statistics under it, and the condition to be scored; returns what scores test in place of `score`."""
    consistency: Callable[[Any, Any], "Tensor"] | None = None
    """Distance between two differentiable outputs, before decoding, as a scalar: (on compressed, on clean frames). For learners
    that train on a `Pair`. None: not applicable to this task."""
    clips: bool = False
    """True where items are clips and video codecs apply, False for stills."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """How an item becomes a training or evaluation example."""

    example: Callable[[Frames, Any, Any, np.random.Generator | None], Any]
    """Maps (frames after the codec, target, hyper, rng) to one example; rng None: evaluation, no augmentation."""
    collate: Callable[[Sequence[Any]], Any] = stack
    window: Callable[[int, Any, np.random.Generator | None], Sequence[int]] | None = None
    """Maps (number of frames, hyper, rng) to the frames that `example` receives, in order; None: all frames."""
    derive: Callable[[Any], Derived | None] = frames_alone
    """Maps hyper to data that is computed from the frames beforehand and stored; `example` then receives that in place of
    frames."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network with its task, inputs and default hyper-parameters.

    A variant is one expression: `replace(FASTER_RCNN, name=..., hyper=replace(FASTER_RCNN.hyper, backbone=...))`.
    """

    name: str
    task: Task
    inputs: Inputs
    hyper: Any
    """Default hyper-parameters: a frozen dataclass value of plain values, with at least `batch_size: int`."""
    learner: Callable[[Any, Source, int, str], Learner]
    """Maps (hyper, source, total optimisation steps, device) to a learner with freshly initialised weights."""
    initial: Mapping[str, Callable[["nn.Module"], None]] = field(default_factory=dict)
    """Published initial weights by name: functions that load them into a fresh network, or raise ValueError where they are not
    available. `none` (random) and weights files always work and need no entry."""
    output: Callable[[Any], npt.NDArray[np.float32]] | None = None
    """Maps a prediction to an array that is stored for each test item, for a fusion; None stores nothing."""
    revision: int = 0
    """Raise this when the architecture's figures change although its fields stay equal."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """Combines the stored outputs of several architectures; it has no weights and trains nothing."""

    name: str
    task: Task
    streams: Mapping[str, str]
    """Architectures that are fused, by their short names in recipes, e.g. `{"spatial": "two_stream_spatial"}`."""
    fuse: Callable[[Sequence[npt.NDArray[np.float32]], Split], Sequence[Any]]
    """Maps (outputs (N, ...) of each stream for the N items of a split, the split) to the statistics of the items."""
    revision: int = 0
    """Raise this when the fusion's figures change although its fields stay equal."""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """How a network is computed. Every field changes figures, if only in the last digits, and is part of a trial's name."""

    precision: Precision = "float32"
    """`bfloat16`: mixed precision, torch.autocast around each training step and prediction; weights stay float32."""
    channels_last: bool = False
    """Memory in NHWC order, which tensor cores prefer."""
    compiled: bool = False
    """torch.compile: minutes of compilation at the start, faster steps after."""

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f"unknown precision {self.precision!r}; use one of {', '.join(get_args(Precision))}")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The result of one training epoch."""

    number: int
    """Epochs completed, counting from 1."""
    losses: Mapping[str, float]
    """Means over the epoch's steps."""
    validation: Mapping[Condition, Mapping[str, float]]
    """Each metric on the validation split, under each validation condition."""
    shares: Mapping[int | None, float] | None = None
    """Probability of each level in this epoch, for a schedule that adapts."""
    seconds: float
    waiting: float
    """Fraction of the training time spent waiting for data, 0..1."""
    weights: Weights = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)
    """Argument of `train(resume=...)`. Save it and `weights` before asking for the next epoch, which overwrites them."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A network's metrics on one split under one condition."""

    split: SplitName = "test"
    condition: Condition
    bits_per_pixel: float | None
    """Encoded size over all items; None for clean."""
    stream_bits_per_pixel: float | None
    """The same without each item's first frame, which dominates short clips; None for clean and for stills."""
    bytes_per_item: float | None
    metrics: Mapping[str, float]
    chosen: Mapping[str, float] = field(default_factory=dict)
    """Thresholds chosen on the validation split, by name."""
    replicates: Mapping[str, npt.NDArray[np.float64]] = field(repr=False)
    """Each metric on the same (R,) bootstrap resamples of the split in every run."""
    pictures: Sequence[npt.NDArray[np.uint8]] = field(repr=False, default=())
    """Drawn predictions of the first few test items, RGB."""
    outputs: npt.NDArray[np.float32] | None = field(repr=False, default=None)
    """Outputs of every item, (N, ...), where the architecture stores them."""
