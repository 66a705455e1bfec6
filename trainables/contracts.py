"""The types that the rooms of `trainables` agree on. No torch here: the tables of plain values load without it.

To add a codec, a schedule, a data set or an architecture, write a value that satisfies the type below and append it to its table:
`CODECS` (codecs.py), `recipes` (recipes.py), `DATASETS` and `ARCHITECTURES` (a task's room, gathered in `trainables/__init__.py`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor, nn

Frames = npt.NDArray[np.uint8]
"""Decoded imagery, (T, H, W, 3), RGB, 0..255. A still has T = 1."""

Weights = Mapping[str, "Tensor"]
"""A network's `state_dict`: parameters and buffers by name."""

Precision = Literal["float32", "bfloat16"]

Mode = Literal["max", "min"]
"""Whether more or less of a metric is better."""

Scoring = Callable[[Sequence[Any], npt.NDArray[np.int64]], Mapping[str, npt.NDArray[np.float64]]]
"""(statistics of N items, weights (R, N) that say how often each item counts) to (R,) values of every metric."""


class Calibration(NamedTuple):
    """A scoring whose settings were chosen on validation."""

    score: Scoring
    chosen: Mapping[str, float]
    """The settings, by name."""


class Size(NamedTuple):
    """Bytes after coding."""

    first: int
    """Of what the first frame takes: all of a still, the picture that a sequence starts with."""
    rest: int = 0
    """Of all later frames: what a stream costs once it runs."""

    @property
    def total(self) -> int:
        """Of the whole item."""
        return self.first + self.rest


class Codec(Protocol):
    """A lossy codec with all its settings but the level. A frozen value."""

    @property
    def name(self) -> str:
        """The name in cells, tags and tables: `jpeg`."""

    @property
    def levels(self) -> tuple[int, ...]:
        """The ladder in the codec's own parameter, mildest first."""

    @property
    def shown(self) -> tuple[int, ...]:
        """The levels that the panel of predictions shows beside clean."""

    @property
    def clips(self) -> bool:
        """Whether it codes sequences of frames; otherwise it codes stills."""

    def encode(self, frames: Frames, level: int) -> bytes:
        """Compress (T, H, W, 3) frames. Raises ValueError for a level that the codec does not have."""

    def __hash__(self) -> int:
        """A codec is a value."""

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        """Decompress what `encode` made, to frames of the same shape, or to the `wanted` ones alone, in the order asked for.

        Raises ValueError for damaged data.
        """

    def size(self, data: bytes) -> Size:
        """What a stream of these frames takes, without what `encode` adds for itself."""


class Derived(Protocol):
    """What is computed of an item's frames after the codec and kept, once for all trials and epochs. A frozen value."""

    @property
    def name(self) -> str:
        """What it is and, after the last hyphen, the digest of what it makes of a fixed probe: a part of file names."""

    def derive(self, frames: Frames, wanted: Sequence[int]) -> npt.NDArray[Any]:
        """(T, H, W, 3) frames to the wanted ones of T values, (N, ...), in the order asked for.

        A value may depend on frames beside its own, which are then those of the whole item.
        """

    def encode(self, values: npt.NDArray[Any]) -> bytes:
        """All values of an item (T, ...), without loss."""

    def decode(self, data: bytes, wanted: Sequence[int]) -> npt.NDArray[Any]:
        """The wanted values (N, ...) of what `encode` made, in the order asked for, decoding no others."""

    def __hash__(self) -> int:
        """It is a value."""


def frames_alone(hyper: Any) -> Derived | None:  # noqa: ARG001
    """Nothing is derived: `example` is given frames."""
    return None


class Schedule(Protocol):
    """Which level, if any, each training sample gets, and when. A frozen value that holds its levels."""

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Every level that can occur (None is clean): the conditions that validation averages over."""

    def level(self, progress: float, rng: np.random.Generator) -> int | None:
        """The level of one sample at `progress` in [0, 1) of the training; None leaves it clean."""


class Learner(Protocol):
    """A network with everything that trains it. It owns its optimisers, so that the loop is the same for every architecture."""

    network: "nn.Module"
    """All that has weights (of a GAN: both networks). Its `state_dict` is what a child starts from."""

    def update(self, batch: Any) -> Mapping[str, "Tensor"]:
        """One optimisation step on a training batch; the losses by name, detached scalars."""

    def predict(self, batch: Any) -> Sequence[Any]:
        """The predictions for an evaluation batch, one an item, on the processor."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-identical continuation needs: weights, optimisers, their schedules."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""


