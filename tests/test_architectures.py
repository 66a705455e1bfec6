from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, replace
from typing import Any

import numpy as np
import pytest

from search_spaces import SPACES
from study.plan import hyper_of
from trainables import ARCHITECTURES, DATASETS, Architecture, Dataset, Fusion, Inputs, Source
from trainables.engine.conformance import CHECKS, Bench, Check, try_out
from trainables.tasks.detection import FASTER_RCNN
from trainables.tasks.segmentation import SEGMENTATION, SEGNET

TRAINED = {name: value for name, value in ARCHITECTURES.items() if isinstance(value, Architecture)}
EMBEDDED = {
    f"{architecture.name}-{dataset.name}": (architecture, dataset)
    for architecture in TRAINED.values()
    for dataset in DATASETS.values()
    if dataset.task == architecture.task.name and dataset.make is not None
}
every_architecture = pytest.mark.parametrize("architecture", TRAINED.values(), ids=TRAINED)


@pytest.fixture(scope="module", params=list(EMBEDDED.values()), ids=list(EMBEDDED))
def bench(request: pytest.FixtureRequest) -> Bench:
    architecture, dataset = request.param
    return Bench.of(architecture, reduced(architecture), dataset.source(None))


SMALL: Mapping[str, Mapping[str, Any]] = {
    "unet_mobilenet_v2": {"decoder": (16, 16, 8, 8)},
    "faster_rcnn_mobilenet_v2": {"min_size": 96, "max_size": 128, "frozen_batch_norm": False, "trainable_layers": 5},
}
"""Hyper-parameters for a quick test of architectures that the demo lacks and that no variant in the demo stands for."""


def reduced(architecture: Architecture) -> Any:
    """Hyper-parameters of the demo's reduced network: the architecture's own or, if the demo lacks it, those of a variant of it."""
    if architecture.name in SMALL:
        return hyper_of(architecture, SMALL[architecture.name])
    budgets = SPACES["demo"].budgets
    like = {name: budget for name, budget in budgets.items() if same_network(ARCHITECTURES[name], architecture)}
    budget = budgets.get(architecture.name) or next(iter(like.values()), None)
    return hyper_of(architecture, budget.hyper if budget else {})


def same_network(one: Architecture | Fusion, other: Architecture) -> bool:
    return isinstance(one, Architecture) and type(one.hyper) is type(other.hyper)


@pytest.mark.parametrize("check", CHECKS, ids=[check.__name__ for check in CHECKS])
def test_an_architecture_conforms(bench: Bench, check: Check) -> None:
    assert check(bench) is None


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_an_architecture_is_listed_under_its_name(architecture: Architecture | Fusion) -> None:
    assert ARCHITECTURES[architecture.name] is architecture


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_an_architecture_has_embedded_data(architecture: Architecture | Fusion) -> None:
    assert any(dataset.task == architecture.task.name and dataset.make for dataset in DATASETS.values())


def test_the_architectures_of_a_task_share_its_value() -> None:
    tasks = {value.task.name: value.task for value in ARCHITECTURES.values()}
    assert all(value.task is tasks[value.task.name] for value in ARCHITECTURES.values())


def test_a_fusion_names_architectures_of_its_task() -> None:
    fusions = [value for value in ARCHITECTURES.values() if isinstance(value, Fusion)]
    assert fusions
    for fusion in fusions:
        assert {ARCHITECTURES[stream].task.name for stream in fusion.streams.values()} == {fusion.task.name}


def test_the_demo_has_an_architecture_of_every_task() -> None:
    shown = {ARCHITECTURES[name].task.name for name in SPACES["demo"].budgets}
    assert shown == {value.task.name for value in ARCHITECTURES.values()}


@every_architecture
def test_default_hyper_parameters_have_a_batch_size(architecture: Architecture) -> None:
    assert architecture.hyper.batch_size >= 1


@every_architecture
def test_hyper_parameters_are_a_frozen_value(architecture: Architecture) -> None:
    assert replace(architecture.hyper) == architecture.hyper
    assert hash(replace(architecture.hyper)) == hash(architecture.hyper)
    with pytest.raises(FrozenInstanceError):
        architecture.hyper.batch_size = 1


@every_architecture
def test_a_misspelt_hyper_parameter_is_refused_with_the_closest_name(architecture: Architecture) -> None:
    message = f"{architecture.name} has no hyper-parameter 'batchsize'; did you mean 'batch_size'"
    with pytest.raises(ValueError, match=message):
        hyper_of(architecture, {"batchsize": 1})


def test_a_variant_is_one_expression(streets: Source) -> None:
    narrow = replace(SEGNET, name="narrow", hyper=replace(SEGNET.hyper, width=1 / 16, convolutions=(1, 1, 1, 1, 1)))
    network = narrow.learner(narrow.hyper, streets, 1, "cpu").network
    assert sum(each.numel() for each in network.parameters()) < 100_000
    small = replace(FASTER_RCNN, name="small", hyper=replace(FASTER_RCNN.hyper, backbone="small"))
    assert (small.task, small.hyper.backbone, FASTER_RCNN.hyper.backbone) == (FASTER_RCNN.task, "small", "resnet50_fpn")


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_budgets_of_a_space_fit_its_architectures(space: Any) -> None:
    for name, budget in space.budgets.items():
        architecture = ARCHITECTURES[name]
        if isinstance(architecture, Architecture):
            hyper = hyper_of(architecture, budget.hyper)
            assert {key: getattr(hyper, key) for key in budget.hyper} == dict(budget.hyper)
        else:
            assert not budget.hyper


