import math
from collections import Counter
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from trainables import CODECS, Schedule, drawing, recipes, schedules
from trainables.codecs import Spacing, spaced, spacing_of
from trainables.recipes.schedules import Adaptive, Clean, Constant, Ramp, RampShuffled, Uniform, Worst

LADDERS: dict[str | None, tuple[int, ...]] = {None: (), **{name: codec.levels for name, codec in CODECS.items()}}
RECIPES = [recipe for codec, ladder in LADDERS.items() for recipe in recipes(codec, ladder)]
SCHEDULES = {f"{recipe.codec}/{recipe.name}": recipe.schedule for recipe in RECIPES if recipe.schedule is not None}
UNIFORM = {name: schedule for name, schedule in SCHEDULES.items() if isinstance(schedule, Uniform)}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


def draws(schedule: Schedule, number: int = 2000, seed: int = 0) -> list[int | None]:
    rng = np.random.default_rng(seed)
    return [schedule.level(i / number, rng) for i in range(number)]


@every_schedule
def test_a_schedule_yields_each_of_its_levels_and_no_other(schedule: Schedule) -> None:
    assert set(draws(schedule)) == set(schedule.levels)


@every_schedule
def test_a_schedule_lists_each_level_once(schedule: Schedule) -> None:
    assert len(set(schedule.levels)) == len(schedule.levels) > 0


@every_schedule
def test_equal_random_streams_give_equal_levels(schedule: Schedule) -> None:
    assert draws(schedule, 100) == draws(schedule, 100)


@every_schedule
def test_a_schedule_is_immutable(schedule: Schedule) -> None:
    with pytest.raises(FrozenInstanceError):
        schedule.name = "another"  # type: ignore[attr-defined]


@every_schedule
def test_schedules_with_equal_fields_are_equal(schedule: Schedule) -> None:
    assert is_dataclass(schedule)
    twin = replace(schedule)
    assert (twin, hash(twin)) == (schedule, hash(schedule))


@every_schedule
def test_the_fields_of_a_schedule_are_numbers_strings_or_tuples_of_them(schedule: Schedule) -> None:
    assert is_dataclass(schedule)
    for field in fields(schedule):
        value = getattr(schedule, field.name)
        parts = value if isinstance(value, tuple) else (value,)
        assert {type(part) for part in parts} <= {int, float, str, bool, type(None)}


@pytest.mark.parametrize("schedule", UNIFORM.values(), ids=UNIFORM)
def test_uniform_draws_clean_and_every_level_equally_often(schedule: Uniform) -> None:
    number, levels = 7000, len(schedule.ladder) + 1
    counts = Counter(draws(schedule, number))
    expected = number / levels
    statistic = sum((counts[level] - expected) ** 2 / expected for level in (None, *schedule.ladder))
    assert statistic < stats.chi2.ppf(0.999, levels - 1)


@pytest.mark.parametrize("part", range(4))
def test_uniform_does_not_depend_on_progress(part: int) -> None:
    schedule, rng = Uniform(ladder=(9, 5, 1)), np.random.default_rng(part)
    counts = Counter(schedule.level(part / 4 + i / 8000, rng) for i in range(2000))
    assert [counts[level] for level in (None, 9, 5, 1)] == pytest.approx([500] * 4, abs=70)


def test_constant_gives_its_level_at_any_progress() -> None:
    assert set(draws(Constant(at=7))) == {7}


def test_clean_gives_none_at_any_progress() -> None:
    assert set(draws(Clean())) == {None}


TEN_TO_FIVE = (10, 7, 5)
MIXED = {name: schedule for name, schedule in schedules(CODECS["jpeg"], TEN_TO_FIVE).items() if not isinstance(schedule, Constant)}


def shares(schedule: Schedule, number: int = 4000) -> dict[int | None, float]:
    counts = Counter(draws(schedule, number))
    return {level: counts[level] / number for level in schedule.levels}


