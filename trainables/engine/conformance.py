"""What every architecture must do, as checks that run on a few items of its data: the project's tests and `study check` share them.

To add one, write a function of a `Bench` that returns what is wrong in one line, or None, and append it to `CHECKS`.
"""

import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainables.contracts import Architecture, Frames, Learner, Source, Split
from trainables.engine.loading import Batch, EpochSampler, evaluation_draws, loader, samples
from trainables.engine.runtime import Runtime
from trainables.recipes.schedules import Clean

BATCH = 2
ITEMS = 2 * BATCH


@dataclass(frozen=True)
class First:
    """The first items of a split."""

    whole: Split
    count: int

    @property
    def names(self) -> Sequence[str]:
        """Theirs."""
        return self.whole.names[: self.count]

    @property
    def groups(self) -> Sequence[str]:
        """Theirs."""
        return self.whole.groups[: self.count]

    def frames(self, index: int) -> Frames:
        """An item's imagery."""
        return self.whole.frames(index)

    def target(self, index: int) -> Any:
        """An item's ground truth."""
        return self.whole.target(index)

    def files(self, index: int) -> tuple[Path, ...]:
        """An item's files."""
        return self.whole.files(index)


@dataclass(frozen=True)
class Bench:
    """An architecture on a few items of a data set, two a batch, on the processor."""

    architecture: Architecture
    hyper: Any
    source: Source

    @classmethod
    def of(cls, architecture: Architecture, hyper: Any, source: Source) -> "Bench":
        """With the first items of each split. Raises ValueError where a split has fewer than four."""
        for part in ("train", "test"):
            if len(source.split(part).names) < ITEMS:
                raise ValueError(f"{source.name}: {part} has fewer than {ITEMS} items, which trying {architecture.name} takes")
        parts: dict[str, Any] = {part: First(source.split(part), ITEMS) for part in ("train", "val", "test")}
        return cls(architecture, replace(hyper, batch_size=BATCH), replace(source, **parts))

    def learner(self, seed: int = 0) -> Learner:
        """Freshly initialised."""
        torch.manual_seed(seed)
        return self.architecture.learner(self.hyper, self.source, 2 * ITEMS // BATCH, "cpu")

    def training(self, seed: int = 0) -> list[Batch]:
        """The batches of an epoch."""
        return self._read("train", EpochSampler(ITEMS, BATCH, Clean(), epochs=1, key=(seed, 0)))

    def test(self) -> list[Batch]:
        """The test items, with their frames."""
        return self._read("test", evaluation_draws(ITEMS, BATCH, None))

    def _read(self, split: str, batches: Any) -> list[Batch]:
        items = samples(self.architecture, self.hyper, self.source, split, None, Runtime(), keep_frames=ITEMS)
        return list(loader(items, batches, Runtime()))

    def trained(self) -> Learner:
        """After an epoch."""
        learner = self.learner()
        train(learner, self.training())
        return learner

    def predictions(self, learner: Learner) -> list[tuple[Batch, Sequence[Any]]]:
        """Of the test items, by batch."""
        learner.network.eval()
        with torch.inference_mode():
            return [(batch, learner.predict(batch.examples)) for batch in self.test()]

    @cached_property
    def statistics(self) -> list[Any]:
        """Of the test items, by a network of one epoch."""
        pairs = self.predictions(self.trained())
        return [one for batch, found in pairs for one in self.architecture.statistics(found, batch.examples, self.source)]


def train(learner: Learner, batches: Sequence[Batch]) -> None:
    """One pass."""
    learner.network.train()
    for batch in batches:
        learner.update(batch.examples)


def through_a_file(state: Mapping[str, Any]) -> Any:
    """What comes back of a state that is written and read as a trial's folder does."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def plain(value: Any) -> Any:
    """Comparable by ==, whatever a batch or a prediction is made of."""
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
    """A copy."""
    return {name: value.clone() for name, value in learner.network.state_dict().items()}


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """To the last bit."""
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def functions_can_be_sent_to_loader_workers(bench: Bench) -> str | None:
    """Lambdas and functions within functions cannot."""
    try:
        pickle.dumps(bench.architecture)
    except Exception as error:
        return f"a loader worker cannot receive it ({error}); use functions of a module"
    return None


def the_primary_metric_is_among_the_metrics(bench: Bench) -> str | None:
    """With a mode."""
    metrics = bench.architecture.metrics
    if bench.architecture.metric not in metrics:
        return f"metric {bench.architecture.metric!r} is none of {', '.join(metrics)}"
    wrong = [name for name, mode in metrics.items() if mode not in {"min", "max"}]
    return f"the mode of {wrong[0]} is {metrics[wrong[0]]!r}, not min or max" if wrong else None


def hyper_parameters_are_a_frozen_value_of_plain_ones(bench: Bench) -> str | None:
    """They cross the border to a worker, and name the trial."""
    kind = bench.architecture.hyper
    if not is_dataclass(kind) or not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        return f"{kind.__name__} is no frozen dataclass"
    for field in fields(kind):
        value = getattr(bench.hyper, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            if type(part) not in {bool, int, float, str, type(None)}:
                return (
                    f"hyper-parameter {field.name} holds {type(part).__name__}; numbers, words, truths, None and tuples of them do"
                )
    return None


def a_learner_has_what_the_loop_calls(bench: Bench) -> str | None:
    """Its methods, and its network."""
    learner = bench.learner()
    lacks = [name for name in ("update", "predict", "state_dict", "load_state_dict") if not callable(getattr(learner, name, None))]
    if lacks:
        return f"{type(learner).__name__} has no method {', '.join(lacks)}"
    if not isinstance(getattr(learner, "network", None), torch.nn.Module):
        return f"{type(learner).__name__}.network is no torch.nn.Module"
    return None


def losses_are_finite_detached_scalars(bench: Bench) -> str | None:
    """By name."""
    learner = bench.learner()
    learner.network.train()
    for batch in bench.training():
        losses = learner.update(batch.examples)
        if not isinstance(losses, Mapping) or not losses:
            return f"update returns {type(losses).__name__}, not losses by name"
        for name, loss in losses.items():
            if not isinstance(loss, torch.Tensor) or loss.shape != () or loss.requires_grad:
                return f"loss {name} is no detached scalar tensor"
            if not bool(torch.isfinite(loss)):
                return f"loss {name} is {loss.item()}"
    return None


def a_step_changes_weights(bench: Bench) -> str | None:
    """Of parameters."""
    before, after = dict(bench.learner().network.named_parameters()), dict(bench.trained().network.named_parameters())
    return None if any(not torch.equal(before[name], after[name]) for name in before) else "an epoch leaves every parameter alone"


def weights_are_initialised_from_the_seed_of_torch(bench: Bench) -> str | None:
    """And from nothing else."""
    if not same(weights(bench.learner(0)), weights(bench.learner(0))):
        return "the same seed of torch gives other initial weights"
    return (
        "another seed of torch gives the same initial weights"
        if same(weights(bench.learner(0)), weights(bench.learner(1)))
        else None
    )


def examples_hang_on_their_stream_alone(bench: Bench) -> str | None:
    """Of training and of evaluation."""
    for name, read in (("training", bench.training), ("evaluation", bench.test)):
        for one, other in zip(read(), read(), strict=True):
            if plain(one.examples) != plain(other.examples):
                return f"{name} examples differ between two readings; draw from the `rng` that `example` is given"
    return None


def there_is_one_prediction_and_one_statistic_an_item(bench: Bench) -> str | None:
    """In their order."""
    for batch, found in bench.predictions(bench.learner()):
        if len(found) != BATCH:
            return f"predict gives {len(found)} predictions for {BATCH} items"
        statistics = bench.architecture.statistics(found, batch.examples, bench.source)
        if len(statistics) != BATCH:
            return f"statistics gives {len(statistics)} for {BATCH} items"
    return None


def predicting_changes_nothing_and_repeats(bench: Bench) -> str | None:
    """In evaluation mode."""
    learner = bench.trained()
    before = weights(learner)
    one, other = ([plain(found) for _, found in bench.predictions(learner)] for _ in range(2))
    if one != other:
        return "predicting twice gives different predictions"
    return None if same(before, weights(learner)) else "predicting changes the weights"


def scoring_gives_exactly_the_metrics_that_are_named(bench: Bench) -> str | None:
    """(R,) finite values each."""
    scores = bench.architecture.score(bench.statistics, np.ones((3, ITEMS), np.int64))
    missing, more = set(bench.architecture.metrics) - set(scores), set(scores) - set(bench.architecture.metrics)
    if missing or more:
        return (
            f"score lacks {', '.join(sorted(missing)) or 'nothing'} and has {', '.join(sorted(more)) or 'nothing'} beyond `metrics`"
        )
    for name, values in scores.items():
        if np.shape(values) != (3,):
            return f"{name} is of shape {np.shape(values)} for 3 resamples"
        if not np.isfinite(values).all():
            return f"{name} is {values[0]}"
    return None


def an_item_of_weight_two_scores_as_that_item_twice(bench: Bench) -> str | None:
    """Bootstrap resamples rely on it."""
    statistics = bench.statistics
    weighed = bench.architecture.score(statistics, np.array([[2, 1, 0, 1]]))
    repeated = bench.architecture.score([statistics[i] for i in (0, 0, 1, 3)], np.ones((1, ITEMS), np.int64))
    for name, values in weighed.items():
        if not np.allclose(values, repeated[name], rtol=1e-9, atol=1e-12):
            return f"{name} is {values[0]} where an item weighs two, {repeated[name][0]} where it is there twice"
    return None


def a_picture_is_rgb(bench: Bench) -> str | None:
    """Eight bits."""
    for batch, found in bench.predictions(bench.trained()):
        for frames, prediction in zip(batch.frames, found, strict=True):
            picture = bench.architecture.picture(frames, prediction)
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
                return f"picture gives {picture.dtype} {picture.shape}, not uint8 (H, W, 3)"
    return None


def a_learner_goes_on_from_a_file_to_the_same_bits(bench: Bench) -> str | None:
    """Weights, optimisers and their schedules."""
    learner, other = bench.trained(), bench.learner(seed=1)
    other.load_state_dict(through_a_file(learner.state_dict()))
    if not same(weights(learner), weights(other)):
        return "load_state_dict does not bring the weights back"
    for each in (learner, other):
        torch.manual_seed(5)
        train(each, bench.training(seed=1))
    return None if same(weights(learner), weights(other)) else "training goes on differently from a saved state: what does it lack?"


def the_weights_alone_predict_the_same(bench: Bench) -> str | None:
    """In another learner: that is what a child starts from, and what is scored."""
    learner, other = bench.trained(), bench.learner(seed=1)
    other.network.load_state_dict(through_a_file(learner.network.state_dict()))
    one, two = ([plain(found) for _, found in bench.predictions(each)] for each in (learner, other))
    return None if one == two else "the network's state_dict does not hold all that predictions hang on"


Check = Callable[[Bench], str | None]
CHECKS: tuple[Check, ...] = (
    functions_can_be_sent_to_loader_workers,
    the_primary_metric_is_among_the_metrics,
    hyper_parameters_are_a_frozen_value_of_plain_ones,
    a_learner_has_what_the_loop_calls,
    losses_are_finite_detached_scalars,
    a_step_changes_weights,
    weights_are_initialised_from_the_seed_of_torch,
    examples_hang_on_their_stream_alone,
    there_is_one_prediction_and_one_statistic_an_item,
    predicting_changes_nothing_and_repeats,
    scoring_gives_exactly_the_metrics_that_are_named,
    an_item_of_weight_two_scores_as_that_item_twice,
    a_picture_is_rgb,
    a_learner_goes_on_from_a_file_to_the_same_bits,
    the_weights_alone_predict_the_same,
)


def try_out(architecture: Architecture, hyper: Any, source: Source) -> Iterator[tuple[str, str | None]]:
    """Each check by name, with what is wrong in one line, or None; errors of the architecture's own are told, not raised."""
    bench = Bench.of(architecture, hyper, source)
    for check in CHECKS:
        try:
            problem = check(bench)
        except Exception as error:  # whatever a stranger's code raises
            problem = f"{type(error).__name__}: {' '.join(str(error).split())}"
        yield check.__name__.replace("_", " "), problem