class Split(Protocol):
    """One part of a data set: training, validation or test."""

    @property
    def names(self) -> Sequence[str]:
        """The items' names, relative to the data set, sorted and unique. Asked for with every item: make it once."""

    @property
    def groups(self) -> Sequence[str]:
        """The group of each item (video, city, sequence block): groups are resampled whole and never straddle splits."""

    def frames(self, index: int) -> Frames:
        """An item's imagery as distributed, at native resolution, grey expanded to RGB."""

    def target(self, index: int) -> Any:
        """An item's ground truth, as the task defines it. No codec ever touches it."""

    def files(self, index: int) -> tuple[Path, ...]:
        """The files that an item is read from, its imagery's first; none for made data."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that was opened: its splits are readable and its contents identified."""

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    fingerprint: str
    """Digest of the sorted (relative name, size) of every file and of the split lists."""
    slow: bool = False
    """Whether decoding an item costs much more than reading its pixels (PNG; scenes): decoded frames are then kept."""

    def split(self, name: str) -> Split:
        """`train`, `val` or `test`."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set as a value: how to open it, not where it lies."""

    name: str
    task: str
    summary: str
    """One line: what it is, and the layout that the reader expects."""
    present: Callable[[Any], Iterable[int]]
    """Which classes, as indices into the source's `classes`, occur in a target."""
    open: Callable[[Path], Source] | None = None
    """Opens the tree at a path. Raises ValueError in one line that names the file, the place and the remedy."""
    make: Callable[[], Source] | None = None
    """Makes the embedded data; exactly one of `open` and `make` is given."""

    def source(self, path: Path | None) -> Source:
        """Open the data set at a path, or make the embedded one. Raises ValueError where a path is missing or not wanted."""
        if self.make is not None:
            if path is not None:
                raise ValueError(f"--data {self.name}={path}: {self.name} is embedded and has no path")
            return self.make()
        if path is None or self.open is None:
            raise ValueError(f"data set {self.name} ({self.summary}) lies nowhere yet: pass --data {self.name}=PATH")
        if not path.is_dir():
            raise ValueError(f"--data {self.name}={path}: no such folder")
        return self.open(path)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network comes to be."""

    name: str
    parents: tuple[str, ...] = ()
    """Recipes whose networks it comes from: of the same architecture, or, of a fusion, one of each stream in their order."""
    baseline: str | None = None
    """The recipe that its figures are the gain over: B in the estimands."""
    control: str | None = None
    """The recipe that its figures are read against: the baseline trained on, on clean, for as long."""
    codec: str | None = None
    schedule: Schedule | None = None
    """None trains nothing."""
    recalibrated_at: int | None = None
    """The level at which the parent's batch-norm statistics are estimated anew, without a gradient."""
    fused: "Recipe | None" = None
    """Of a fusion: the recipe of the streams that were retrained."""
    streams: tuple[str, ...] = ()
    """Of a fusion: the streams that followed it; the others are baselines."""

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Every level of the training imagery that it reads; None is clean."""
        if self.recalibrated_at is not None:
            return (self.recalibrated_at,)
        return self.schedule.levels if self.schedule else ()

    @property
    def seen(self) -> tuple[int | None, ...]:
        """Every level of the training imagery that its network, or those it fuses, have seen."""
        return self.fused.seen if self.fused else self.levels

    @property
    def role(self) -> Literal["baseline", "continued", "retrained"]:
        """What it is in the estimands: B, a control C, or R."""
        if self.control:
            return "retrained"
        return self.fused.role if self.fused else "continued" if self.parents else "baseline"

    @property
    def recalibrated(self) -> bool:
        """Whether only batch-norm statistics were estimated anew, in its network or in those it fuses."""
        return self.fused.recalibrated if self.fused else self.recalibrated_at is not None


def stack(examples: Sequence[Any]) -> Any:
    """Collate by torch's default: arrays and tensors of equal shape are stacked, dictionaries key by key."""
    from torch.utils.data import default_collate

    return default_collate(list(examples))


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network, what it learns from, how it is scored. A variant is one expression: `replace(SEGNET, name=..., learner=...)`."""

    name: str
    task: str
    metric: str
    """The primary metric: what validation chooses by and tables lead with."""
    metrics: Mapping[str, Mode]
    hyper: type[Any]
    """Frozen dataclass of hyper-parameters, defaults from the paper; it has at least `batch_size: int`."""
    example: Callable[[Frames, Any, Any, np.random.Generator | None], Any]
    """(frames after the codec, target, hyper, rng) to one training example; rng None means evaluation, without augmentation."""
    learner: Callable[[Any, Source, int, str], Learner]
    """(hyper, source, optimisation steps in all, device) to a learner with freshly initialised weights."""
    statistics: Callable[[Sequence[Any], Any, Source], Sequence[Any]]
    """(predictions, batch, source) to what scoring needs of each item: a confusion matrix, matches, errors."""
    score: Scoring
    """From statistics to metrics, plain and on resamples alike."""
    picture: Callable[[Frames, Any], npt.NDArray[np.uint8]]
    """(frames after the codec, prediction) to an RGB picture of what the network made of them."""
    window: Callable[[int, Any, np.random.Generator | None], Sequence[int]] | None = None
    """(frames of an item, hyper, rng) to the frames that `example` is given, in order; None: all of them."""
    derive: Callable[[Any], Derived | None] = frames_alone
    """(hyper) to what is computed of each item beforehand and kept: `example` is given the window of its values, not of frames."""
    collate: Callable[[Sequence[Any]], Any] = stack
    streams: Mapping[str, str] = field(default_factory=dict)
    """Of a fusion, which trains nothing: the architectures whose runs it fuses, by what they are called in its recipes."""
    output: Callable[[Any], npt.NDArray[np.float32]] | None = None
    """A prediction as an array that is kept of every test item, for a fusion; None keeps none."""
    fuse: Callable[[Sequence[npt.NDArray[np.float32]], Source], Sequence[Any]] | None = None
    """Of a fusion: (the outputs (N, ...) of each stream for N test items, source) to their statistics."""
    initial: Mapping[str, Callable[["nn.Module"], None]] = field(default_factory=dict)
    """Published initial weights by name: functions that load them into a fresh network, and raise ValueError where they cannot be
    had. `none` (random) and a file of the network's own weights are there without being named."""
    calibrate: Callable[[Callable[["Condition"], Sequence[Any]], "Condition"], Calibration] | None = None
    """(from a condition to the statistics of validation under it, the condition to be scored) to what scores test in place of
    `score`, where metrics have a setting that is chosen on validation: on clean and held under all conditions, as a detector's
    threshold is, or anew for each. None: there is nothing to choose."""
    codec: str = "jpeg"
    """What its imagery is compressed by where nothing else is said. Other codecs of its kind, for stills or clips, apply too."""


