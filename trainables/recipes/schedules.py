"""Schedules: the compression level of each training sample.

To add a schedule, write a frozen dataclass here and append it to the result of `schedules`. Each becomes a recipe of its name; the
first line of its docstring is its line in `study list`, and the conformance tests cover it. docs/schedules.md has the formulas.

A *rung* is clean or one of the levels of a ladder; clean is the lightest. Progress runs from 0 to 1 over a training. Fields other
than the levels are parameters, which a space's variants replace.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Literal, Self

import numpy as np

from trainables.codecs import Spacing, spaced, spacing_of
from trainables.contracts import Codec, Schedule


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


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A share of the samples clean, the rest over the ladder by weights; by default half clean, the rest alike."""

    ladder: tuple[int, ...]
    clean: float = 0.5
    """Share of clean samples, 0..1."""
    weights: tuple[float, ...] = ()
    """Weight of each level of the ladder; they need not sum to 1. Empty: all alike."""

    def __post_init__(self) -> None:
        _check_share("weighted", "clean", self.clean)
        if self.weights and (len(self.weights) != len(self.ladder) or min(self.weights) < 0 or not sum(self.weights)):
            raise ValueError(f"weighted: weights {self.weights} of ladder {self.ladder}: give one per level, at least 0, not all 0")

    @property
    def shares(self) -> dict[int | None, float]:
        """Probability of each level that can occur."""
        weights = self.weights or (1.0,) * len(self.ladder)
        found: dict[int | None, float] = {None: self.clean}
        found |= {level: (1 - self.clean) * weight / sum(weights) for level, weight in zip(self.ladder, weights, strict=True)}
        return {level: share for level, share in found.items() if share}

    @property
    def levels(self) -> tuple[int | None, ...]:
        """The levels of positive probability."""
        return tuple(self.shares)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """A random level, independent of progress."""
        return _drawn(self.levels, tuple(self.shares.values()), rng)


@dataclass(frozen=True, kw_only=True)
class LogUniform:
    """Clean or any of 16 levels between the ladder's ends, all alike, spaced as the codec's parameter is: finer than the ladder."""

    lightest: int
    heaviest: int
    spacing: Spacing
    """Scale on which the levels are even: `geometric` or `linear`."""
    count: int = 16
    """Number of levels; fewer where the range holds fewer integers."""

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the levels, mildest first."""
        return (None, *spaced(self.lightest, self.heaviest, self.count, self.spacing))

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """A random level, independent of progress."""
        return self.levels[int(rng.integers(len(self.levels)))]


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """Light to heavy: every rung in turn, clean first, the heaviest last."""

    ladder: tuple[int, ...]
    exponent: float = 1.0
    """Above 1: longer at light levels; below 1: longer at heavy ones; 1: equally long at each."""

    def __post_init__(self) -> None:
        _check_exponent("ramp", self.exponent)

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """The rung at this progress, the same for all samples."""
        return _at(self.levels, progress**self.exponent)


@dataclass(frozen=True, kw_only=True)
class Anneal:
    """Heavy to light: every rung in turn, the heaviest first, clean last."""

    ladder: tuple[int, ...]
    exponent: float = 1.0
    """Above 1: longer at heavy levels; below 1: longer at light ones; 1: equally long at each."""

    def __post_init__(self) -> None:
        _check_exponent("anneal", self.exponent)

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """The rung at this progress, the same for all samples."""
        return _at(self.levels[::-1], progress**self.exponent)


@dataclass(frozen=True, kw_only=True)
class RampShuffled:
    """As often at each rung as `ramp`, in random order: the control of any effect of order."""

    ladder: tuple[int, ...]
    exponent: float = 1.0
    """That of the ramp."""

    def __post_init__(self) -> None:
        _check_exponent("ramp-shuffled", self.exponent)

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each of `levels`: the part of the training that `ramp` spends there."""
        ends = np.linspace(0, 1, len(self.levels) + 1) ** (1 / self.exponent)
        return tuple(np.diff(ends).tolist())

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """A random level, independent of progress."""
        return _drawn(self.levels, self.shares, rng)


@dataclass(frozen=True, kw_only=True)
class Refine:
    """As `uniform`, then clean and the lightest level alone at the end."""

    ladder: tuple[int, ...]
    end: float = 0.25
    """Part of the training at its end that is light, 0..1."""
    light: int = 1
    """Number of levels that occur there beside clean."""

    def __post_init__(self) -> None:
        _check_share("refine", "end", self.end)
        if not 0 <= self.light <= len(self.ladder):
            raise ValueError(f"refine: light is {self.light}; the ladder {self.ladder} has 0..{len(self.ladder)} light levels")

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:
        """A random level: of all, or near the end of the light ones."""
        rungs = self.levels if progress < 1 - self.end else self.levels[: 1 + self.light]
        return rungs[int(rng.integers(len(rungs)))]


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """Light to heavy and back, several times."""

    ladder: tuple[int, ...]
    cycles: int = 3

    def __post_init__(self) -> None:
        if self.cycles < 1:
            raise ValueError(f"cycle: cycles is {self.cycles}; give at least 1")

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """The rung at this progress, the same for all samples."""
        return _at(self.levels, 1 - abs(2 * (progress * self.cycles % 1) - 1))