@pytest.mark.parametrize(
    ("name", "change", "marginal"),
    [
        ("weighted", {}, {None: 1 / 2, 10: 1 / 6, 7: 1 / 6, 5: 1 / 6}),
        ("weighted", {"clean": 0.25, "weights": (0, 1, 2)}, {None: 1 / 4, 7: 1 / 4, 5: 1 / 2}),
        ("log-uniform", {}, {None: 1 / 7, 10: 1 / 7, 9: 1 / 7, 8: 1 / 7, 7: 1 / 7, 6: 1 / 7, 5: 1 / 7}),
        ("ramp", {}, {None: 1 / 4, 10: 1 / 4, 7: 1 / 4, 5: 1 / 4}),
        ("ramp", {"exponent": 2.0}, {None: 0.5, 10: 0.7071 - 0.5, 7: 0.8660 - 0.7071, 5: 1 - 0.8660}),
        ("anneal", {"exponent": 2.0}, {5: 0.5, 7: 0.7071 - 0.5, 10: 0.8660 - 0.7071, None: 1 - 0.8660}),
        ("refine", {}, {None: 3 / 16 + 1 / 8, 10: 3 / 16 + 1 / 8, 7: 3 / 16, 5: 3 / 16}),
        ("refine", {"light": 0, "end": 0.5}, {None: 1 / 8 + 1 / 2, 10: 1 / 8, 7: 1 / 8, 5: 1 / 8}),
        ("cycle", {}, {None: 1 / 4, 10: 1 / 4, 7: 1 / 4, 5: 1 / 4}),
        ("worst", {}, {None: 1 / 4, 10: 1 / 4, 7: 1 / 4, 5: 1 / 4}),
        ("adaptive", {"weights": (0.1, 0.2, 0.3, 0.4)}, {None: 0.1, 10: 0.2, 7: 0.3, 5: 0.4}),
    ],
)
def test_a_mixed_schedule_draws_each_level_as_often_as_its_formula_says(
    name: str, change: dict[str, Any], marginal: dict[int | None, float]
) -> None:
    found = shares(replace(MIXED[name], **change))  # type: ignore[type-var]
    assert found == {level: pytest.approx(share, abs=0.03) for level, share in marginal.items()}


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.7])
def test_a_shuffled_ramp_has_exactly_the_marginal_of_the_ramp(exponent: float) -> None:
    ramp, shuffled = Ramp(ladder=(9, 5, 1), exponent=exponent), RampShuffled(ladder=(9, 5, 1), exponent=exponent)
    grid = (np.arange(200_000) + 0.5) / 200_000
    rng = np.random.default_rng(0)
    spent = Counter(ramp.level(progress, rng) for progress in grid.tolist())
    assert shuffled.shares == pytest.approx([spent[level] / 200_000 for level in shuffled.levels], abs=1e-5)


@pytest.mark.parametrize("part", range(4))
def test_a_shuffled_ramp_does_not_depend_on_progress(part: int) -> None:
    schedule, rng = RampShuffled(ladder=(9, 5, 1), exponent=2.0), np.random.default_rng(part)
    counts = Counter(schedule.level(part / 4 + i / 8000, rng) for i in range(2000))
    assert [counts[level] / 2000 for level in schedule.levels] == pytest.approx(schedule.shares, abs=0.04)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ramp", [None, 10, 7, 5]),
        ("anneal", [5, 7, 10, None]),
        ("cycle", [5, 10, 10, 5]),  # 3/8, 9/8, 15/8 and 21/8 of a cycle
    ],
)
def test_a_schedule_in_order_visits_its_rungs_in_that_order(name: str, expected: list[int | None]) -> None:
    rng = np.random.default_rng(0)
    assert [MIXED[name].level((2 * place + 1) / 8, rng) for place in range(4)] == expected


def test_refining_ends_on_clean_and_the_lightest_level() -> None:
    rng = np.random.default_rng(0)
    assert {MIXED["refine"].level(0.75 + i / 1000, rng) for i in range(250)} == {None, 10}


@pytest.mark.parametrize(
    ("first", "last", "count", "spacing", "levels"),
    [
        (80, 10, 4, "geometric", (80, 40, 20, 10)),
        (20, 50, 4, "linear", (20, 30, 40, 50)),
        (4, 1, 16, "geometric", (4, 3, 2, 1)),
        (10, 10, 16, "linear", (10,)),
        (20, 1, 16, "geometric", (20, 16, 14, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1)),
    ],
)
def test_levels_between_two_ends_are_distinct_and_spaced_as_the_codec_is(
    first: int, last: int, count: int, spacing: Spacing, levels: tuple[int, ...]
) -> None:
    found = spaced(first, last, count, spacing)
    if len(levels) < 10:
        assert found == levels
    assert (found[0], found[-1]) == (first, last)
    assert len(set(found)) == len(found) == min(count, abs(first - last) + 1)
    assert list(found) == sorted(found, reverse=first > last)