def test_every_data_set_has_an_architecture_of_its_task() -> None:
    assert {dataset.task for dataset in DATASETS.values()} == {value.task.name for value in ARCHITECTURES.values()}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
def test_a_data_set_is_either_opened_or_generated(dataset: Dataset) -> None:
    assert (dataset.open is None) != (dataset.make is None)


@dataclass(frozen=True)
class MutableParts:
    """Hyper-parameters that hold a list."""

    sizes: Any = (1, [2])
    batch_size: int = 2


class Incomplete:
    """A learner without some of its methods."""

    def __init__(self, whole: Any, *missing: str) -> None:
        for name in {"network", "update", "predict", "state_dict", "load_state_dict"} - set(missing):
            setattr(self, name, getattr(whole, name))


def without_predict(hyper: Any, source: Source, steps: int, device: str) -> Any:
    return Incomplete(SEGNET.learner(hyper, source, steps, device), "predict")


def with_unseeded_noise(frames: Any, target: Any, hyper: Any, rng: Any) -> Any:
    image = SEGNET.inputs.example(frames, target, hyper, rng)["image"]
    return {"image": np.clip(image + np.random.default_rng().integers(0, 9, image.shape), 0, 255).astype(np.uint8), "mask": target}


def with_an_undeclared_void_output(hyper: Any, source: Source, steps: int, device: str) -> Any:
    """A SegNet whose last output is void and wins everywhere at first."""
    learner: Any = SEGNET.learner(replace(hyper, void_output=len(source.classes)), source, steps, device)
    learner.void_output = None
    learner.network.last[-1].bias.data[-1] += 10
    return learner


def with_text_as_image(*_: Any) -> Any:
    return {"image": "a picture"}


def with_one_metric(statistics: Sequence[Any], weights: Any) -> Any:
    return {"miou": SEGMENTATION.score(statistics, weights)["miou"]}


def without_item_weights(statistics: Sequence[Any], weights: Any) -> Any:
    return SEGMENTATION.score(statistics, np.ones_like(weights))


def with_task(**changes: Any) -> Architecture:
    return replace(SEGNET, task=replace(SEGMENTATION, **changes))


MISTAKES = {
    "a learner without predict": (replace(SEGNET, learner=without_predict), "Incomplete has no method predict"),
    "an undeclared void output": (replace(SEGNET, learner=with_an_undeclared_void_output), "the network predicts class 11, but"),
    "a score without a declared metric": (with_task(score=with_one_metric), "score: missing global_accuracy, mean_class_accuracy"),
    "a score that ignores weights": (with_task(score=without_item_weights), "with an item of weight two"),
    "an unknown primary metric": (with_task(metric="iou"), "primary metric 'iou' is not among miou"),
    "an unknown mode": (with_task(metrics={"miou": "up"}), "the mode of miou is 'up'; expected min or max"),
    "noise without the stream": (replace(SEGNET, inputs=Inputs(example=with_unseeded_noise)), "draw random numbers from the `rng`"),
    "a lambda": (replace(SEGNET, inputs=Inputs(example=lambda *_: {"image": 1})), "use module-level functions"),
    "an image that is text": (replace(SEGNET, inputs=Inputs(example=with_text_as_image)), "AttributeError: 'list' object"),
    "a picture of floats": (with_task(picture=lambda frames, _: frames[0].astype(float)), "expected uint8 (H, W, 3)"),
    "hyper-parameters as a class": (replace(SEGNET, hyper=type(SEGNET.hyper)), "expected a value of a frozen dataclass"),
}  # fmt: skip


@pytest.mark.parametrize(("architecture", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_reported_in_one_line(hyper: Any, streets: Source, architecture: Architecture, message: str) -> None:
    problems = [problem for _, problem in try_out(architecture, hyper, streets) if problem]
    assert any(message in problem for problem in problems), problems
    assert not any("\n" in problem for problem in problems)


def test_hyper_parameters_with_mutable_parts_are_reported(streets: Source) -> None:
    problems = [problem for _, problem in try_out(replace(SEGNET, hyper=MutableParts()), MutableParts(), streets) if problem]
    assert "hyper-parameter sizes holds list; use numbers, strings, booleans, None or tuples of them" in problems


def test_a_conforming_architecture_has_no_problem(segnet: Architecture, hyper: Any, streets: Source) -> None:
    assert {problem for _, problem in try_out(segnet, hyper, streets)} == {None}


def test_a_network_with_a_declared_void_output_conforms(segnet: Architecture, hyper: Any, streets: Source) -> None:
    assert [problem for _, problem in try_out(segnet, replace(hyper, void_output=11), streets) if problem] == []


def test_a_data_set_with_too_few_items_is_refused(segnet: Architecture, hyper: Any, streets: Source) -> None:
    small = replace(streets, test=replace(streets.test, count=3))  # type: ignore[type-var]
    with pytest.raises(ValueError, match="streets_12_4_6: split test has fewer than 4 items"):
        list(try_out(segnet, hyper, small))
