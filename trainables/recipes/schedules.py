"""Which level each training sample gets, and when.

To add a schedule, write a frozen dataclass here and append it to what `schedules` returns; a recipe is made of it, and the
conformance tests take it in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainables.contracts import Schedule


@dataclass(frozen=True, kw_only=True)
class Clean:
    """Every sample as distributed."""

    @property
    def levels(self) -> tuple[None]:
        """Clean alone."""
        return (None,)

    def level(self, progress: float, rng: np.random.Generator) -> None:  # noqa: ARG002
        """None, always."""
        return


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Every sample at one level: the paper's retraining (section III)."""

    at: int

    @property
    def levels(self) -> tuple[int]:
        """The one level."""
        return (self.at,)

    def level(self, progress: float, rng: np.random.Generator) -> int:  # noqa: ARG002
        """The one level, always."""
        return self.at


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Clean or any level of a ladder, each with probability 1 / (L + 1): the "variety of compression levels" of section V."""

    ladder: tuple[int, ...]

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """A draw that does not depend on progress."""
        return self.levels[int(rng.integers(len(self.levels)))]


def schedules(ladder: tuple[int, ...]) -> Mapping[str, Schedule]:
    """The schedules with compression, by the names of their recipes, over a codec's levels, mildest first."""
    constant = {f"constant-{level}": Constant(at=level) for level in ladder}
    return {**constant, "uniform": Uniform(ladder=ladder)}