def test_a_codec_without_a_spacing_is_linear() -> None:
    @dataclass(frozen=True)
    class Own:
        name: str = "own"

    assert spacing_of(Own()) == "linear"  # type: ignore[arg-type]
    assert (spacing_of(CODECS["jpeg"]), spacing_of(CODECS["h264"])) == ("geometric", "linear")


ERRORS: dict[int | None, float] = {None: 0.0, 10: 0.1, 7: 0.2, 5: 0.6}


def test_the_worst_schedule_multiplies_its_weights_by_the_exponential_of_the_error() -> None:
    after = Worst(ladder=TEN_TO_FIVE, rate=2.0, floor=0.2).after(ERRORS)
    grown = [math.exp(2 * error) / 4 for error in ERRORS.values()]
    assert after.shares == pytest.approx([0.8 * each / sum(grown) + 0.05 for each in grown])


def test_the_worst_schedule_draws_every_rung_at_least_as_often_as_its_floor_says() -> None:
    schedule = Worst(ladder=TEN_TO_FIVE, floor=0.2)
    for _ in range(200):
        schedule = schedule.after(ERRORS)
    assert min(schedule.shares) >= 0.05
    assert schedule.shares[-1] == max(schedule.shares) > 0.6


def test_the_adaptive_schedule_moves_towards_the_rungs_that_lose_most() -> None:
    after = Adaptive(ladder=TEN_TO_FIVE, rate=0.5, floor=0.2).after(ERRORS)
    assert after.shares == pytest.approx([0.125 + 0.5 * (0.8 * error / 0.9 + 0.05) for error in ERRORS.values()])


def test_the_adaptive_schedule_can_prefer_the_rungs_that_are_still_solved() -> None:
    after = Adaptive(ladder=TEN_TO_FIVE, prefers="solved", threshold=0.8, rate=1.0, floor=0.0).after(ERRORS)
    assert after.shares == pytest.approx([1 / 2.7, 0.9 / 2.7, 0.8 / 2.7, 0.0])


def test_an_adaptive_schedule_without_errors_draws_all_rungs_alike() -> None:
    for schedule in (Worst(ladder=TEN_TO_FIVE), Adaptive(ladder=TEN_TO_FIVE)):
        assert schedule.after(dict.fromkeys(schedule.levels, 0.0)).shares == pytest.approx([0.25] * 4)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("weighted", {"clean": 1.5}, "weighted: clean is 1.5; give a share in 0..1"),
        ("weighted", {"weights": (1.0,)}, "give one per level, at least 0, not all 0"),
        ("log-uniform", {"count": 1}, "1 levels between 10 and 5: give at least 2"),
        ("ramp", {"exponent": 0.0}, "ramp: exponent is 0.0; give a number above 0"),
        ("refine", {"light": 4}, "refine: light is 4; the ladder .* has 0..3 light levels"),
        ("cycle", {"cycles": 0}, "cycle: cycles is 0; give at least 1"),
        ("worst", {"weights": (0.5, 0.5)}, "give 4 probabilities that sum to 1"),
        ("adaptive", {"prefers": "lots"}, "adaptive: prefers is 'lots'; give lost or solved"),
    ],
)
def test_an_impossible_parameter_is_refused_in_one_line(name: str, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assert replace(MIXED[name], **change).levels  # type: ignore[type-var]


def test_the_documentation_shows_every_schedule_with_its_drawing_and_parameters() -> None:
    page = (Path(__file__).parents[1] / "docs" / "schedules.md").read_text()
    codec = CODECS["jpeg"]
    for name, schedule in schedules(codec, codec.levels).items():
        if not isinstance(schedule, Constant):
            over_time, marginal = drawing(schedule)
            assert f"| `{name}` | {over_time} | {marginal} |" in page
            assert is_dataclass(schedule)
            for field in fields(schedule):
                assert f"`{field.name}`" in page
