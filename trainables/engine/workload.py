"""The workload of one job: built once and handed to every function of the engine."""

from dataclasses import dataclass, field
from typing import Any

from trainables.contracts import Architecture, Numerics, Source
from trainables.engine.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Workload:
    """An architecture with its hyper-parameters on a data set, and how it is computed."""

    architecture: Architecture
    hyper: Any
    """Hyper-parameters, of the type of `architecture.hyper`."""
    data: Source
    numerics: Numerics = field(default_factory=Numerics)
    runtime: Runtime = field(default_factory=Runtime)
