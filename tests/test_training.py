import copy
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.conftest import Margin
from tests.test_loading import flipped_at_random
from trainables import (
    CLEAN,
    CODECS,
    Condition,
    Epoch,
    Fusion,
    Inputs,
    Pair,
    Recipe,
    Runtime,
    Score,
    Source,
    Split,
    SplitName,
    View,
    Workload,
    evaluate,
    fuse,
    recipes,
    train,
)
from trainables.contracts import Calibration, Learner, Weights
from trainables.engine import evaluation
from trainables.engine.evaluation import Measuring, measure, scoring
from trainables.engine.resampling import REPLICATES, resamples
from trainables.networks.learner import OneNetworkLearner
from trainables.recipes.schedules import Constant, Uniform
from trainables.store.imagery import Store

JPEG = CODECS["jpeg"]
LADDER = tuple(Condition(codec="jpeg", level=level) for level in JPEG.levels)
EVERY = (CLEAN, *LADDER)
AT_5 = Condition(codec="jpeg", level=5)
RECIPES = {recipe.name: recipe for recipe in (*recipes(None), *recipes("jpeg", JPEG.levels))}
MIXED = Recipe(name="mixed", codec="jpeg", schedule=Uniform(ladder=(50, 5)))


def epochs(workload: Workload, recipe: Recipe = MIXED, *, number: int = 2, seed: int = 3, **more: Any) -> list[Epoch]:
    """The epochs of a training, each with copies of its weights and state."""
    found = train(workload, recipe, epochs=number, seed=seed, **more)
    return [replace(epoch, weights=copy.deepcopy(epoch.weights), state=copy.deepcopy(epoch.state)) for epoch in found]


def learner(workload: Workload) -> Learner:
    """A learner with random weights, always the same."""
    torch.manual_seed(0)
    return workload.architecture.learner(workload.hyper, workload.data, 1, "cpu")


def weights(workload: Workload) -> Weights:
    return learner(workload).network.state_dict()


