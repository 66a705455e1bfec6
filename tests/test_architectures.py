from collections.abc import Callable, Sequence
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import numpy as np
import pytest

from search_spaces import SPACES
from trainables import ARCHITECTURES, DATASETS, Architecture, Dataset, Source
from trainables.engine.conformance import CHECKS, Bench, Check, try_out

TRAINED = [architecture for architecture in ARCHITECTURES.values() if not architecture.streams]
EMBEDDED = {
    f"{architecture.name}-{dataset.name}": (architecture, dataset)
    for architecture in TRAINED
    for dataset in DATASETS.values()
    if dataset.task == architecture.task and dataset.make is not None
}
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)


@pytest.fixture(scope="module", params=list(EMBEDDED.values()), ids=list(EMBEDDED))
def bench(request: pytest.FixtureRequest) -> Bench:
    architecture, dataset = request.param
    return Bench.of(architecture, reduced(architecture), dataset.source(None))


def reduced(architecture: Architecture) -> Any:
    """As in the demo: its own hyper-parameters, or for a variant that the demo does not hold those of its kin."""
    budgets = SPACES["demo"].budgets
    kin = [budget.hyper for name, budget in budgets.items() if ARCHITECTURES[name].hyper is architecture.hyper]
    own = budgets.get(architecture.name)
    return architecture.hyper(**(own.hyper if own else kin[0] if kin else {}))


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_an_architecture_conforms(bench: Bench, check: Check) -> None:
    assert check(bench) is None


@every_architecture
def test_an_architecture_is_listed_under_its_name(architecture: Architecture) -> None:
    assert ARCHITECTURES[architecture.name] is architecture


@every_architecture
def test_an_architecture_has_data_that_is_embedded(architecture: Architecture) -> None:
    assert any(dataset.task == architecture.task and dataset.make for dataset in DATASETS.values())


def test_the_demo_has_an_architecture_of_every_task() -> None:
    assert {ARCHITECTURES[name].task for name in SPACES["demo"].budgets} == {value.task for value in ARCHITECTURES.values()}


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


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_budgets_of_a_space_are_hyper_parameters_of_its_architectures(space: Any) -> None:
    for name, budget in space.budgets.items():
        made = ARCHITECTURES[name].hyper(**budget.hyper)
        assert {key: getattr(made, key) for key in budget.hyper} == dict(budget.hyper)


def test_every_dataset_is_of_a_task_that_has_an_architecture() -> None:
    assert {dataset.task for dataset in DATASETS.values()} == {architecture.task for architecture in ARCHITECTURES.values()}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_a_dataset_is_either_opened_or_made(dataset: Dataset) -> None:
    assert (dataset.open is None) != (dataset.make is None)


@dataclass(frozen=True)
class Mutable:
    things: Any = ()
    batch_size: int = 2


class Learner:
    """A learner that lacks what is named."""

    def __init__(self, whole: Any, *lacks: str) -> None:
        for name in {"network", "update", "predict", "state_dict", "load_state_dict"} - set(lacks):
            setattr(self, name, getattr(whole, name))


def without_predict(hyper: Any, source: Source, steps: int, device: str) -> Any:
    return Learner(ARCHITECTURES["segnet"].learner(hyper, source, steps, device), "predict")


def augmented_by_the_clock(frames: Any, target: Any, hyper: Any, rng: Any) -> Any:
    image = ARCHITECTURES["segnet"].example(frames, target, hyper, rng)["image"]
    return {"image": np.clip(image + np.random.default_rng().integers(0, 9, image.shape), 0, 255).astype(np.uint8), "mask": target}


def half_scored(statistics: Sequence[Any], weights: Any) -> Any:
    return {"miou": ARCHITECTURES["segnet"].score(statistics, weights)["miou"]}


def unweighed(statistics: Sequence[Any], weights: Any) -> Any:
    return ARCHITECTURES["segnet"].score(statistics, np.ones_like(weights))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda it: replace(it, learner=without_predict), "Learner has no method predict"),
        (lambda it: replace(it, score=half_scored), "score lacks global_accuracy, mean_class_accuracy and has nothing"),
        (lambda it: replace(it, score=unweighed), "where an item weighs two"),
        (lambda it: replace(it, metric="iou"), "metric 'iou' is none of miou"),
        (lambda it: replace(it, example=augmented_by_the_clock), "draw from the `rng`"),
        (lambda it: replace(it, picture=lambda frames, _: frames[0].astype(float)), "not uint8 (H, W, 3)"),
        (lambda it: replace(it, example=lambda *_: {"image": "a picture"}), "Error"),
        (lambda it: replace(it, picture=lambda *_: None), "use functions of a module"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    segnet: Architecture, hyper: Any, streets: Source, spoil: Callable[[Architecture], Architecture], complaint: str
) -> None:
    found = [problem for _, problem in try_out(spoil(segnet), hyper, streets) if problem]
    assert any(complaint in problem for problem in found), found
    assert not any("\n" in problem for problem in found)


def test_what_conforms_has_no_problem(segnet: Architecture, hyper: Any, streets: Source) -> None:
    assert {problem for _, problem in try_out(segnet, hyper, streets)} == {None}


def test_a_data_set_of_too_few_items_is_refused_by_name(segnet: Architecture, hyper: Any, streets: Source) -> None:
    small = replace(streets, test=replace(streets.test, count=3))  # type: ignore[type-var]
    with pytest.raises(ValueError, match="street_scenes: test has fewer than 4 items"):
        list(try_out(segnet, hyper, small))
