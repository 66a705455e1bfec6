"""Training as a generator of epochs. It knows neither Ray nor MLflow: a test is `list(train(...))`.

Nothing here names a task: what differs between tasks is in the `Architecture` and its `Learner`.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from trainables.contracts import Architecture, Condition, Epoch, Learner, Numerics, Recipe, Schedule, Source, Weights
from trainables.engine.evaluation import measure, metrics
from trainables.networks.initial import RANDOM, initialise
from trainables.engine.loading import EpochSampler, loader, samples
from trainables.engine.numerics import computing, deterministic, prepare
from trainables.engine.runtime import Runtime


def train(
    architecture: Architecture,
    recipe: Recipe,
    hyper: Any,
    *,
    data: Source,
    epochs: int,
    seed: int,
    parents: Sequence[Weights] = (),
    initial: str | Weights = RANDOM,
    resume: Mapping[str, Any] | None = None,
    numerics: Numerics = Numerics(),
    runtime: Runtime = Runtime(),
) -> Iterator[Epoch]:
    """Train one network by a recipe for a number of epochs, yielding after each.

    `parents` are the weights that it starts from, as many as the recipe has parents; without parents it starts from `initial`, see
    `initialise`. `resume` is the `state` of the epoch to continue after. Same arguments, same figures: bit-identical per processor
    type, thread count and library versions, whatever `runtime.workers` is.

    Raises ValueError where parents do not fit the recipe or initial weights cannot be had, FloatingPointError when a loss is not
    finite.
    """
    if len(parents) != len(recipe.parents):
        raise ValueError(f"recipe {recipe.name} has {len(recipe.parents)} parents, {len(parents)} weights were given")
    if recipe.schedule is None:
        return
    if len(parents) > 1:
        raise ValueError(f"recipe {recipe.name} trains from {len(parents)} parents: training starts from one at most")
    deterministic()
    generation = len(parents)
    sampler = EpochSampler(len(data.train.names), hyper.batch_size, recipe.schedule, epochs=epochs, key=(seed, generation))
    _reseed(seed, generation, 0)
    learner = architecture.learner(hyper, data, epochs * len(sampler), runtime.device)
    done = 0
    if resume is not None:
        learner.load_state_dict(resume["learner"])
        done = int(resume["epoch"])
    elif parents:
        learner.network.load_state_dict(dict(parents[0]))
    else:
        initialise(architecture, learner.network, initial)
    prepare(learner, numerics)
    batches = loader(samples(architecture, hyper, data, "train", recipe.codec, runtime), sampler, runtime)
    for number in range(done + 1, epochs + 1):
        started = time.perf_counter()
        _reseed(seed, generation, number)
        sampler.epoch = number - 1
        losses, waiting = _pass(learner, batches, numerics, runtime)
        for name, value in losses.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"{architecture.name}: {name} is {value} in epoch {number}; lower the learning rate?")
        validation = _validation(architecture, hyper, learner, data, recipe.codec, recipe.schedule, numerics, runtime)
        state = {"epoch": number, "learner": learner.state_dict()}
        seconds = time.perf_counter() - started
        yield Epoch(
            number=number,
            losses=losses,
            validation=validation,
            seconds=seconds,
            waiting=waiting,
            weights=learner.network.state_dict(),
            state=state,
        )


def _reseed(seed: int, generation: int, epoch: int) -> None:
    """Torch's own streams (dropout, initial weights) hang on (seed, generation, epoch): resuming by epoch changes nothing."""
    torch.manual_seed(int(np.random.SeedSequence((seed, generation, epoch)).generate_state(1, np.uint64)[0] >> 1))


def _pass(learner: Learner, batches: Any, numerics: Numerics, runtime: Runtime) -> tuple[dict[str, float], float]:
    """One pass over the training batches: mean losses, and the fraction of the time spent waiting for data."""
    learner.network.train()
    # Sums stay on the device: a transfer at every step would make the GPU wait for the processor.
    sums: dict[str, Any] = defaultdict(float)
    waited, started = 0.0, time.perf_counter()
    iterator = iter(batches)
    for _ in range(len(batches)):
        asked = time.perf_counter()
        batch = next(iterator)
        waited += time.perf_counter() - asked
        with computing(numerics, runtime.device):
            step = learner.update(batch.examples)
        for name, value in step.items():
            sums[name] += value.double()
    losses = {name: float(value) / len(batches) for name, value in sums.items()}
    return losses, waited / (time.perf_counter() - started)


def _validation(
    architecture: Architecture,
    hyper: Any,
    learner: Learner,
    data: Source,
    codec: str | None,
    schedule: Schedule,
    numerics: Numerics,
    runtime: Runtime,
) -> dict[str, float]:
    """Each metric on the validation split, averaged over the levels of the schedule."""
    scores = []
    for level in schedule.levels:
        condition = Condition() if level is None else Condition(codec=codec, level=level)
        measured = measure(architecture, hyper, learner, data, "val", condition, numerics, runtime)
        scores.append(metrics(architecture.score, measured.statistics))
    return {name: sum(score[name] for score in scores) / len(scores) for name in architecture.metrics}
