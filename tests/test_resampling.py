import numpy as np
import pytest

from trainables.engine.resampling import REPLICATES, resamples

NAMES = [f"{i:03d}" for i in range(30)]
GROUPS = ["b", "a", "c", "a", "b", "a"]


def test_every_resample_draws_as_many_items_as_the_split_has() -> None:
    weights = resamples("data", NAMES)
    assert weights.shape == (REPLICATES, 30)
    assert weights.min() >= 0
    assert set(weights.sum(axis=1)) == {30}


def test_the_number_of_replicates_can_be_chosen() -> None:
    assert resamples("data", NAMES, 7).shape == (7, 30)


def test_fewer_replicates_are_the_first_of_more() -> None:
    assert np.array_equal(resamples("data", NAMES, 7), resamples("data", NAMES)[:7])


def test_a_group_is_drawn_as_a_whole() -> None:
    weights = resamples("data", GROUPS)
    assert np.array_equal(weights[:, 1], weights[:, 3])
    assert np.array_equal(weights[:, 1], weights[:, 5])
    assert np.array_equal(weights[:, 0], weights[:, 4])


def test_every_resample_draws_as_many_groups_as_the_split_has() -> None:
    weights = resamples("data", GROUPS)
    assert set(weights[:, [1, 0, 2]].sum(axis=1)) == {3}


def test_different_groups_are_drawn_independently() -> None:
    weights = resamples("data", GROUPS)
    assert (weights[:, 0] != weights[:, 1]).any()


def test_the_same_fingerprint_gives_the_same_resamples() -> None:
    assert np.array_equal(resamples("data", NAMES), resamples("data", NAMES))


def test_another_fingerprint_gives_other_resamples() -> None:
    assert not np.array_equal(resamples("data", NAMES), resamples("other", NAMES))


def test_no_two_replicates_are_equal() -> None:
    assert len({row.tobytes() for row in resamples("data", NAMES)}) == REPLICATES


def test_the_order_of_items_does_not_change_the_weight_of_a_group() -> None:
    order = [3, 0, 5, 1, 4, 2]
    assert np.array_equal(resamples("data", [GROUPS[i] for i in order]), resamples("data", GROUPS)[:, order])


def test_items_are_drawn_with_equal_probability() -> None:
    # A count is binomial(30, 1/30) with variance 29/30; the mean of 400 has a standard error of 0.049. The bound is five of them.
    assert resamples("data", NAMES).mean(axis=0) == pytest.approx(np.ones(30), abs=0.25)


def test_counts_vary_as_in_drawing_with_replacement() -> None:
    assert resamples("data", NAMES).var() == pytest.approx(29 / 30, abs=0.05)