@dataclass(frozen=True, kw_only=True)
class Worst:
    """More of the rungs with the largest error on withheld images, by exponentiated gradient as in GroupDRO."""

    ladder: tuple[int, ...]
    rate: float = 2.0
    """Step size of the exponentiated gradient per epoch."""
    floor: float = 0.2
    """Share of the samples that is spread evenly over all rungs after each step, 0..1: the regularisation."""
    weights: tuple[float, ...] = ()
    """Probability of clean and of each level; empty at the start: all alike."""

    def __post_init__(self) -> None:
        _check_share("worst", "floor", self.floor)
        _check_probabilities("worst", self.weights, self.ladder)

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each of `levels`."""
        return self.weights or _floored([1.0] * len(self.levels), 0.0)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """A random level by the present weights."""
        return _drawn(self.levels, self.shares, rng)

    def after(self, errors: Mapping[int | None, float]) -> Self:
        """Multiply each weight by exp(rate * error), normalise, and mix with the floor."""
        grown = [weight * np.exp(self.rate * errors[level]) for level, weight in zip(self.levels, self.shares, strict=True)]
        return replace(self, weights=_floored(grown, self.floor))


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """More of the rungs where withheld images lose most or, with `prefers="solved"`, where they are still solved."""

    ladder: tuple[int, ...]
    prefers: Literal["lost", "solved"] = "lost"
    """`lost`: in proportion to the error. `solved`: in proportion to 1 - error where that is above the threshold, as CTAugment."""
    threshold: float = 0.8
    """For `solved`: the smallest 1 - error of a rung that counts as solved."""
    rate: float = 0.5
    """Weight of the latest epoch in the moving average of the probabilities, 0..1."""
    floor: float = 0.2
    """Share of the samples that is spread evenly over all rungs, 0..1."""
    weights: tuple[float, ...] = ()
    """Probability of clean and of each level; empty at the start: all alike."""

    def __post_init__(self) -> None:
        for name in ("threshold", "rate", "floor"):
            _check_share("adaptive", name, getattr(self, name))
        if self.prefers not in ("lost", "solved"):
            raise ValueError(f"adaptive: prefers is {self.prefers!r}; give lost or solved")
        _check_probabilities("adaptive", self.weights, self.ladder)

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Clean and the ladder."""
        return (None, *self.ladder)

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each of `levels`."""
        return self.weights or _floored([1.0] * len(self.levels), 0.0)

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """A random level by the present weights."""
        return _drawn(self.levels, self.shares, rng)

    def after(self, errors: Mapping[int | None, float]) -> Self:
        """Move the weights towards the rungs that are preferred now."""
        kept = [1 - errors[level] for level in self.levels]
        lost = self.prefers == "lost"
        wanted = [1 - each for each in kept] if lost else [each if each >= self.threshold else 0.0 for each in kept]
        target = _floored(wanted, self.floor)
        moved = [(1 - self.rate) * old + self.rate * new for old, new in zip(self.shares, target, strict=True)]
        return replace(self, weights=_floored(moved, 0.0))


def schedules(codec: Codec, ladder: tuple[int, ...]) -> Mapping[str, Schedule]:
    """The schedules with compression by a codec over a ladder (mildest level first), by the names of their recipes."""
    constant = {f"constant-{level}": Constant(at=level) for level in ladder}
    return {
        **constant,
        "uniform": Uniform(ladder=ladder),
        "weighted": Weighted(ladder=ladder),
        "log-uniform": LogUniform(lightest=ladder[0], heaviest=ladder[-1], spacing=spacing_of(codec)),
        "ramp": Ramp(ladder=ladder),
        "anneal": Anneal(ladder=ladder),
        "ramp-shuffled": RampShuffled(ladder=ladder),
        "refine": Refine(ladder=ladder),
        "cycle": Cycle(ladder=ladder),
        "worst": Worst(ladder=ladder),
        "adaptive": Adaptive(ladder=ladder),
    }


def _at(rungs: Sequence[int | None], position: float) -> int | None:
    """The rung at a position from 0, the first, to 1, the last."""
    return rungs[min(int(position * len(rungs)), len(rungs) - 1)]


def _drawn(levels: Sequence[int | None], shares: Sequence[float], rng: np.random.Generator) -> int | None:
    """A level drawn with the given probabilities."""
    place = bisect_right(list(accumulate(shares)), rng.random())
    return levels[min(place, len(levels) - 1)]  # probabilities sum to 1 only up to rounding


def _check_probabilities(name: str, weights: tuple[float, ...], ladder: tuple[int, ...]) -> None:
    count = len(ladder) + 1
    if weights and (len(weights) != count or min(weights) < 0 or abs(sum(weights) - 1) > 1e-6):
        raise ValueError(f"{name}: weights {weights} of clean and ladder {ladder}: give {count} probabilities that sum to 1")


def _floored(weights: Sequence[float], floor: float) -> tuple[float, ...]:
    """Weights as probabilities, of which the share `floor` is spread evenly; all alike where the weights are 0."""
    total, count = sum(weights), len(weights)
    return tuple(float((1 - floor) * (weight / total if total else 1 / count) + floor / count) for weight in weights)


def _check_share(schedule: str, name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{schedule}: {name} is {value}; give a share in 0..1")


def _check_exponent(schedule: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{schedule}: exponent is {value}; give a number above 0")
