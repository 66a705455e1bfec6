"""Schedules: the compression level of each training sample.

To add a schedule, write a frozen dataclass here and append it to the result of `schedules`. Each becomes a recipe of its name, and
the conformance tests cover it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainables.contracts import Schedule


@dataclass(frozen=True, kw_only=True)
class Clean:
    """Every sample clean."""

    @property
    def levels(self) -> tuple[None]:
        """Clean alone."""
        return (None,)

    def level(self, progress: float, rng: np.random.Generator) -> None:  # noqa: ARG002
        """Always None."""
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
        """Always the one level."""
        return self.at


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Clean or any of L levels, each with probability 1 / (L + 1): the "variety of compression levels" of the paper's section V."""

    ladder: tuple[int, ...]

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """A random level, independent of progress."""
        return self.levels[int(rng.integers(len(self.levels)))]


def schedules(ladder: tuple[int, ...]) -> Mapping[str, Schedule]:
    """The schedules with compression over a ladder (mildest level first), by the names of their recipes."""
    constant = {f"constant-{level}": Constant(at=level) for level in ladder}
    return {**constant, "uniform": Uniform(ladder=ladder)}