def saved_and_loaded(state: Mapping[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def same_weights(one: Weights, other: Weights) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def figures(found: list[Epoch]) -> list[tuple[int, dict[str, float], dict[Condition, dict[str, float]]]]:
    validated = [{condition: dict(metrics) for condition, metrics in epoch.validation.items()} for epoch in found]
    return [(epoch.number, dict(epoch.losses), of_epoch) for epoch, of_epoch in zip(found, validated, strict=True)]


def test_epochs_are_numbered_from_one(workload: Workload) -> None:
    assert [epoch.number for epoch in epochs(workload, number=3)] == [1, 2, 3]


def test_an_epoch_has_finite_losses_and_every_metric(workload: Workload) -> None:
    (epoch,) = epochs(workload, number=1)
    (validated,) = epoch.validation.values()
    assert list(validated) == list(workload.architecture.task.metrics)
    assert all(map(math.isfinite, [*epoch.losses.values(), *validated.values()]))
    assert len(epoch.losses) > 0


def test_an_epoch_reports_its_duration_and_the_fraction_spent_waiting(workload: Workload) -> None:
    (epoch,) = epochs(workload, number=1)
    assert epoch.seconds > 0
    assert 0 < epoch.waiting < 1


@pytest.mark.trained
def test_the_loss_falls_over_eight_epochs(workload: Workload, margin: Margin, seed: int) -> None:
    losses = [epoch.losses["loss"] for epoch in train(workload, MIXED, epochs=8, seed=seed)]
    margin(losses[-1] / losses[0], below=0.95)


def test_equal_arguments_give_bit_identical_figures_and_weights(workload: Workload) -> None:
    one = epochs(workload)
    torch.manual_seed(12345)
    other = epochs(workload)
    assert figures(one) == figures(other)
    assert same_weights(one[-1].weights, other[-1].weights)


def test_another_seed_gives_other_weights(workload: Workload) -> None:
    one, other = (epochs(workload, number=1, seed=seed) for seed in (1, 2))
    assert not same_weights(one[0].weights, other[0].weights)


def test_a_training_resumed_from_its_saved_state_ends_bit_identically(workload: Workload) -> None:
    through = epochs(workload, number=3)
    interrupted = train(workload, MIXED, epochs=3, seed=3)
    state = saved_and_loaded(next(interrupted).state)
    interrupted.close()  # type: ignore[attr-defined]
    resumed = epochs(workload, number=3, resume=state)
    assert figures(resumed) == figures(through)[1:]
    assert same_weights(resumed[-1].weights, through[-1].weights)


def test_a_training_with_sgd_resumes_bit_identically(workload: Workload) -> None:
    sgd = replace(workload.hyper, optimiser="sgd", lr=0.1, lr_schedule="constant", class_weights="none")
    with_sgd = replace(workload, hyper=sgd)
    through = epochs(with_sgd)
    resumed = epochs(with_sgd, resume=saved_and_loaded(through[0].state))
    assert figures(resumed) == figures(through)[1:]
    assert same_weights(resumed[-1].weights, through[-1].weights)


def test_a_child_resumes_from_its_own_state_and_not_from_its_parent(workload: Workload) -> None:
    parents = [epochs(workload, RECIPES["baseline"])[-1].weights]
    through = epochs(workload, RECIPES["constant-5"], parents=parents)
    state = saved_and_loaded(through[0].state)
    resumed = epochs(workload, RECIPES["constant-5"], parents=parents, resume=state)
    assert same_weights(resumed[-1].weights, through[-1].weights)


def test_resuming_after_the_last_epoch_yields_nothing(workload: Workload) -> None:
    state = epochs(workload)[-1].state
    assert epochs(workload, resume=state) == []


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_training_with_loader_workers_is_bit_identical(workload: Workload, workers: int) -> None:
    alone = epochs(workload)
    helped = epochs(replace(workload, runtime=Runtime(workers=workers)))
    assert figures(alone) == figures(helped)
    assert same_weights(alone[-1].weights, helped[-1].weights)


def test_training_through_a_store_is_bit_identical(workload: Workload, tmp_path: Path) -> None:
    plain = epochs(workload)
    for _ in ("built", "read"):
        stored = epochs(replace(workload, runtime=Runtime(store=Store(tmp_path, 10**9))))
        assert figures(plain) == figures(stored)
        assert same_weights(plain[-1].weights, stored[-1].weights)


def test_a_child_starts_from_the_weights_of_its_parent(workload: Workload) -> None:
    parent = epochs(workload, RECIPES["baseline"], number=1)[-1].weights
    still = replace(workload, hyper=replace(workload.hyper, optimiser="sgd", lr=0.0, lr_schedule="constant"))
    child = epochs(still, RECIPES["continued"], number=1, seed=9, parents=[parent])[-1].weights
    learned = [name for name, _ in learner(workload).network.named_parameters()]
    assert all(torch.equal(parent[name], child[name]) for name in learned)


def test_training_a_child_does_not_change_its_parent(workload: Workload) -> None:
    parent = epochs(workload, RECIPES["baseline"], number=1)[-1].weights
    before = copy.deepcopy(parent)
    epochs(workload, RECIPES["continued"], number=1, parents=[parent])
    assert same_weights(before, parent)


def test_every_schedule_of_compression_trains_other_weights(workload: Workload) -> None:
    parents = [epochs(workload, RECIPES["baseline"], number=1)[-1].weights]
    names = ("continued", "constant-10", "constant-5", "uniform")
    children = [epochs(workload, RECIPES[name], number=1, parents=parents)[-1].weights for name in names]
    assert not any(same_weights(children[i], children[j]) for i in range(4) for j in range(i))


def test_each_epoch_is_validated_under_each_validation_condition(workload: Workload) -> None:
    (epoch,) = epochs(workload, number=1, validation=EVERY)
    assert tuple(epoch.validation) == EVERY
    scores = evaluate(workload, epoch.weights, conditions=EVERY, split="val")
    assert {score.condition: score.metrics for score in scores} == epoch.validation


def test_validation_conditions_do_not_change_the_training(workload: Workload) -> None:
    without, clean, every = (epochs(workload, validation=conditions) for conditions in ((), (CLEAN,), EVERY))
    assert [epoch.validation for epoch in without] == [{}, {}]
    for other in (clean, every):
        assert [epoch.losses for epoch in other] == [epoch.losses for epoch in without]
        assert same_weights(other[-1].weights, without[-1].weights)
    assert [epoch.validation[CLEAN] for epoch in every] == [epoch.validation[CLEAN] for epoch in clean]


@pytest.mark.parametrize(("name", "given"), [("baseline", 1), ("continued", 0), ("uniform", 2)])
def test_a_wrong_number_of_parents_is_refused_with_both_numbers(workload: Workload, name: str, given: int) -> None:
    needed = len(RECIPES[name].parents)
    with pytest.raises(ValueError, match=rf"^recipe {name} needs {needed} parents, got {given} sets of weights$"):
        epochs(workload, RECIPES[name], parents=[{}] * given)


def test_training_from_two_parents_is_refused(workload: Workload) -> None:
    two = replace(MIXED, parents=("baseline", "continued"))
    with pytest.raises(ValueError, match="recipe mixed trains from 2 parents: training starts from at most one"):
        epochs(workload, two, parents=[{}, {}])


@pytest.mark.parametrize("parents", [(), ("baseline",), ("baseline", "continued")])
def test_a_recipe_without_a_schedule_yields_no_epoch(workload: Workload, parents: tuple[str, ...]) -> None:
    untrained = Recipe(name="fusion", parents=parents)
    assert epochs(workload, untrained, parents=[{}] * len(parents)) == []


def test_a_training_that_diverges_ends_with_an_error_that_names_loss_and_epoch(workload: Workload) -> None:
    diverging = replace(workload, hyper=replace(workload.hyper, lr=1e30))
    with pytest.raises(FloatingPointError, match=r"^segnet: loss is (nan|inf) in epoch 1; lower the learning rate$"):
        epochs(diverging)


class Forbidden:
    """A split that must not be read."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("__"):
            return super().__getattribute__(name)
        raise AssertionError(f"the split was read: {name}")


def with_data(workload: Workload, **changes: Any) -> Workload:
    return replace(workload, data=replace(workload.data, **changes))


def test_training_never_reads_the_test_split(workload: Workload) -> None:
    sealed = with_data(workload, test=Forbidden())
    with pytest.raises(AssertionError, match="the split was read: names"):
        _ = sealed.data.test.names
    assert figures(epochs(sealed)) == figures(epochs(workload))


def test_the_test_split_and_the_fingerprint_do_not_change_the_weights(workload: Workload) -> None:
    one = epochs(workload, number=1)
    other = epochs(with_data(workload, test=workload.data.val, fingerprint="another"), number=1)
    assert same_weights(one[0].weights, other[0].weights)


def squared_distance(compressed: Tensor, clean: Tensor) -> Tensor:
    return F.mse_loss(compressed, clean)


class ConsistentLearner(OneNetworkLearner):
    """One convolution. On a `Pair` it also minimises the distance between its outputs on the two batches."""

    def __init__(self, hyper: Any, source: Source, steps: int, device: str, *, seen: list[Any]) -> None:
        super().__init__(nn.Conv2d(3, len(source.classes), 3, padding=1), hyper, steps=steps, device=device)
        self.seen = seen
        """Every batch that `update` received."""

    def outputs(self, batch: Any) -> Tensor:
        logits: Tensor = self.network(batch["image"].float() / 255)
        return logits

    def losses(self, batch: Any) -> dict[str, Tensor]:
        self.seen.append(batch)
        compressed = batch.compressed if isinstance(batch, Pair) else batch
        logits = self.outputs(compressed)
        losses = {"loss": F.cross_entropy(logits, compressed["mask"].long(), ignore_index=255)}
        if isinstance(batch, Pair):
            losses["consistency"] = squared_distance(logits, self.outputs(batch.clean))
        return losses

    def decode(self, outputs: Tensor, batch: Any) -> Sequence[Any]:  # noqa: ARG002
        return list(outputs.argmax(dim=1).to(torch.uint8).numpy())


def consistent(workload: Workload, seen: list[Any]) -> Workload:
    """The workload with a `ConsistentLearner`, on inputs that are mirrored at random."""
    architecture = replace(
        workload.architecture,
        name="consistent",
        task=replace(workload.architecture.task, consistency=squared_distance),
        inputs=Inputs(example=flipped_at_random),
        learner=partial(ConsistentLearner, seen=seen),
    )
    return replace(workload, architecture=architecture)


PAIRED = Recipe(name="paired", codec="jpeg", schedule=Constant(at=5), paired=True)


def test_a_paired_recipe_gives_the_learner_the_same_items_compressed_and_clean(workload: Workload) -> None:
    pairs: list[Any] = []
    singles: list[Any] = []
    epochs(consistent(workload, pairs), PAIRED)
    epochs(consistent(workload, singles), replace(PAIRED, paired=False))
    assert len(pairs) == len(singles) == 2 * 3
    for pair, single in zip(pairs, singles, strict=True):
        assert isinstance(pair, Pair)
        assert torch.equal(pair.compressed["image"], single["image"])
        assert torch.equal(pair.compressed["mask"], pair.clean["mask"])  # the same items, mirrored alike
        assert not torch.equal(pair.compressed["image"], pair.clean["image"])


@pytest.mark.parametrize("recipe", [RECIPES["baseline"], MIXED, replace(PAIRED, paired=False)], ids=lambda recipe: recipe.name)
def test_an_unpaired_recipe_never_gives_the_learner_a_pair(workload: Workload, recipe: Recipe) -> None:
    seen: list[Any] = []
    epochs(consistent(workload, seen), recipe)
    assert seen
    assert not any(isinstance(batch, Pair) for batch in seen)


def test_a_consistency_loss_on_pairs_changes_the_weights(workload: Workload) -> None:
    paired, single = (epochs(consistent(workload, []), replace(PAIRED, paired=paired)) for paired in (True, False))
    assert all(epoch.losses["consistency"] > 0 for epoch in paired)
    assert "consistency" not in single[0].losses
    assert not same_weights(paired[-1].weights, single[-1].weights)


def test_paired_training_is_bit_identical_in_every_run_and_through_a_store(workload: Workload, tmp_path: Path) -> None:
    one, other = (epochs(consistent(workload, []), PAIRED) for _ in range(2))
    stored = epochs(replace(consistent(workload, []), runtime=Runtime(store=Store(tmp_path, 10**9))), PAIRED)
    for again in (other, stored):
        assert figures(one) == figures(again)
        assert same_weights(one[-1].weights, again[-1].weights)


def test_paired_training_resumes_bit_identically(workload: Workload) -> None:
    through = epochs(consistent(workload, []), PAIRED)
    resumed = epochs(consistent(workload, []), PAIRED, resume=saved_and_loaded(through[0].state))
    assert same_weights(resumed[-1].weights, through[-1].weights)


def scores(workload: Workload, conditions: Sequence[Condition] = EVERY, **more: Any) -> list[Score]:
    return list(evaluate(workload, weights(workload), conditions=conditions, **more))


def test_there_is_one_score_per_condition_in_the_order_given(workload: Workload) -> None:
    conditions = [LADDER[-1], CLEAN, LADDER[0]]
    assert [score.condition for score in scores(workload, conditions)] == conditions


def test_evaluation_yields_after_each_condition(workload: Workload) -> None:
    found = evaluate(workload, weights(workload), conditions=(CLEAN, Condition(codec="nosuch", level=1)))
    assert next(found).condition == CLEAN
    with pytest.raises(ValueError, match="unknown codec 'nosuch'"):
        next(found)


def test_scoring_reports_its_progress_within_a_condition(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.engine.evaluation.PROGRESS_SECONDS", -1.0)
    found = list(scoring(workload, weights(workload), [View("test", CLEAN), View("test", AT_5)]))
    assert [each for each in found if isinstance(each, Measuring)] == [
        Measuring(View("test", condition), measured, 6) for condition in (CLEAN, AT_5) for measured in (4, 6)
    ]
    reported = [each.metrics for each in found if isinstance(each, Score)]
    assert reported == [score.metrics for score in scores(workload, [CLEAN, AT_5])]


VIEWS = [View(split, condition) for split in ("val", "test") for condition in (CLEAN, AT_5)]


def test_views_are_scored_in_the_order_given_as_each_split_is_alone(workload: Workload) -> None:
    found = [each for each in scoring(workload, weights(workload), VIEWS) if isinstance(each, Score)]
    assert [View(score.split, score.condition) for score in found] == VIEWS
    alone = [*scores(workload, [CLEAN, AT_5], split="val"), *scores(workload, [CLEAN, AT_5])]
    assert [score.metrics for score in found] == [score.metrics for score in alone]
    assert [score.bits_per_pixel for score in found] == [score.bits_per_pixel for score in alone]


def test_pictures_are_drawn_of_test_items_alone(workload: Workload) -> None:
    found = [each for each in scoring(workload, weights(workload), VIEWS) if isinstance(each, Score)]
    assert [len(score.pictures) for score in found] == [0, 0, 3, 3]


def test_a_clean_score_has_no_rate(workload: Workload) -> None:
    (score,) = scores(workload, [CLEAN])
    assert (score.bits_per_pixel, score.stream_bits_per_pixel, score.bytes_per_item) == (None, None, None)


def test_the_rate_is_the_encoded_size_of_all_items(workload: Workload) -> None:
    (score,) = scores(workload, [Condition(codec="jpeg", level=10)])
    sizes = [len(JPEG.encode(workload.data.test.frames(index), 10)) for index in range(6)]
    assert score.bytes_per_item == pytest.approx(sum(sizes) / 6)
    assert score.bits_per_pixel == pytest.approx(8 * sum(sizes) / (6 * 96 * 128))
    assert score.stream_bits_per_pixel is None  # stills have no later frames


def test_the_rate_falls_along_the_ladder(workload: Workload) -> None:
    rates = [score.bits_per_pixel for score in scores(workload, LADDER)]
    assert all(rate is not None for rate in rates)
    assert rates == sorted(set(rates), reverse=True)  # type: ignore[type-var]


def test_replicates_are_equal_in_every_run(workload: Workload) -> None:
    one, other = (scores(workload, LADDER[-1:])[0].replicates for _ in range(2))
    assert list(one) == list(other) == list(workload.architecture.task.metrics)
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_replicates_scatter_around_the_metric(workload: Workload) -> None:
    (score,) = scores(workload, [CLEAN])
    for name, values in score.replicates.items():
        assert values.shape == (REPLICATES,)
        assert 0 < values.std() < 0.1
        assert abs(values.mean() - score.metrics[name]) < values.std()


def test_a_replicate_is_the_score_of_its_resample(workload: Workload) -> None:
    (score,) = scores(workload, [CLEAN])
    test, network = workload.data.test, learner(workload).network.eval()
    mean, deviation = torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1), torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1)
    for replicate in range(3):
        counts = resamples(workload.data.fingerprint, test.groups)[replicate]
        right = pixels = 0
        for index, count in enumerate(counts):
            image = torch.from_numpy(test.frames(index)[0].transpose(2, 0, 1).astype(np.float32))
            with torch.inference_mode():
                prediction = network(((image - mean) / deviation)[None])[0].argmax(dim=0).numpy()
            right += count * int((prediction == test.target(index)).sum())
            pixels += count * prediction.size
        assert score.replicates["global_accuracy"][replicate] == pytest.approx(right / pixels, abs=1e-4)


def test_the_first_test_items_are_drawn_under_every_condition(workload: Workload) -> None:
    for score in scores(workload, [CLEAN, LADDER[-1]]):
        assert [(picture.dtype, picture.shape) for picture in score.pictures] == [(np.dtype(np.uint8), (192, 128, 3))] * 3


def test_a_picture_shows_the_imagery_after_the_codec(workload: Workload) -> None:
    (score,) = scores(workload, [AT_5])
    decoded = JPEG.decode(JPEG.encode(workload.data.test.frames(1), 5))[0]
    assert np.array_equal(score.pictures[1][:96], decoded)


def test_evaluation_does_not_change_the_weights(workload: Workload) -> None:
    given = weights(workload)
    before = copy.deepcopy(given)
    list(evaluate(workload, given, conditions=[CLEAN]))
    assert same_weights(before, given)


def test_test_scores_read_only_the_test_split(workload: Workload) -> None:
    sealed = with_data(workload, train=Forbidden(), val=Forbidden())
    one, other = scores(sealed, [CLEAN]), scores(workload, [CLEAN])
    assert one[0].metrics == other[0].metrics


def test_validation_scores_read_only_the_validation_split_and_draw_nothing(workload: Workload) -> None:
    sealed = with_data(workload, train=Forbidden(), test=Forbidden())
    for score in scores(sealed, [CLEAN, AT_5], split="val"):
        assert score.split == "val"
        assert score.pictures == []
        assert all(values.shape == (REPLICATES,) for values in score.replicates.values())
        measured = measure(workload, learner(workload), "val", score.condition)
        assert score.metrics["global_accuracy"] == pytest.approx(
            sum(np.trace(each) for each in measured.statistics) / sum(each.sum() for each in measured.statistics)
        )


@pytest.mark.slow
def test_evaluation_with_loader_workers_gives_equal_scores(workload: Workload) -> None:
    alone = scores(workload, [CLEAN, LADDER[-1]])
    helped = scores(replace(workload, runtime=Runtime(workers=2)), [CLEAN, LADDER[-1]])
    assert [(score.metrics, score.bits_per_pixel) for score in alone] == [(score.metrics, score.bits_per_pixel) for score in helped]
    for one, other in zip(alone, helped, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.pictures, other.pictures, strict=True))


def test_a_level_outside_the_codecs_range_is_refused(workload: Workload) -> None:
    with pytest.raises(ValueError, match=r"00000: jpeg: quality 0 is outside 1\.\.100"):
        scores(workload, [Condition(codec="jpeg", level=0)])


def test_weights_of_another_shape_are_refused_in_one_line(workload: Workload) -> None:
    wider = weights(replace(workload, hyper=replace(workload.hyper, width=0.25)))
    with pytest.raises(ValueError, match=r"^weights do not fit segnet: size mismatch for encoder\.0.* instead of ") as refused:
        list(evaluate(workload, wider, conditions=[CLEAN]))
    assert "\n" not in str(refused.value)


def with_calibration(workload: Workload, calibrate: Callable[..., Calibration]) -> Workload:
    task = replace(workload.architecture.task, calibrate=calibrate)
    return replace(workload, architecture=replace(workload.architecture, task=task))


def pixels_of(statistics: Sequence[Any]) -> int:
    return sum(int(confusion.sum()) for confusion in statistics)


def test_a_calibrated_task_is_scored_by_the_scoring_function_that_calibration_returns(workload: Workload) -> None:
    def calibrate(validation: Callable[[Condition], Sequence[Any]], _: Condition) -> Calibration:
        pixels = pixels_of(validation(CLEAN))
        return Calibration(lambda _statistics, counts: {"pixels": np.full(len(counts), pixels)}, {"pixels": pixels})

    found = scores(with_calibration(workload, calibrate), EVERY[-2:])
    known = sum(int((workload.data.val.target(index) != 255).sum()) for index in range(4))
    assert [score.metrics for score in found] == [{"pixels": known}] * 2
    assert [score.chosen for score in found] == [{"pixels": known}] * 2
    assert [score.replicates["pixels"].tolist() for score in found] == [[known] * REPLICATES] * 2


def test_calibration_receives_validation_statistics_under_the_condition_that_is_scored(workload: Workload) -> None:
    def calibrate(validation: Callable[[Condition], Sequence[Any]], condition: Condition) -> Calibration:
        right = sum(int(np.trace(confusion)) for confusion in validation(condition))
        return Calibration(workload.architecture.task.score, {"right": right})

    found = scores(with_calibration(workload, calibrate))
    network = learner(workload)
    by_hand = [sum(np.trace(each) for each in measure(workload, network, "val", at).statistics) for at in EVERY]
    assert [score.chosen["right"] for score in found] == by_hand
    assert len(set(by_hand)) > 1


def test_a_calibrated_task_is_measured_on_validation_once_per_condition(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[View] = []
    real = evaluation.measuring

    def counting(workload: Workload, learner: Learner, split: SplitName, condition: Condition, **more: Any) -> Iterator[Any]:
        passes.append(View(split, condition))
        yield from real(workload, learner, split, condition, **more)

    def calibrate(validation: Callable[[Condition], Sequence[Any]], condition: Condition) -> Calibration:
        return Calibration(workload.architecture.task.score, {"items": len(validation(condition)) + len(validation(CLEAN))})

    monkeypatch.setattr(evaluation, "measuring", counting)
    every = [View(split, condition) for split in ("test", "val") for condition in (AT_5, CLEAN)]
    for views in (every, every[::-1]):
        passes.clear()
        found = [
            each for each in scoring(with_calibration(workload, calibrate), weights(workload), views) if isinstance(each, Score)
        ]
        assert [View(score.split, score.condition) for score in found] == views
        assert sorted(map(str, passes)) == sorted(map(str, every))


def test_outputs_are_kept_only_where_the_architecture_asks_for_them(workload: Workload) -> None:
    def sky(prediction: Any) -> Any:
        return np.array([(prediction == 0).mean()], np.float32)

    assert scores(workload, [CLEAN])[0].outputs is None
    keeping = replace(workload, architecture=replace(workload.architecture, output=sky))
    outputs = scores(keeping, [CLEAN])[0].outputs
    assert outputs is not None
    assert (outputs.shape, str(outputs.dtype)) == ((6, 1), "float32")


def added(outputs: Sequence[Any], split: Split) -> Sequence[float]:
    assert len(split.names) == len(outputs[0])
    return [float(value) for value in sum(outputs)]


def test_a_fusion_is_scored_on_its_outputs_with_the_resamples_of_the_data(workload: Workload) -> None:
    def mean(statistics: Sequence[float], counts: Any) -> Mapping[str, Any]:
        return {"mean": (counts * np.asarray(statistics)).sum(axis=1) / counts.sum(axis=1)}

    task = replace(workload.architecture.task, metric="mean", metrics={"mean": "max"}, score=mean)
    fusion = Fusion(name="sum", task=task, streams={"one": "segnet", "two": "segnet"}, fuse=added)
    one, two = np.arange(6, dtype=np.float32), np.arange(6, dtype=np.float32)[::-1] ** 2
    metrics, replicates = fuse(fusion, [one, two], data=workload.data)
    assert metrics == {"mean": pytest.approx((one + two).mean())}
    counts = resamples(workload.data.fingerprint, workload.data.test.groups)
    assert np.allclose(replicates["mean"], (counts * (one + two)).sum(axis=1) / 6)
    metrics, replicates = fuse(fusion, [one[:4], two[:4]], data=workload.data, split="val")
    assert metrics == {"mean": pytest.approx((one + two)[:4].mean())}
    counts = resamples(workload.data.fingerprint, workload.data.val.groups)
    assert np.allclose(replicates["mean"], (counts * (one + two)[:4]).sum(axis=1) / 4)
