"""Training as a generator of epochs. Knows neither Ray nor MLflow: a test is `list(train(...))`.

No task is named here: tasks differ in their `Architecture` and its `Learner`.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from trainables.contracts import CLEAN, Condition, Epoch, Learner, Recipe, Weights
from trainables.engine.evaluation import measure, metrics
from trainables.engine.loading import EpochSampler, loader, samples
from trainables.engine.numerics import computing, deterministic, prepare
from trainables.engine.workload import Workload
from trainables.networks.initial import RANDOM, initialise


def train(
    workload: Workload,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int,
    validation: Sequence[Condition] = (CLEAN,),
    parents: Sequence[Weights] = (),
    initial: str | Weights = RANDOM,
    resume: Mapping[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train one network by a recipe, yielding after each epoch.

    `parents` are the weights it starts from, one per parent of the recipe; without parents it starts from `initial`, see
    `initialise`. Each epoch is validated under the conditions in `validation`. `resume` is the `state` of the epoch to continue
    after. Equal arguments give bit-identical figures per processor type, thread count and library versions, for any number of
    workers.

    Raises ValueError where parents do not match the recipe or initial weights are not available, FloatingPointError when a loss is
    not finite.
    """
    architecture, runtime = workload.architecture, workload.runtime
    if len(parents) != len(recipe.parents):
        raise ValueError(f"recipe {recipe.name} needs {len(recipe.parents)} parents, got {len(parents)} sets of weights")
    if recipe.schedule is None:
        return
    if len(parents) > 1:
        raise ValueError(f"recipe {recipe.name} trains from {len(parents)} parents: training starts from at most one")
    deterministic()
    generation = len(parents)
    sampler = EpochSampler(len(workload.data.train.names), workload.hyper.batch_size, recipe, epochs=epochs, key=(seed, generation))
    _reseed(seed, generation, 0)
    learner = architecture.learner(workload.hyper, workload.data, epochs * len(sampler), runtime.device)
    done = 0
    if resume is not None:
        learner.load_state_dict(resume["learner"])
        done = int(resume["epoch"])
    elif parents:
        learner.network.load_state_dict(dict(parents[0]))
    else:
        initialise(architecture, learner.network, initial)
    prepare(learner, workload.numerics)
    batches = loader(samples(workload, "train", paired=recipe.paired), sampler, runtime)
    for number in range(done + 1, epochs + 1):
        started = time.perf_counter()
        _reseed(seed, generation, number)
        sampler.epoch = number - 1
        losses, waiting = _pass(learner, batches, workload)
        for name, value in losses.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"{architecture.name}: {name} is {value} in epoch {number}; lower the learning rate")
        validated = {condition: _validation(workload, learner, condition) for condition in validation}
        state = {"epoch": number, "learner": learner.state_dict()}
        seconds = time.perf_counter() - started
        yield Epoch(
            number=number,
            losses=losses,
            validation=validated,
            seconds=seconds,
            waiting=waiting,
            weights=learner.network.state_dict(),
            state=state,
        )


def _reseed(seed: int, generation: int, epoch: int) -> None:
    """Seed torch's global stream (dropout, initial weights) from (seed, generation, epoch), so that resuming changes nothing."""
    torch.manual_seed(int(np.random.SeedSequence((seed, generation, epoch)).generate_state(1, np.uint64)[0] >> 1))


def _pass(learner: Learner, batches: Any, workload: Workload) -> tuple[dict[str, float], float]:
    """One pass over the training batches: mean losses, and the fraction of the time spent waiting for data."""
    learner.network.train()
    # Sums stay on the device: a transfer at every step would make the GPU wait for the CPU.
    sums: dict[str, Any] = defaultdict(float)
    waited, started = 0.0, time.perf_counter()
    iterator = iter(batches)
    for _ in range(len(batches)):
        asked = time.perf_counter()
        batch = next(iterator)
        waited += time.perf_counter() - asked
        with computing(workload.numerics, workload.runtime.device):
            step = learner.update(batch.examples)
        for name, value in step.items():
            sums[name] += value.double()
    losses = {name: float(value) / len(batches) for name, value in sums.items()}
    return losses, waited / (time.perf_counter() - started)


def _validation(workload: Workload, learner: Learner, condition: Condition) -> dict[str, float]:
    """Each metric on the validation split under one condition."""
    return metrics(workload.architecture.task.score, measure(workload, learner, "val", condition).statistics)
