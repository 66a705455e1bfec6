from collections import Counter
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import numpy as np
import pytest
from scipy import stats

from trainables import CODECS, Schedule, recipes
from trainables.recipes.schedules import Clean, Constant, Uniform

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
