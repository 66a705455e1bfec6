"""The workload of one job: built once and handed to every function of the engine."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from trainables.contracts import Architecture, Numerics, Source
from trainables.data.splitting import withheld
from trainables.data.subset import Subset
from trainables.engine.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Workload:
    """An architecture with its hyper-parameters on a data set, and how it is computed."""

    architecture: Architecture
    hyper: Any
    """Hyper-parameters, of the type of `architecture.hyper`."""
    data: Source
    withheld: float = 0.0
    """Share of the training split's groups that no training reads; schedules that adapt are measured on them."""
    numerics: Numerics = field(default_factory=Numerics)
    runtime: Runtime = field(default_factory=Runtime)

    @cached_property
    def slice(self) -> Sequence[int]:
        """Indices of the withheld items of the training split. Raises ValueError for an impossible share."""
        return withheld(self.data.train.groups, self.withheld) if self.withheld else ()

    @cached_property
    def kept(self) -> Sequence[int]:
        """Indices of the items of the training split that are trained on."""
        items, without = range(len(self.data.train.names)), set(self.slice)
        return [index for index in items if index not in without] if without else items

    @cached_property
    def trained(self) -> Source:
        """The source as a learner sees it, without the withheld items: it may count classes. Imagery is stored per whole split."""
        return replace(self.data, train=Subset(self.data.train, self.kept)) if self.slice else self.data
