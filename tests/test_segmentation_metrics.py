import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import (  # type: ignore[import-untyped]
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    jaccard_score,
)

from trainables.tasks.segmentation.metrics import VOID, confusion, score

Maps = npt.NDArray[np.uint8]
ONE = np.ones((1, 1), np.int64)


def maps(seed: int, classes: int = 5, *, void: float = 0.2) -> tuple[Maps, Maps]:
    """A random prediction, correct in about 60 % of its pixels, and its truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, (13, 17), np.uint8)
    prediction = np.where(rng.random(truth.shape) < 0.5, truth, rng.integers(0, classes, truth.shape, np.uint8))
    return prediction, np.where(rng.random(truth.shape) < void, np.uint8(VOID), truth)


def confusions(number: int, classes: int = 5) -> list[npt.NDArray[np.int64]]:
    return [confusion(*maps(seed), classes) for seed in range(number)]


def values(statistics: list[npt.NDArray[np.int64]], weights: npt.ArrayLike) -> dict[str, list[float]]:
    return {name: found.tolist() for name, found in score(statistics, np.asarray(weights, np.int64)).items()}


def of(matrix: npt.ArrayLike) -> dict[str, float]:
    """Metrics of a confusion matrix (K, K), or (K, K + 1) with the column of void predictions."""
    counts = np.asarray(matrix)
    whole = np.pad(counts, ((0, 0), (0, 1 + len(counts) - counts.shape[1])))
    return {name: float(found[0]) for name, found in score([whole], ONE).items()}


def test_the_confusion_matrix_of_four_pixels_computed_by_hand() -> None:
    truth, prediction = np.array([[0, 1], [1, VOID]], np.uint8), np.array([[0, 0], [1, 0]], np.uint8)
    assert confusion(prediction, truth, 2).tolist() == [[1, 0, 0], [1, 1, 0]]


def test_pixels_predicted_as_void_are_counted_in_the_last_column() -> None:
    truth, prediction = np.array([[0, 1], [1, VOID]], np.uint8), np.array([[VOID, 0], [1, VOID]], np.uint8)
    assert confusion(prediction, truth, 2).tolist() == [[0, 0, 1], [1, 1, 0]]


def test_a_pixel_predicted_as_void_is_a_miss_in_every_metric() -> None:
    # Class 0: 2 pixels found, 1 called void. Class 1: 3 found, 1 called class 0, 1 called void.
    # IoU: 2 / (3 + 1) and 3 / 5. Found: 2 of 3, 3 of 5. A void prediction is no false positive of any class.
    assert of([[2, 0, 1], [1, 3, 1]]) == pytest.approx(
        {"miou": (2 / 4 + 3 / 5) / 2, "global_accuracy": 5 / 8, "mean_class_accuracy": (2 / 3 + 3 / 5) / 2}
    )


@pytest.mark.parametrize("label", [11, 12, 254])
def test_a_prediction_that_is_no_class_is_refused_even_where_the_truth_is_void(label: int) -> None:
    prediction, truth = np.full((2, 2), 3, np.uint8), np.full((2, 2), VOID, np.uint8)
    prediction[0, 1] = label
    message = rf"^the network predicts class {label}, but camvid has 11 classes \(0\.\.10\); [^\n]* void_output$"
    with pytest.raises(ValueError, match=message):
        confusion(prediction, truth, 11, "camvid")


def test_the_metrics_of_four_pixels_computed_by_hand() -> None:
    # IoU: 1 / 2 for both classes. Correct: 2 of 3 pixels; of class 0 1 of 1, of class 1 1 of 2.
    assert of([[1, 0], [1, 1]]) == pytest.approx({"miou": 1 / 2, "global_accuracy": 2 / 3, "mean_class_accuracy": 3 / 4})


@pytest.mark.parametrize("seed", range(5))
def test_the_confusion_matrix_equals_that_of_scikit_learn(seed: int) -> None:
    prediction, truth = maps(seed)
    known = truth != VOID
    expected = confusion_matrix(truth[known], prediction[known], labels=range(5))
    assert np.array_equal(confusion(prediction, truth, 5), np.pad(expected, ((0, 0), (0, 1))))


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_equal_those_of_scikit_learn(seed: int) -> None:
    prediction, truth = maps(seed)
    known = truth != VOID
    assert of(confusion(prediction, truth, 5)) == pytest.approx(
        {
            "miou": jaccard_score(truth[known], prediction[known], average="macro"),
            "global_accuracy": accuracy_score(truth[known], prediction[known]),
            "mean_class_accuracy": balanced_accuracy_score(truth[known], prediction[known]),
        }
    )


def test_the_metrics_of_several_items_are_those_of_their_pooled_pixels() -> None:
    pairs = [maps(seed) for seed in range(4)]
    prediction, truth = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    together = of(confusion(prediction, truth, 5))
    assert values(confusions(4), [[1, 1, 1, 1]]) == {name: [pytest.approx(value)] for name, value in together.items()}


def test_a_class_absent_from_truth_and_prediction_is_left_out_of_the_means() -> None:
    assert of(np.array([[3, 1, 0], [2, 4, 0], [0, 0, 0]])) == of([[3, 1], [2, 4]])


def test_a_class_predicted_but_never_true_enters_only_miou() -> None:
    # IoU: 3 / 4 for class 0, 4 / 4 for class 1, 0 / 1 for class 2, which is predicted once.
    found = of([[3, 0, 1], [0, 4, 0], [0, 0, 0]])
    assert found == pytest.approx({"miou": (3 / 4 + 1 + 0) / 3, "global_accuracy": 7 / 8, "mean_class_accuracy": (3 / 4 + 1) / 2})


def test_a_class_true_but_never_predicted_scores_zero() -> None:
    found = of([[3, 0], [1, 0]])
    assert found == pytest.approx({"miou": (3 / 4 + 0) / 2, "global_accuracy": 3 / 4, "mean_class_accuracy": 1 / 2})


def test_a_perfect_prediction_scores_one() -> None:
    _, truth = maps(0, void=0)
    assert set(of(confusion(truth, truth, 5)).values()) == {1.0}


def test_an_item_of_void_pixels_only_changes_nothing() -> None:
    void = confusion(np.zeros((3, 3), np.uint8), np.full((3, 3), VOID, np.uint8), 5)
    assert values([*confusions(2), void], [[1, 1, 1]]) == values(confusions(2), [[1, 1]])


def test_images_of_void_pixels_only_are_refused() -> None:
    void = confusion(np.zeros((3, 3), np.uint8), np.full((3, 3), VOID, np.uint8), 5)
    with pytest.raises(ValueError, match=r"^segmentation: none of the images to be scored has a labelled pixel; check"):
        score([void, void], np.ones((1, 2), np.int64))


def test_a_resample_without_a_labelled_pixel_has_no_value_and_the_others_keep_theirs() -> None:
    void = confusion(np.zeros((3, 3), np.uint8), np.full((3, 3), VOID, np.uint8), 5)
    found = values([*confusions(1), void], [[1, 1], [0, 2], [2, 0]])
    alone = values(confusions(1), [[1]])
    for name, (one, none, twice) in found.items():
        assert np.isnan(none)
        assert [one, twice] == [alone[name][0]] * 2


def test_a_class_absent_from_a_resample_is_left_out_of_its_means() -> None:
    both, first = np.array([[2, 0, 0], [1, 3, 0]]), np.array([[4, 0, 1], [0, 0, 0]])
    found = values([both, first], [[0, 1], [1, 1]])
    assert found["miou"][0] == pytest.approx(4 / 5)
    assert found["mean_class_accuracy"][0] == pytest.approx(4 / 5)
    assert found["miou"][1] == pytest.approx((6 / 8 + 3 / 4) / 2)


def test_an_item_of_weight_two_counts_as_two_items() -> None:
    one, two, three = confusions(3)
    assert values([one, two, three], [[1, 2, 0]]) == values([one, two, two], [[1, 1, 1]])


def test_every_replicate_is_the_metric_under_its_own_weights() -> None:
    weights = np.random.default_rng(0).integers(0, 3, (7, 4)) + 1
    rows = [values(confusions(4), row[None]) for row in weights]
    assert values(confusions(4), weights) == {name: [row[name][0] for row in rows] for name in rows[0]}


def test_there_is_one_value_per_replicate() -> None:
    found = score(confusions(4), np.ones((7, 4), np.int64))
    assert {name: values.shape for name, values in found.items()} == {
        "miou": (7,),
        "global_accuracy": (7,),
        "mean_class_accuracy": (7,),
    }
