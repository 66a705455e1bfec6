import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score  # type: ignore[import-untyped]

from trainables.tasks.action.metrics import Outcome, outcome, score, statistics


def values(pairs: list[tuple[int, int]], weights: npt.ArrayLike) -> dict[str, list[float]]:
    outcomes = [Outcome(truth, answer) for truth, answer in pairs]
    return {name: found.tolist() for name, found in score(outcomes, np.asarray(weights, np.int64)).items()}


def random_pairs(seed: int, number: int = 40) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 5, number)
    answer = np.where(rng.random(number) < 0.5, truth, rng.integers(0, 5, number))
    return list(zip(truth.tolist(), answer.tolist(), strict=True))


def test_the_answer_is_the_largest_logit() -> None:
    assert outcome(np.array([0.5, -1.0, 2.0], np.float32), 1) == Outcome(1, 2)


def test_the_first_of_equal_logits_is_the_answer() -> None:
    assert outcome(np.array([0.5, 2.0, 2.0], np.float32), 1).answer == 1


def test_statistics_are_the_outcomes_of_a_batch() -> None:
    logits = [np.array([0.5, 1.0], np.float32), np.array([2.0, 1.0], np.float32)]
    assert statistics(logits, {"label": np.array([1, 1])}, None) == [Outcome(1, 1), Outcome(1, 0)]  # type: ignore[arg-type]


def test_the_metrics_of_five_clips_match_a_hand_calculation() -> None:
    # Correct: 3 of 5. Per class: 2 of 3 in class 0, 0 of 1 in class 1, 1 of 1 in class 2.
    found = values([(0, 0), (0, 0), (0, 1), (1, 2), (2, 2)], [[1, 1, 1, 1, 1]])
    assert found == {"top1": [pytest.approx(3 / 5)], "mean_class_accuracy": [pytest.approx((2 / 3 + 0 + 1) / 3)]}


def test_an_item_of_weight_two_counts_twice() -> None:
    # Six clips: class 0 correct once and wrong twice, class 1 correct three times.
    found = values([(0, 0), (0, 1), (1, 1)], [[1, 2, 3]])
    assert found == {"top1": [pytest.approx(4 / 6)], "mean_class_accuracy": [pytest.approx((1 / 3 + 1) / 2)]}


def test_a_class_without_clips_in_a_resample_is_left_out_of_the_mean() -> None:
    found = values([(0, 0), (0, 1), (1, 1)], [[1, 1, 0], [0, 0, 2]])
    assert found == {"top1": [0.5, 1.0], "mean_class_accuracy": [0.5, 1.0]}


@pytest.mark.parametrize("seed", range(4))
def test_the_metrics_equal_those_of_scikit_learn(seed: int) -> None:
    pairs = random_pairs(seed)
    truth, answer = zip(*pairs, strict=True)
    found = values(pairs, [[1] * len(pairs)])
    assert found["top1"] == [pytest.approx(accuracy_score(truth, answer))]
    assert found["mean_class_accuracy"] == [pytest.approx(balanced_accuracy_score(truth, answer))]


def test_each_replicate_is_the_metric_under_its_own_weights() -> None:
    pairs = random_pairs(0)
    weights = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), 9)
    one_by_one = [values(pairs, weights[[row]]) for row in range(9)]
    assert values(pairs, weights) == {name: [row[name][0] for row in one_by_one] for name in one_by_one[0]}