@dataclass(frozen=True, kw_only=True)
class Numerics:
    """How a network is computed. All of it changes figures, if only in the last digits, so a trial's name depends on it."""

    precision: Precision = "float32"
    """`bfloat16` is mixed precision: torch.autocast around each training step and each prediction; weights stay float32."""
    channels_last: bool = False
    """Memory in NHWC order, which tensor cores prefer."""
    compiled: bool = False
    """torch.compile: minutes at the start, faster steps after."""

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision {self.precision!r}: known are {', '.join(get_args(Precision))}")


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A test condition: clean (neither field), or a codec at a level."""

    codec: str | None = None
    level: int | None = None

    def __str__(self) -> str:
        """The name in file names and tables: `clean`, `jpeg-10`."""
        return "clean" if self.codec is None else f"{self.codec}-{self.level}"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch of training left."""

    number: int
    """Epochs done, from 1."""
    losses: Mapping[str, float]
    """Means over the epoch's steps."""
    validation: Mapping[str, float]
    """Each metric on the validation split, averaged over the schedule's levels."""
    seconds: float
    waiting: float
    """Fraction of the training time spent waiting for data, 0..1."""
    weights: Weights = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)
    """What `train(resume=...)` continues from. Save this and `weights` before asking for the next epoch, which changes them."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A network under one condition."""

    condition: Condition
    bits_per_pixel: float | None
    """Size after coding, over all items; None for clean."""
    stream_bits_per_pixel: float | None
    """The same without each item's first frame, which in short clips outweighs what a stream costs; None for stills too."""
    bytes_per_item: float | None
    metrics: Mapping[str, float]
    chosen: Mapping[str, float] = field(default_factory=dict)
    """Settings of the metrics that were chosen on validation, as a threshold."""
    replicates: Mapping[str, npt.NDArray[np.float64]] = field(repr=False)
    """Each metric on the same (R,) bootstrap resamples of the test set in every run."""
    pictures: Sequence[npt.NDArray[np.uint8]] = field(repr=False, default=())
    """Drawn predictions of the first few test items, RGB."""
    outputs: npt.NDArray[np.float32] | None = field(repr=False, default=None)
    """Of every test item, (N, ...), where the architecture keeps them."""
