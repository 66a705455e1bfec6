"""What a search space is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Hyper = Mapping[str, bool | int | float | str | tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """How long and with which hyper-parameters an architecture is trained, baseline and retraining alike."""

    initial: str
    """Weights that baselines start from: `none` (random), a name that the architecture knows (`imagenet`), or a file of weights."""
    epochs: int | None = None
    iterations: int | None = None
    """Optimisation steps, in place of epochs: epochs = ceil(iterations / batches)."""
    hyper: Hyper = field(default_factory=dict)
    """What differs from the architecture's defaults, which are the paper's."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """`bfloat16`: mixed precision."""
    channels_last: bool = False
    """Memory in NHWC order: faster on tensor cores."""
    compiled: bool = False
    """torch.compile: faster after minutes at each start."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """What a study varies, and on what."""

    name: str
    summary: str
    data: Mapping[str, str]
    """The data set of each task."""
    cells: tuple[str, ...]
    """Patterns over architecture/codec/recipe, as in `segnet/jpeg/constant-*`."""
    budgets: Mapping[str, Budget]
    """By architecture: one without a budget is not in the space."""
    seeds: int = 1
    threads: int = 1
    """Processor threads of a trial: part of what makes figures repeat to the last bit."""
    workers: int = 0
    """Loader processes of a trial, beside its threads."""
    gpus: float = 0.0
    """Share of a GPU that a trial takes, where there are any."""
