import io
from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from search_spaces import SPACES
from trainables import ARCHITECTURES, DATASETS, Architecture, Dataset, Frames, Learner, Runtime, Source, Split
from trainables.contracts import Weights
from trainables.loading import Batch, EpochSampler, evaluation_draws, loader, samples
from trainables.schedules import Clean

EMBEDDED = {
    f"{architecture.name}-{dataset.name}": (architecture, dataset)
    for architecture in ARCHITECTURES.values()
    for dataset in DATASETS.values()
    if dataset.task == architecture.task and dataset.make is not None
}
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
embedded = pytest.mark.parametrize("bench", EMBEDDED.values(), ids=EMBEDDED, indirect=True)
BATCH = 2


@dataclass(frozen=True)
class First:
    """The first items of a split."""

    whole: Split
    count: int

    @property
    def names(self) -> Sequence[str]:
        return self.whole.names[: self.count]

    @property
    def groups(self) -> Sequence[str]:
        return self.whole.groups[: self.count]

    def frames(self, index: int) -> Frames:
        return self.whole.frames(index)

    def target(self, index: int) -> Any:
        return self.whole.target(index)

    def files(self, index: int) -> tuple[Path, ...]:
        return self.whole.files(index)


class Bench(NamedTuple):
    """An architecture, reduced, on a few items of a data set."""

    architecture: Architecture
    hyper: Any
    source: Source

    def learner(self) -> Learner:
        torch.manual_seed(0)
        return self.architecture.learner(self.hyper, self.source, 4, "cpu")

    def training(self, seed: int = 0) -> list[Batch]:
        sampler = EpochSampler(2 * BATCH, BATCH, Clean(), epochs=1, key=(seed, 0))
        return self._read("train", sampler)

    def test(self) -> list[Batch]:
        return self._read("test", evaluation_draws(2 * BATCH, BATCH, None))

    def _read(self, split: str, batches: Any) -> list[Batch]:
        items = samples(self.architecture, self.hyper, self.source, split, None, Runtime(), keep_frames=9)
        return list(loader(items, batches, Runtime()))

    def trained(self) -> Learner:
        learner = self.learner()
        learner.network.train()
        for batch in self.training():
            learner.update(batch.examples)
        return learner

    def predictions(self, learner: Learner) -> list[tuple[Batch, Sequence[Any]]]:
        learner.network.eval()
        with torch.inference_mode():
            return [(batch, learner.predict(batch.examples)) for batch in self.test()]

    def statistics(self) -> list[Any]:
        pairs = self.predictions(self.trained())
        return [one for batch, found in pairs for one in self.architecture.statistics(found, batch.examples, self.source)]


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Bench:
    architecture, dataset = request.param
    budget = SPACES["demo"].budgets[architecture.name]
    source = dataset.source(None)
    parts = {part: First(getattr(source, part), 2 * BATCH) for part in ("train", "val", "test")}
    return Bench(architecture, architecture.hyper(**{**budget.hyper, "batch_size": BATCH}), replace(source, **parts))


def same(one: Weights, other: Weights) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def through_a_file(state: Mapping[str, Any]) -> Any:
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@every_architecture
def test_an_architecture_is_listed_under_its_name(architecture: Architecture) -> None:
    assert ARCHITECTURES[architecture.name] is architecture


@every_architecture
def test_an_architecture_has_data_that_is_embedded(architecture: Architecture) -> None:
    assert any(dataset.task == architecture.task and dataset.make for dataset in DATASETS.values())


@every_architecture
def test_the_demo_has_a_budget_for_every_architecture(architecture: Architecture) -> None:
    assert architecture.name in SPACES["demo"].budgets


@every_architecture
def test_the_primary_metric_is_among_the_metrics(architecture: Architecture) -> None:
    assert architecture.metric in architecture.metrics
    assert set(architecture.metrics.values()) <= {"min", "max"}


@every_architecture
def test_the_defaults_of_the_hyper_parameters_construct(architecture: Architecture) -> None:
    assert architecture.hyper().batch_size >= 1


@every_architecture
def test_hyper_parameters_are_a_frozen_value(architecture: Architecture) -> None:
    assert architecture.hyper() == architecture.hyper()
    assert hash(architecture.hyper()) == hash(architecture.hyper())
    with pytest.raises(FrozenInstanceError):
        architecture.hyper().batch_size = 1


@every_architecture
def test_an_unknown_hyper_parameter_is_refused_by_name(architecture: Architecture) -> None:
    with pytest.raises(TypeError, match="no_such_thing"):
        architecture.hyper(no_such_thing=1)


@every_architecture
def test_hyper_parameters_are_plain_values(architecture: Architecture) -> None:
    assert is_dataclass(architecture.hyper)
    for field in fields(architecture.hyper):
        value = getattr(architecture.hyper(), field.name)
        assert {type(part) for part in (value if isinstance(value, tuple) else (value,))} <= {bool, int, float, str, type(None)}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_budgets_of_a_space_are_hyper_parameters_of_its_architectures(space: Any) -> None:
    for name, budget in space.budgets.items():
        made = ARCHITECTURES[name].hyper(**budget.hyper)
        assert {key: getattr(made, key) for key in budget.hyper} == dict(budget.hyper)


