"""The types of a search space."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Hyper = Mapping[str, bool | int | float | str | tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """Training length and hyper-parameters of networks that start from a baseline, the control included."""

    epochs: int | None = None
    iterations: int | None = None
    """Optimisation steps, instead of epochs."""
    hyper: Hyper = field(default_factory=dict)
    """Hyper-parameters that differ from the baseline's."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Training length and hyper-parameters of an architecture."""

    initial: str
    """Initial weights of baselines: `none` (random), a name that the architecture knows (`imagenet`), or a weights file."""
    epochs: int | None = None
    iterations: int | None = None
    """Optimisation steps, instead of epochs: epochs = ceil(iterations / batches)."""
    hyper: Hyper = field(default_factory=dict)
    """Hyper-parameters that differ from the architecture's defaults."""
    retraining: Retraining | None = None
    """Budget of networks that start from a baseline; None: as for the baseline."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: mixed precision."""
    channels_last: bool = False
    """Memory in NHWC order: faster on tensor cores."""
    compiled: bool = False
    """torch.compile: faster after minutes of compilation at each start."""


class Compressed(NamedTuple):
    """A codec at a level, e.g. `Compressed("jpeg", 75)`."""

    codec: str
    """Name, or `package.module:NAME`."""
    level: int


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A recipe with other numbers."""

    recipe: str
    """Name of the recipe: one on a codec, or one on clean imagery."""
    shape: Hyper = field(default_factory=dict)
    """Fields of the recipe's schedule that differ, e.g. `{"clean": 0.25}`."""
    hyper: Hyper = field(default_factory=dict)
    """Hyper-parameters that differ from the budget's, those for retraining included."""
    control: str | None = None
    """Control, a variant or a recipe; None: the recipe's own."""


@dataclass(frozen=True, kw_only=True)
class Screening:
    """Chooses recipes on validation over a few seeds; the best then run with fresh seeds, which alone are tested.

    With s screening seeds, the final seeds are s, s + 1, ...; they have baselines and controls of their own.
    """

    candidates: tuple[str, ...]
    """Patterns of the cells that compete, within each architecture and codec."""
    reference: str = "uniform"
    """Recipe that always runs with the fresh seeds, beside the best."""
    seeds: int = 3
    """Number of screening seeds."""
    best: int = 2
    """Number of candidates that go on."""
    fresh: int = 10
    """Number of final seeds."""
    finalists: str | None = None
    """A file that an earlier launch wrote: its choice is taken and nothing is screened."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """The architectures, recipes, codecs and data that a study varies."""

    name: str
    summary: str
    data: Mapping[str, str]
    """Data set of each task."""
    codecs: tuple[str, ...]
    """Codecs by name, or `package.module:NAME`. Each applies to the tasks of its kind, stills or clips."""
    cells: tuple[str, ...]
    """Patterns over architecture/codec/recipe, e.g. `segnet/jpeg/constant-*`."""
    budgets: Mapping[str, Budget]
    """Budget of each architecture; architectures without one are not in the space."""
    ladders: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Levels of a codec, mildest first, where they differ from the codec's own ladder. Constant recipes and test conditions use
    them."""
    validation: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Levels of a codec at which every epoch is validated, in addition to clean: a short list, the same for all recipes."""
    variants: Mapping[str, Variant] = field(default_factory=dict)
    """Recipes with other numbers, by the names of their cells: `half-5` is the cell `segnet/jpeg/half-5`."""
    withheld: float = 0.0
    """Share of the training split's groups that no cell trains on. Schedules that adapt are measured on them and need some."""
    source: Compressed | None = None
    """What all imagery passes first, clean included; None: imagery as distributed."""
    screening: Screening | None = None
    """None: every cell runs with the same seeds."""
    longest: int | None = None
    """Largest number of epochs of any training, for a first try; None: as the budgets say."""
    seeds: int = 1
    threads: int = 1
    """CPU threads per trial; figures repeat bit for bit only at equal thread counts."""
    workers: int = 0
    """Loader processes per trial, in addition to its threads."""
    gpus: float = 0.0
    """Share of a GPU per trial, where there are GPUs."""
