import math

import numpy as np
import numpy.typing as npt
import pytest

from trainables.tasks.depth.metrics import METRICS, errors, score

Map = npt.NDArray[np.float32]
MAX_DEPTH = 80.0
ONCE = np.ones((1, 1), np.int64)


def metres(*values: float) -> Map:
    return np.array([values], np.float32)


def of(prediction: Map, truth: Map, max_depth: float = MAX_DEPTH) -> dict[str, float]:
    return {name: float(found[0]) for name, found in score([errors(prediction, truth, max_depth)], ONCE).items()}


def maps(seed: int, *, unknown: float = 0.2) -> tuple[Map, Map]:
    """A random prediction and its truth, which is unknown in a share of the pixels."""
    rng = np.random.default_rng(seed)
    truth = rng.uniform(1, MAX_DEPTH, (7, 9)).astype(np.float32)
    prediction = (truth * rng.uniform(0.5, 1.5, truth.shape)).clip(0.1, MAX_DEPTH).astype(np.float32)
    return prediction, np.where(rng.random(truth.shape) < unknown, np.float32(0), truth)


def literal(pairs: list[tuple[Map, Map]], max_depth: float) -> dict[str, float]:
    """The metrics as defined, computed pixel by pixel and image by image."""
    images: dict[str, list[float]] = {name: [] for name in METRICS}
    for prediction, truth in pairs:
        relative = squared_relative = squared = 0.0
        normalised_squared_relative = normalised_squared = 0.0
        pixels = 0
        for found, right in zip(prediction.ravel().tolist(), truth.ravel().tolist(), strict=True):
            if right > 0:
                pixels += 1
                relative += abs(found - right) / right
                squared_relative += (found - right) ** 2 / right
                squared += (found - right) ** 2
                found_share, right_share = found / max_depth, right / max_depth
                normalised_squared_relative += (found_share - right_share) ** 2 / right_share
                normalised_squared += (found_share - right_share) ** 2
        images["abs_rel"].append(relative / pixels)
        images["sq_rel"].append(squared_relative / pixels)
        images["rmse"].append(math.sqrt(squared / pixels))
        images["sq_rel_normalised"].append(normalised_squared_relative / pixels)
        images["rmse_normalised"].append(math.sqrt(normalised_squared / pixels))
    return {name: sum(values) / len(values) for name, values in images.items()}


def test_the_metrics_of_two_pixels_computed_by_hand() -> None:
    # Off by 1 at 2 m and by 3 at 10 m.
    assert of(metres(3, 7), metres(2, 10)) == pytest.approx(
        {
            "abs_rel": (1 / 2 + 3 / 10) / 2,
            "sq_rel": (1 / 2 + 9 / 10) / 2,
            "rmse": math.sqrt((1 + 9) / 2),
            "sq_rel_normalised": (1 / 2 + 9 / 10) / 2 / 80,
            "rmse_normalised": math.sqrt((1 + 9) / 2) / 80,
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_of_an_image_match_their_definitions(seed: int) -> None:
    assert of(*maps(seed)) == pytest.approx(literal([maps(seed)], MAX_DEPTH))


def test_the_metrics_of_several_images_are_means_over_the_images() -> None:
    pairs = [maps(seed) for seed in range(4)]
    found = score([errors(*pair, MAX_DEPTH) for pair in pairs], np.ones((1, 4), np.int64))
    assert {name: float(values[0]) for name, values in found.items()} == pytest.approx(literal(pairs, MAX_DEPTH))


def test_pixels_of_unknown_depth_are_ignored() -> None:
    assert of(metres(3, 7, 50), metres(2, 10, 0)) == of(metres(3, 7), metres(2, 10))


def test_a_perfect_prediction_has_no_error() -> None:
    _, truth = maps(0)
    assert set(of(truth, truth).values()) == {0.0}


def test_the_normalised_errors_do_not_depend_on_the_unit() -> None:
    prediction, truth = maps(0)
    one, other = of(prediction, truth), of(prediction / np.float32(10), truth / np.float32(10), MAX_DEPTH / 10)
    for name in ("abs_rel", "sq_rel_normalised", "rmse_normalised"):
        assert one[name] == pytest.approx(other[name], rel=1e-5)
    assert one["rmse"] == pytest.approx(10 * other["rmse"], rel=1e-5)


def test_an_image_without_known_depth_changes_nothing() -> None:
    known = [errors(*maps(seed), MAX_DEPTH) for seed in range(2)]
    unknown = errors(metres(1, 2), metres(0, 0), MAX_DEPTH)
    with_it, without = score([*known, unknown], np.ones((1, 3), np.int64)), score(known, np.ones((1, 2), np.int64))
    assert {name: float(values[0]) for name, values in with_it.items()} == {
        name: pytest.approx(float(values[0])) for name, values in without.items()
    }


def test_images_without_any_known_depth_are_refused() -> None:
    unknown = errors(metres(1, 2), metres(0, 0), MAX_DEPTH)
    with pytest.raises(ValueError, match="none of the images to be scored has a pixel of known depth"):
        score([unknown, unknown], np.ones((1, 2), np.int64))


def test_a_resample_without_known_depth_has_no_value_and_the_others_keep_theirs() -> None:
    known, unknown = errors(*maps(0), MAX_DEPTH), errors(metres(1, 2), metres(0, 0), MAX_DEPTH)
    found, alone = score([known, unknown], np.array([[1, 1], [0, 2], [2, 0]])), of(*maps(0))
    for name in METRICS:
        assert np.isnan(found[name][1])
        assert found[name][[0, 2]].tolist() == [pytest.approx(alone[name])] * 2


def test_every_replicate_is_the_metric_under_its_own_weights() -> None:
    statistics = [errors(*maps(seed), MAX_DEPTH) for seed in range(4)]
    weights = np.random.default_rng(0).integers(0, 3, (7, 4)) + 1
    together = score(statistics, weights)
    for row, weight in enumerate(weights):
        repeated = [one for one, times in zip(statistics, weight, strict=True) for _ in range(times)]
        alone = score(repeated, np.ones((1, len(repeated)), np.int64))
        assert {name: values[row] for name, values in together.items()} == {
            name: pytest.approx(values[0]) for name, values in alone.items()
        }
