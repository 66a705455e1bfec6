"""Checks that every architecture must pass, on a few items of its data. The tests and `study check` share them.

To add one, write a function of a `Bench` that returns the problem in one line, or None, and append it to `CHECKS`.
"""

import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from trainables.contracts import CLEAN, Architecture, Learner, Recipe, Source, SplitName
from trainables.data.subset import Subset
from trainables.engine.loading import Batch, EpochSampler, evaluation_draws, loader, samples
from trainables.engine.runtime import Runtime
from trainables.engine.workload import Workload
from trainables.recipes.schedules import Clean

BATCH = 2
ITEMS = 2 * BATCH
ON_CLEAN = Recipe(name="clean", schedule=Clean())


@dataclass(frozen=True)
class Bench:
    """An architecture on a few items of a data set, two per batch, on the CPU."""

    workload: Workload

    @classmethod
    def of(cls, architecture: Architecture, hyper: Any, source: Source) -> "Bench":
        """A bench on the first items of each split. Raises ValueError where a split has fewer than four."""
        for part in ("train", "test"):
            if len(source.split(part).names) < ITEMS:
                raise ValueError(
                    f"{source.name}: split {part} has fewer than {ITEMS} items; trying {architecture.name} needs {ITEMS}"
                )
        parts: dict[str, Any] = {part: Subset(source.split(part), range(ITEMS)) for part in ("train", "val", "test")}
        return cls(
            Workload(
                architecture=architecture, hyper=replace(hyper, batch_size=BATCH), data=replace(source, **parts), runtime=Runtime()
            )
        )

    @property
    def architecture(self) -> Architecture:
        """The architecture under test."""
        return self.workload.architecture

    @cached_property
    def trained_state(self) -> dict[str, Any]:
        """State of a learner after one epoch; trained once for all checks."""
        learner = self.learner()
        train(learner, self.training())
        state: dict[str, Any] = through_a_file(learner.state_dict())
        return state

    def learner(self, seed: int = 0) -> Learner:
        """A freshly initialised learner."""
        torch.manual_seed(seed)
        return self.architecture.learner(self.workload.hyper, self.workload.data, 2 * ITEMS // BATCH, "cpu")

    def training(self, seed: int = 0) -> list[Batch]:
        """The batches of one training epoch."""
        return self._read("train", EpochSampler(range(ITEMS), BATCH, ON_CLEAN, epochs=1, key=(seed, 0)))

    def test(self) -> list[Batch]:
        """The test items, with their frames."""
        return self._read("test", evaluation_draws(range(ITEMS), BATCH, CLEAN))

    def _read(self, split: SplitName, batches: Any) -> list[Batch]:
        return list(loader(samples(self.workload, split, keep_frames=ITEMS), batches, self.workload.runtime))

    def trained(self) -> Learner:
        """A learner after one epoch."""
        learner = self.learner(seed=1)
        learner.load_state_dict(self.trained_state)
        return learner

    def predictions(self, learner: Learner) -> list[tuple[Batch, Sequence[Any]]]:
        """Predictions for the test items, by batch."""
        learner.network.eval()
        with torch.inference_mode():
            return [(batch, learner.predict(batch.examples)) for batch in self.test()]

    def statistics_of(self, found: Sequence[Any], batch: Batch) -> Sequence[Any]:
        """Statistics of one batch of predictions."""
        return self.architecture.task.statistics(found, batch.examples, self.workload.data)

    @cached_property
    def statistics(self) -> list[Any]:
        """Statistics of the test items, from a network after one epoch."""
        return [one for batch, found in self.predictions(self.trained()) for one in self.statistics_of(found, batch)]


def train(learner: Learner, batches: Sequence[Batch]) -> None:
    """One pass over the batches."""
    learner.network.train()
    for batch in batches:
        learner.update(batch.examples)


def through_a_file(state: Mapping[str, Any]) -> Any:
    """A state after writing and reading it as a trial's folder does."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def plain(value: Any) -> Any:
    """A batch or prediction of any type, comparable by ==."""
    if isinstance(value, torch.Tensor):
        return (str(value.dtype), tuple(value.shape), value.detach().cpu().numpy().tobytes())
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(part) for part in value]
    return value


def weights(learner: Learner) -> dict[str, torch.Tensor]:
    """A copy of the network's weights."""
    return {name: value.clone() for name, value in learner.network.state_dict().items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are bit-identical."""
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def functions_can_be_sent_to_loader_workers(bench: Bench) -> str | None:
    """Loader workers unpickle the inputs; lambdas and nested functions cannot be pickled."""
    try:
        pickle.dumps(bench.architecture.inputs)
    except Exception as error:
        return f"loader workers cannot unpickle the inputs ({error}); use module-level functions"
    return None


def the_primary_metric_is_among_the_metrics(bench: Bench) -> str | None:
    """Every metric has the mode `min` or `max`."""
    task = bench.architecture.task
    metrics = task.metrics
    if task.metric not in metrics:
        return f"primary metric {task.metric!r} is not among {', '.join(metrics)}"
    wrong = [name for name, mode in metrics.items() if mode not in {"min", "max"}]
    return f"the mode of {wrong[0]} is {metrics[wrong[0]]!r}; expected min or max" if wrong else None


def hyper_parameters_are_a_frozen_value_of_plain_ones(bench: Bench) -> str | None:
    """They are sent to workers and are part of the trial's name."""
    hyper = bench.architecture.hyper
    if isinstance(hyper, type) or not is_dataclass(hyper) or not getattr(type(hyper), "__dataclass_params__").frozen:  # noqa: B009
        return f"hyper is {hyper!r}; expected a value of a frozen dataclass"
    for field in fields(hyper):
        value = getattr(bench.workload.hyper, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if type(part) not in {bool, int, float, str, type(None)}:
                allowed = "numbers, strings, booleans, None or tuples of them"
                return f"hyper-parameter {field.name} holds {type(part).__name__}; use {allowed}"
    return None


def a_learner_has_what_the_loop_calls(bench: Bench) -> str | None:
    """The methods and the network of the `Learner` protocol."""
    learner = bench.learner()
    lacks = [name for name in ("update", "predict", "state_dict", "load_state_dict") if not callable(getattr(learner, name, None))]
    if lacks:
        return f"{type(learner).__name__} has no method {', '.join(lacks)}"
    if not isinstance(getattr(learner, "network", None), torch.nn.Module):
        return f"{type(learner).__name__}.network is not a torch.nn.Module"
    return None


def losses_are_finite_detached_scalars(bench: Bench) -> str | None:
    """`update` returns losses by name."""
    learner = bench.learner()
    learner.network.train()
    for batch in bench.training():
        losses = learner.update(batch.examples)
        if not isinstance(losses, Mapping) or not losses:
            return f"update returns {type(losses).__name__}, not losses by name"
        for name, loss in losses.items():
            if not isinstance(loss, torch.Tensor) or loss.shape != () or loss.requires_grad:
                return f"loss {name} is not a detached scalar tensor"
            if not bool(torch.isfinite(loss)):
                return f"loss {name} is {loss.item()}"
    return None


def a_step_changes_weights(bench: Bench) -> str | None:
    """After one epoch at least one parameter differs."""
    before, after = dict(bench.learner().network.named_parameters()), dict(bench.trained().network.named_parameters())
    return None if any(not torch.equal(before[name], after[name]) for name in before) else "one epoch changes no parameter"


def weights_are_initialised_from_the_seed_of_torch(bench: Bench) -> str | None:
    """Initial weights depend on torch's seed and on nothing else."""
    if not same(weights(bench.learner(0)), weights(bench.learner(0))):
        return "the same torch seed gives different initial weights"
    return (
        "different torch seeds give the same initial weights"
        if same(weights(bench.learner(0)), weights(bench.learner(1)))
        else None
    )


def examples_depend_on_their_random_stream_alone(bench: Bench) -> str | None:
    """Reading training or evaluation examples twice gives the same examples."""
    for name, read in (("training", bench.training), ("evaluation", bench.test)):
        for one, other in zip(read(), read(), strict=True):
            if plain(one.examples) != plain(other.examples):
                return f"{name} examples differ between two reads; draw random numbers from the `rng` passed to `example`"
    return None


def there_is_one_prediction_and_one_statistic_per_item(bench: Bench) -> str | None:
    """`predict` and `statistics` return one value per item, in order."""
    for batch, found in bench.predictions(bench.learner()):
        if len(found) != BATCH:
            return f"predict returns {len(found)} predictions for {BATCH} items"
        statistics = bench.statistics_of(found, batch)
        if len(statistics) != BATCH:
            return f"statistics returns {len(statistics)} values for {BATCH} items"
    return None


def predicting_changes_nothing_and_repeats(bench: Bench) -> str | None:
    """Prediction in evaluation mode is deterministic and leaves the weights alone."""
    learner = bench.trained()
    before = weights(learner)
    one, other = ([plain(found) for _, found in bench.predictions(learner)] for _ in range(2))
    if one != other:
        return "predicting twice gives different predictions"
    return None if same(before, weights(learner)) else "predicting changes the weights"


def scoring_returns_exactly_the_declared_metrics(bench: Bench) -> str | None:
    """`score` returns (R,) finite values for each metric in `metrics`."""
    scores = bench.architecture.task.score(bench.statistics, np.ones((3, ITEMS), np.int64))
    declared = set(bench.architecture.task.metrics)
    missing, more = declared - set(scores), set(scores) - declared
    if missing or more:
        return (
            f"score: missing {', '.join(sorted(missing)) or 'none'}; not declared in `metrics`: {', '.join(sorted(more)) or 'none'}"
        )
    for name, values in scores.items():
        if np.shape(values) != (3,):
            return f"{name} has shape {np.shape(values)} for 3 resamples; expected (3,)"
        if not np.isfinite(values).all():
            return f"{name} is {values[0]}"
    return None


def an_item_of_weight_two_scores_as_that_item_twice(bench: Bench) -> str | None:
    """Bootstrap resamples rely on integer weights."""
    statistics = bench.statistics
    weighed = bench.architecture.task.score(statistics, np.array([[2, 1, 0, 1]]))
    repeated = bench.architecture.task.score([statistics[i] for i in (0, 0, 1, 3)], np.ones((1, ITEMS), np.int64))
    for name, values in weighed.items():
        if not np.allclose(values, repeated[name], rtol=1e-9, atol=1e-12, equal_nan=True):
            return f"{name} is {values[0]} with an item of weight two, {repeated[name][0]} with that item listed twice"
    return None


def a_picture_is_rgb(bench: Bench) -> str | None:
    """Pictures are uint8 (H, W, 3)."""
    for batch, found in bench.predictions(bench.trained()):
        for frames, prediction in zip(batch.frames, found, strict=True):
            picture = bench.architecture.task.picture(frames, prediction)
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
                return f"picture returns {picture.dtype} {picture.shape}; expected uint8 (H, W, 3)"
    return None


def a_learner_resumes_from_a_file_bit_identically(bench: Bench) -> str | None:
    """`state_dict` holds weights, optimisers and learning-rate schedules."""
    learner, other = bench.learner(), bench.learner(seed=1)
    train(learner, bench.training())
    other.load_state_dict(through_a_file(learner.state_dict()))
    if not same(weights(learner), weights(other)):
        return "load_state_dict does not restore the weights"
    for each in (learner, other):
        torch.manual_seed(5)
        train(each, bench.training(seed=1))
    return (
        None if same(weights(learner), weights(other)) else "resuming from state_dict() diverges: state_dict() is missing something"
    )


def the_weights_alone_predict_the_same(bench: Bench) -> str | None:
    """Children start from, and scoring uses, the network's `state_dict` alone."""
    learner, other = bench.trained(), bench.learner(seed=1)
    other.network.load_state_dict(through_a_file(learner.network.state_dict()))
    one, two = ([plain(found) for _, found in bench.predictions(each)] for each in (learner, other))
    return None if one == two else "predictions depend on something that the network's state_dict does not hold"


Check = Callable[[Bench], str | None]
CHECKS: tuple[Check, ...] = (
    functions_can_be_sent_to_loader_workers,
    the_primary_metric_is_among_the_metrics,
    hyper_parameters_are_a_frozen_value_of_plain_ones,
    a_learner_has_what_the_loop_calls,
    losses_are_finite_detached_scalars,
    a_step_changes_weights,
    weights_are_initialised_from_the_seed_of_torch,
    examples_depend_on_their_random_stream_alone,
    there_is_one_prediction_and_one_statistic_per_item,
    predicting_changes_nothing_and_repeats,
    scoring_returns_exactly_the_declared_metrics,
    an_item_of_weight_two_scores_as_that_item_twice,
    a_picture_is_rgb,
    a_learner_resumes_from_a_file_bit_identically,
    the_weights_alone_predict_the_same,
)


def try_out(architecture: Architecture, hyper: Any, source: Source) -> Iterator[tuple[str, str | None]]:
    """Each check by name, with the problem in one line or None; exceptions of the architecture are reported, not raised."""
    bench = Bench.of(architecture, hyper, source)
    for check in CHECKS:
        try:
            problem = check(bench)
        except Exception as error:  # a user's code may raise anything
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield check.__name__.replace("_", " "), problem