@embedded
def test_losses_are_finite_detached_scalars(bench: Bench) -> None:
    learner = bench.learner()
    learner.network.train()
    for batch in bench.training():
        losses = learner.update(batch.examples)
        assert len(losses) > 0
        for loss in losses.values():
            assert (loss.shape, loss.requires_grad, bool(torch.isfinite(loss))) == ((), False, True)


@embedded
def test_a_step_changes_weights(bench: Bench) -> None:
    before = {name: value.clone() for name, value in bench.learner().network.named_parameters()}
    after = dict(bench.trained().network.named_parameters())
    assert [name for name, value in before.items() if not torch.equal(value, after[name])]


@embedded
def test_weights_are_initialised_from_the_seed_of_torch(bench: Bench) -> None:
    first = bench.learner().network.state_dict()
    assert same(first, bench.learner().network.state_dict())
    torch.manual_seed(1)
    other = bench.architecture.learner(bench.hyper, bench.source, 4, "cpu").network.state_dict()
    assert not same(first, other)


@embedded
def test_an_evaluation_example_is_the_same_each_time(bench: Bench) -> None:
    for one, other in zip(bench.test(), bench.test(), strict=True):
        assert repr_of(one.examples) == repr_of(other.examples)


@embedded
def test_a_training_example_is_the_same_from_the_same_stream(bench: Bench) -> None:
    for one, other in zip(bench.training(), bench.training(), strict=True):
        assert repr_of(one.examples) == repr_of(other.examples)


def repr_of(value: Any) -> Any:
    """Comparable by ==, whatever an architecture's batch is made of."""
    if isinstance(value, torch.Tensor):
        return (value.dtype, tuple(value.shape), value.numpy().tobytes())
    if isinstance(value, np.ndarray):
        return (value.dtype, value.shape, value.tobytes())
    if isinstance(value, Mapping):
        return {key: repr_of(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [repr_of(part) for part in value]
    return value


@embedded
def test_there_is_one_prediction_and_one_statistic_an_item(bench: Bench) -> None:
    for batch, found in bench.predictions(bench.learner()):
        assert len(found) == BATCH
        assert len(bench.architecture.statistics(found, batch.examples, bench.source)) == BATCH


@embedded
def test_predicting_twice_gives_the_same(bench: Bench) -> None:
    learner = bench.trained()
    one, other = bench.predictions(learner), bench.predictions(learner)
    assert [repr_of(found) for _, found in one] == [repr_of(found) for _, found in other]


@embedded
def test_predicting_does_not_change_the_weights(bench: Bench) -> None:
    learner = bench.trained()
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    bench.predictions(learner)
    assert same(before, learner.network.state_dict())


@embedded
def test_scoring_gives_exactly_the_metrics_that_are_named(bench: Bench) -> None:
    scores = bench.architecture.score(bench.statistics(), np.ones((3, 2 * BATCH), np.int64))
    assert set(scores) == set(bench.architecture.metrics)
    assert {values.shape for values in scores.values()} == {(3,)}
    assert all(np.isfinite(values).all() for values in scores.values())


@embedded
def test_an_item_of_weight_two_scores_as_that_item_twice(bench: Bench) -> None:
    statistics = bench.statistics()
    weighed = bench.architecture.score(statistics, np.array([[2, 1, 0, 1]]))
    repeated = bench.architecture.score([statistics[i] for i in (0, 0, 1, 3)], np.ones((1, 4), np.int64))
    assert {name: values.tolist() for name, values in weighed.items()} == {
        name: pytest.approx(values.tolist()) for name, values in repeated.items()
    }


@embedded
def test_a_picture_is_rgb(bench: Bench) -> None:
    for batch, found in bench.predictions(bench.trained()):
        for frames, prediction in zip(batch.frames, found, strict=True):
            picture = bench.architecture.picture(frames, prediction)
            assert (picture.dtype, picture.ndim, picture.shape[-1]) == (np.dtype(np.uint8), 3, 3)


@embedded
def test_the_state_of_a_learner_survives_a_file(bench: Bench) -> None:
    learner, other = bench.trained(), bench.learner()
    other.load_state_dict(through_a_file(learner.state_dict()))
    assert same(learner.network.state_dict(), other.network.state_dict())


@embedded
def test_a_learner_goes_on_from_a_state_to_the_same_bits(bench: Bench) -> None:
    learner, other = bench.trained(), bench.learner()
    other.load_state_dict(through_a_file(learner.state_dict()))
    for each in (learner, other):
        each.network.train()
        torch.manual_seed(5)
        for batch in bench.training(seed=1):
            each.update(batch.examples)
    assert same(learner.network.state_dict(), other.network.state_dict())


@embedded
def test_the_weights_of_a_network_survive_a_file_and_predict_the_same(bench: Bench) -> None:
    learner, other = bench.trained(), bench.learner()
    other.network.load_state_dict(through_a_file(learner.network.state_dict()))
    one, two = bench.predictions(learner), bench.predictions(other)
    assert [repr_of(found) for _, found in one] == [repr_of(found) for _, found in two]


def test_every_dataset_is_of_a_task_that_has_an_architecture() -> None:
    assert {dataset.task for dataset in DATASETS.values()} == {architecture.task for architecture in ARCHITECTURES.values()}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_a_dataset_is_either_opened_or_made(dataset: Dataset) -> None:
    assert (dataset.open is None) != (dataset.make is None)
