import copy
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainables import CODECS, Architecture, Condition, Epoch, Recipe, Runtime, Score, Source, evaluate, recipes, train
from trainables.contracts import Calibration, Numerics, Weights
from trainables.engine.evaluation import measure
from trainables.engine.resampling import REPLICATES, resamples
from trainables.recipes.schedules import Uniform
from trainables.store.imagery import Store

JPEG = CODECS["jpeg"]
LADDER = tuple(Condition(codec="jpeg", level=level) for level in JPEG.levels)
EVERY = (Condition(), *LADDER)
RECIPES = {recipe.name: recipe for codec in (None, JPEG) for recipe in recipes(codec)}
MIXED = Recipe(name="mixed", codec="jpeg", schedule=Uniform(ladder=(50, 5)))


def epochs(
    architecture: Architecture, hyper: Any, data: Source, recipe: Recipe = MIXED, *, number: int = 2, seed: int = 3, **more: Any
) -> list[Epoch]:
    """The epochs of a training, their weights and states as they were when yielded."""
    found = train(architecture, recipe, hyper, data=data, epochs=number, seed=seed, **more)
    return [replace(epoch, weights=copy.deepcopy(epoch.weights), state=copy.deepcopy(epoch.state)) for epoch in found]


def saved_and_loaded(state: Mapping[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def same_weights(one: Weights, other: Weights) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def figures(found: list[Epoch]) -> list[tuple[int, dict[str, float], dict[str, float]]]:
    return [(epoch.number, dict(epoch.losses), dict(epoch.validation)) for epoch in found]


def test_epochs_are_numbered_from_one(segnet: Architecture, hyper: Any, streets: Source) -> None:
    assert [epoch.number for epoch in epochs(segnet, hyper, streets, number=3)] == [1, 2, 3]


def test_an_epoch_carries_finite_losses_and_every_metric(segnet: Architecture, hyper: Any, streets: Source) -> None:
    (epoch,) = epochs(segnet, hyper, streets, number=1)
    assert list(epoch.validation) == list(segnet.metrics)
    assert all(map(math.isfinite, [*epoch.losses.values(), *epoch.validation.values()]))
    assert len(epoch.losses) > 0


def test_an_epoch_knows_its_time_and_how_much_of_it_was_waiting(segnet: Architecture, hyper: Any, streets: Source) -> None:
    (epoch,) = epochs(segnet, hyper, streets, number=1)
    assert epoch.seconds > 0
    assert 0 < epoch.waiting < 1


def test_the_loss_falls_where_training_goes_on(segnet: Architecture, hyper: Any, streets: Source) -> None:
    losses = [epoch.losses["loss"] for epoch in epochs(segnet, hyper, streets, number=5)]
    assert losses[-1] < losses[0]


def test_the_same_arguments_give_the_same_figures_and_weights_to_the_bit(segnet: Architecture, hyper: Any, streets: Source) -> None:
    one = epochs(segnet, hyper, streets)
    torch.manual_seed(12345)
    other = epochs(segnet, hyper, streets)
    assert figures(one) == figures(other)
    assert same_weights(one[-1].weights, other[-1].weights)


def test_another_seed_gives_other_weights(segnet: Architecture, hyper: Any, streets: Source) -> None:
    one, other = (epochs(segnet, hyper, streets, number=1, seed=seed) for seed in (1, 2))
    assert not same_weights(one[0].weights, other[0].weights)


def test_a_training_resumed_from_its_saved_state_ends_with_the_same_bits(segnet: Architecture, hyper: Any, streets: Source) -> None:
    through = epochs(segnet, hyper, streets, number=3)
    interrupted = train(segnet, MIXED, hyper, data=streets, epochs=3, seed=3)
    state = saved_and_loaded(next(interrupted).state)
    interrupted.close()  # type: ignore[attr-defined]
    resumed = epochs(segnet, hyper, streets, number=3, resume=state)
    assert figures(resumed) == figures(through)[1:]
    assert same_weights(resumed[-1].weights, through[-1].weights)


def test_sgd_resumes_with_the_same_bits_too(segnet: Architecture, hyper: Any, streets: Source) -> None:
    sgd = replace(hyper, optimiser="sgd", lr=0.1, lr_schedule="constant", class_weights="none")
    through = epochs(segnet, sgd, streets)
    resumed = epochs(segnet, sgd, streets, resume=saved_and_loaded(through[0].state))
    assert figures(resumed) == figures(through)[1:]
    assert same_weights(resumed[-1].weights, through[-1].weights)


def test_a_child_resumes_from_its_own_state_and_not_from_its_parent(segnet: Architecture, hyper: Any, streets: Source) -> None:
    parents = [epochs(segnet, hyper, streets, RECIPES["baseline"])[-1].weights]
    through = epochs(segnet, hyper, streets, RECIPES["constant-5"], parents=parents)
    state = saved_and_loaded(through[0].state)
    resumed = epochs(segnet, hyper, streets, RECIPES["constant-5"], parents=parents, resume=state)
    assert same_weights(resumed[-1].weights, through[-1].weights)


def test_resuming_after_the_last_epoch_yields_nothing(segnet: Architecture, hyper: Any, streets: Source) -> None:
    state = epochs(segnet, hyper, streets)[-1].state
    assert epochs(segnet, hyper, streets, resume=state) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_loader_workers_change_no_bit(segnet: Architecture, hyper: Any, streets: Source, workers: int) -> None:
    alone = epochs(segnet, hyper, streets)
    helped = epochs(segnet, hyper, streets, runtime=Runtime(workers=workers))
    assert figures(alone) == figures(helped)
    assert same_weights(alone[-1].weights, helped[-1].weights)


def test_a_store_of_encoded_imagery_changes_no_bit(segnet: Architecture, hyper: Any, streets: Source, tmp_path: Path) -> None:
    plain = epochs(segnet, hyper, streets)
    for _ in ("built", "read"):
        stored = epochs(segnet, hyper, streets, runtime=Runtime(store=Store(tmp_path, 10**9)))
        assert figures(plain) == figures(stored)
        assert same_weights(plain[-1].weights, stored[-1].weights)


def test_a_child_starts_from_the_weights_of_its_parent(segnet: Architecture, hyper: Any, streets: Source) -> None:
    parent = epochs(segnet, hyper, streets, RECIPES["baseline"], number=1)[-1].weights
    still = replace(hyper, optimiser="sgd", lr=0.0, lr_schedule="constant")
    child = epochs(segnet, still, streets, RECIPES["continued"], number=1, seed=9, parents=[parent])[-1].weights
    learned = [name for name, _ in segnet.learner(hyper, streets, 1, "cpu").network.named_parameters()]
    assert all(torch.equal(parent[name], child[name]) for name in learned)


def test_training_does_not_change_the_weights_of_the_parent(segnet: Architecture, hyper: Any, streets: Source) -> None:
    parent = epochs(segnet, hyper, streets, RECIPES["baseline"], number=1)[-1].weights
    before = copy.deepcopy(parent)
    epochs(segnet, hyper, streets, RECIPES["continued"], number=1, parents=[parent])
    assert same_weights(before, parent)


def test_compression_in_training_changes_the_weights(segnet: Architecture, hyper: Any, streets: Source) -> None:
    parents = [epochs(segnet, hyper, streets, RECIPES["baseline"], number=1)[-1].weights]
    names = ("continued", "constant-10", "constant-5", "uniform")
    children = [epochs(segnet, hyper, streets, RECIPES[name], number=1, parents=parents)[-1].weights for name in names]
    assert not any(same_weights(children[i], children[j]) for i in range(4) for j in range(i))


def test_validation_is_the_mean_over_the_levels_of_the_schedule(segnet: Architecture, hyper: Any, streets: Source) -> None:
    (epoch,) = epochs(segnet, hyper, streets, number=1)
    conditions = [Condition(), *(Condition(codec="jpeg", level=level) for level in (50, 5))]
    on_validation = replace(streets, test=streets.val)
    scores = list(evaluate(segnet, hyper, epoch.weights, data=on_validation, conditions=conditions))
    for name, value in epoch.validation.items():
        assert value == pytest.approx(np.mean([score.metrics[name] for score in scores]))


@pytest.mark.parametrize(("name", "given"), [("baseline", 1), ("continued", 0), ("uniform", 2)])
def test_a_wrong_number_of_parents_is_refused_by_recipe_and_number(
    segnet: Architecture, hyper: Any, streets: Source, name: str, given: int
) -> None:
    with pytest.raises(ValueError, match=rf"{name} has {len(RECIPES[name].parents)} parents, {given} weights"):
        epochs(segnet, hyper, streets, RECIPES[name], parents=[{}] * given)


def test_training_from_two_parents_is_refused(segnet: Architecture, hyper: Any, streets: Source) -> None:
    two = replace(MIXED, parents=("baseline", "continued"))
    with pytest.raises(ValueError, match="mixed trains from 2 parents"):
        epochs(segnet, hyper, streets, two, parents=[{}, {}])


@pytest.mark.parametrize("parents", [(), ("baseline",), ("baseline", "continued")])
def test_a_recipe_without_a_schedule_yields_nothing(
    segnet: Architecture, hyper: Any, streets: Source, parents: tuple[str, ...]
) -> None:
    untrained = Recipe(name="fusion", parents=parents)
    assert epochs(segnet, hyper, streets, untrained, parents=[{}] * len(parents)) == []


def test_a_training_that_diverges_is_ended_by_loss_and_epoch(segnet: Architecture, hyper: Any, streets: Source) -> None:
    with pytest.raises(FloatingPointError, match=r"segnet: loss is (nan|inf) in epoch 1; "):
        epochs(segnet, replace(hyper, lr=1e30), streets)


class Forbidden:
    """A split that must not be read."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise AssertionError(f"{name} of the test split was asked for")


def test_training_never_touches_the_test_split(segnet: Architecture, hyper: Any, streets: Source) -> None:
    sealed = replace(streets, test=Forbidden())
    with pytest.raises(AssertionError, match="names of the test split"):
        _ = sealed.test.names
    assert figures(epochs(segnet, hyper, sealed)) == figures(epochs(segnet, hyper, streets))


def test_the_test_split_does_not_change_what_is_trained(segnet: Architecture, hyper: Any, streets: Source) -> None:
    one = epochs(segnet, hyper, streets, number=1)
    other = epochs(segnet, hyper, replace(streets, test=streets.val, fingerprint="another"), number=1)
    assert same_weights(one[0].weights, other[0].weights)


def scores(architecture: Architecture, hyper: Any, data: Source, conditions: Any = EVERY, **more: Any) -> list[Score]:
    torch.manual_seed(0)
    weights = architecture.learner(hyper, data, 1, "cpu").network.state_dict()
    return list(evaluate(architecture, hyper, weights, data=data, conditions=conditions, **more))


def test_there_is_one_score_a_condition_in_the_order_given(segnet: Architecture, hyper: Any, streets: Source) -> None:
    conditions = [LADDER[-1], Condition(), LADDER[0]]
    assert [score.condition for score in scores(segnet, hyper, streets, conditions)] == conditions


def test_evaluation_yields_after_each_condition(segnet: Architecture, hyper: Any, streets: Source) -> None:
    weights = segnet.learner(hyper, streets, 1, "cpu").network.state_dict()
    conditions = (Condition(), Condition(codec="nosuch", level=1))
    found = evaluate(segnet, hyper, weights, data=streets, conditions=conditions)
    assert next(found).condition == Condition()
    with pytest.raises(ValueError, match="nosuch"):
        next(found)


def test_clean_has_no_rate(segnet: Architecture, hyper: Any, streets: Source) -> None:
    (score,) = scores(segnet, hyper, streets, [Condition()])
    assert (score.bits_per_pixel, score.bytes_per_item) == (None, None)


def test_the_rate_is_what_the_codec_makes_of_all_items(segnet: Architecture, hyper: Any, streets: Source) -> None:
    (score,) = scores(segnet, hyper, streets, [Condition(codec="jpeg", level=10)])
    sizes = [len(JPEG.encode(streets.test.frames(index), 10)) for index in range(6)]
    assert score.bytes_per_item == pytest.approx(sum(sizes) / 6)
    assert score.bits_per_pixel == pytest.approx(8 * sum(sizes) / (6 * 96 * 128))


def test_the_rate_falls_along_the_ladder(segnet: Architecture, hyper: Any, streets: Source) -> None:
    rates = [score.bits_per_pixel for score in scores(segnet, hyper, streets, LADDER)]
    assert all(rate is not None for rate in rates)
    assert rates == sorted(set(rates), reverse=True)  # type: ignore[type-var]


def test_replicates_are_the_same_in_every_run(segnet: Architecture, hyper: Any, streets: Source) -> None:
    one, other = (scores(segnet, hyper, streets, LADDER[-1:])[0].replicates for _ in range(2))
    assert list(one) == list(other) == list(segnet.metrics)
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_replicates_scatter_around_the_metric(segnet: Architecture, hyper: Any, streets: Source) -> None:
    (score,) = scores(segnet, hyper, streets, [Condition()])
    for name, values in score.replicates.items():
        assert values.shape == (REPLICATES,)
        assert 0 < values.std() < 0.1
        assert abs(values.mean() - score.metrics[name]) < values.std()


def test_a_replicate_is_the_score_of_its_resample(segnet: Architecture, hyper: Any, streets: Source) -> None:
    (score,) = scores(segnet, hyper, streets, [Condition()])
    torch.manual_seed(0)
    network = segnet.learner(hyper, streets, 1, "cpu").network.eval()
    shade = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1), torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    for replicate in range(3):
        counts = resamples(streets.fingerprint, streets.test.groups)[replicate]
        right = pixels = 0
        for index, count in enumerate(counts):
            image = torch.from_numpy(streets.test.frames(index)[0].transpose(2, 0, 1).astype(np.float32))
            with torch.inference_mode():
                prediction = network(((image - shade[0]) / shade[1])[None])[0].argmax(dim=0).numpy()
            right += count * int((prediction == streets.test.target(index)).sum())
            pixels += count * prediction.size
        assert score.replicates["global_accuracy"][replicate] == pytest.approx(right / pixels, abs=1e-4)


def test_the_first_items_are_drawn_under_every_condition(segnet: Architecture, hyper: Any, streets: Source) -> None:
    for score in scores(segnet, hyper, streets, [Condition(), LADDER[-1]]):
        assert [(picture.dtype, picture.shape) for picture in score.pictures] == [(np.dtype(np.uint8), (192, 128, 3))] * 3


def test_a_picture_shows_the_imagery_after_the_codec(segnet: Architecture, hyper: Any, streets: Source) -> None:
    (score,) = scores(segnet, hyper, streets, [Condition(codec="jpeg", level=5)])
    decoded = JPEG.decode(JPEG.encode(streets.test.frames(1), 5))[0]
    assert np.array_equal(score.pictures[1][:96], decoded)


def test_evaluation_does_not_change_the_weights(segnet: Architecture, hyper: Any, streets: Source) -> None:
    weights = segnet.learner(hyper, streets, 1, "cpu").network.state_dict()
    before = copy.deepcopy(weights)
    list(evaluate(segnet, hyper, weights, data=streets, conditions=[Condition()]))
    assert same_weights(before, weights)


def test_evaluation_reads_the_test_split_alone(segnet: Architecture, hyper: Any, streets: Source) -> None:
    sealed = replace(streets, train=Forbidden(), val=Forbidden())
    one, other = scores(segnet, hyper, sealed, [Condition()]), scores(segnet, hyper, streets, [Condition()])
    assert one[0].metrics == other[0].metrics


@pytest.mark.slow
def test_loader_workers_change_no_score(segnet: Architecture, hyper: Any, streets: Source) -> None:
    alone = scores(segnet, hyper, streets, [Condition(), LADDER[-1]])
    helped = scores(segnet, hyper, streets, [Condition(), LADDER[-1]], runtime=Runtime(workers=2))
    assert [(score.metrics, score.bits_per_pixel) for score in alone] == [(score.metrics, score.bits_per_pixel) for score in helped]
    for one, other in zip(alone, helped, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))


def test_an_unknown_codec_is_refused_with_those_that_are_known(segnet: Architecture, hyper: Any, streets: Source) -> None:
    with pytest.raises(ValueError, match=r"unknown codec 'nosuch'.*jpeg"):
        scores(segnet, hyper, streets, [Condition(codec="nosuch", level=1)])


def test_a_level_that_the_codec_does_not_have_is_refused(segnet: Architecture, hyper: Any, streets: Source) -> None:
    with pytest.raises(ValueError, match="jpeg: quality 0"):
        scores(segnet, hyper, streets, [Condition(codec="jpeg", level=0)])


def test_weights_of_another_shape_are_refused_in_one_line(segnet: Architecture, hyper: Any, streets: Source) -> None:
    weights = segnet.learner(replace(hyper, width=0.25), streets, 1, "cpu").network.state_dict()
    with pytest.raises(ValueError, match=r"^the weights do not fit segnet: .*encoder\.0") as refused:
        list(evaluate(segnet, hyper, weights, data=streets, conditions=[Condition()]))
    assert "\n" not in str(refused.value)


def _pixels(statistics: Sequence[Any]) -> int:
    return sum(int(confusion.sum()) for confusion in statistics)


def test_an_architecture_that_calibrates_is_scored_by_what_it_made_of_clean_validation(
    segnet: Architecture, hyper: Any, streets: Source
) -> None:
    def calibrate(validation: Callable[[Condition], Sequence[Any]], _: Condition) -> Calibration:
        pixels = _pixels(validation(Condition()))
        return Calibration(lambda _statistics, weights: {"pixels": np.full(len(weights), pixels)}, {"pixels": pixels})

    weights = segnet.learner(hyper, streets, 1, "cpu").network.state_dict()
    calibrated = replace(segnet, calibrate=calibrate)
    scores = list(evaluate(calibrated, hyper, weights, data=streets, conditions=EVERY[-2:]))
    known = sum(int((streets.val.target(index) != 255).sum()) for index in range(4))
    assert [score.metrics for score in scores] == [{"pixels": known}] * 2
    assert [score.chosen for score in scores] == [{"pixels": known}] * 2
    assert [score.replicates["pixels"].tolist() for score in scores] == [[known] * REPLICATES] * 2


def test_a_calibration_sees_validation_under_the_condition_that_is_scored(
    segnet: Architecture, hyper: Any, streets: Source
) -> None:
    def calibrate(validation: Callable[[Condition], Sequence[Any]], condition: Condition) -> Calibration:
        right = sum(int(np.trace(confusion)) for confusion in validation(condition))
        return Calibration(segnet.score, {"right": right})

    learner = segnet.learner(hyper, streets, 1, "cpu")
    scores = list(
        evaluate(replace(segnet, calibrate=calibrate), hyper, learner.network.state_dict(), data=streets, conditions=EVERY)
    )
    by_hand = [
        sum(np.trace(each) for each in measure(segnet, hyper, learner, streets, "val", at, Numerics(), Runtime()).statistics)
        for at in EVERY
    ]
    assert [score.chosen["right"] for score in scores] == by_hand
    assert len(set(by_hand)) > 1
