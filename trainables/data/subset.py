"""Some items of a split, as a split of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainables.contracts import Frames, Split


@dataclass(frozen=True)
class Subset:
    """The items of a split at the given indices."""

    whole: Split
    indices: Sequence[int]

    @cached_property
    def names(self) -> Sequence[str]:
        return [self.whole.names[index] for index in self.indices]

    @cached_property
    def groups(self) -> Sequence[str]:
        return [self.whole.groups[index] for index in self.indices]

    def frames(self, index: int) -> Frames:
        return self.whole.frames(self.indices[index])

    def target(self, index: int) -> Any:
        return self.whole.target(self.indices[index])

    def files(self, index: int) -> tuple[Path, ...]:
        return self.whole.files(self.indices[index])
