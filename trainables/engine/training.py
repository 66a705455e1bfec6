"""Training as a generator of epochs. Knows neither Ray nor MLflow: a test is `list(train(...))`.

No task is named here: tasks differ in their `Architecture` and its `Learner`.
"""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from trainables.contracts import CLEAN, Adapting, Condition, Epoch, Learner, Mode, Recipe, Schedule, View, Weights
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
    `initialise`. Each epoch is validated under the conditions in `validation`. A schedule that adapts is also measured on the
    withheld slice, on clean and at each of its levels, and the errors decide the next epoch's schedule. `resume` is the `state` of
    the epoch to continue after. Equal arguments give bit-identical figures per processor type, thread count and library versions,
    for any number of workers.

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
    schedule: Schedule = recipe.schedule
    if isinstance(schedule, Adapting) and not workload.slice:
        raise ValueError(f"recipe {recipe.name} adapts to a withheld slice of the training split: withhold a share of it")
    sampler = EpochSampler(workload.kept, workload.hyper.batch_size, recipe, epochs=epochs, key=(seed, generation))
    _reseed(seed, generation, 0)
    learner = architecture.learner(workload.hyper, workload.trained, epochs * len(sampler), runtime.device)
    done = 0
    if resume is not None:
        learner.load_state_dict(resume["learner"])
        done = int(resume["epoch"])
        schedule = _restored(schedule, resume)
    elif parents:
        learner.network.load_state_dict(dict(parents[0]))
    else:
        initialise(architecture, learner.network, initial)
    prepare(learner, workload.numerics)
    batches = loader(samples(workload, "train", paired=recipe.paired), sampler, runtime)
    for number in range(done + 1, epochs + 1):
        started = time.perf_counter()
        _reseed(seed, generation, number)
        sampler.epoch, sampler.schedule = number - 1, schedule
        losses, waiting = _pass(learner, batches, workload)
        for name, value in losses.items():
            if not math.isfinite(value):
                raise FloatingPointError(f"{architecture.name}: {name} is {value} in epoch {number}; lower the learning rate")
        validated = {condition: _measured(workload, learner, View("val", condition)) for condition in validation}
        state = {"epoch": number, "learner": learner.state_dict()}
        shares = None
        if isinstance(schedule, Adapting):
            shares = dict(zip(schedule.levels, schedule.shares, strict=True))
            schedule = schedule.after(_errors(workload, learner, recipe))
            state["schedule"] = schedule.weights
        seconds = time.perf_counter() - started
        yield Epoch(
            number=number,
            losses=losses,
            validation=validated,
            shares=shares,
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


def _measured(workload: Workload, learner: Learner, view: View, items: Sequence[int] | None = None) -> dict[str, float]:
    """Each metric on a split under one condition, or on some of its items."""
    measured = measure(workload, learner, view.split, view.condition, items=items)
    return metrics(workload.architecture.task.score, measured.statistics)


def _restored(schedule: Schedule, resume: Mapping[str, Any]) -> Schedule:
    """A schedule with the weights of a checkpoint, if it adapts."""
    return replace(schedule, weights=tuple(resume["schedule"])) if isinstance(schedule, Adapting) else schedule  # type: ignore[type-var]


def _errors(workload: Workload, learner: Learner, recipe: Recipe) -> dict[int | None, float]:
    """The error on the withheld slice at each level of a recipe, see `relative_error`."""
    task = workload.architecture.task

    def score(level: int | None) -> float:
        return _measured(workload, learner, View("train", recipe.condition(level)), workload.slice)[task.metric]

    clean = score(None)
    return {
        level: 0.0 if level is None else relative_error(score(level), clean, task.metrics[task.metric]) for level in recipe.levels
    }


def relative_error(score: float, clean: float, mode: Mode) -> float:
    """The part of the clean score that is lost, 0..1, comparable between tasks.

    1 - score / clean where higher is better, 1 - clean / score where lower is better; 0 for a score no worse than on clean, and
    where a clean score of 0 leaves nothing to lose. Raises ValueError for a score that is not a number.
    """
    if math.isnan(score) or math.isnan(clean):
        raise ValueError(f"scores {score} and {clean} (clean) of the withheld slice are no numbers: withhold a larger share")
    better, worse = (clean, score) if mode == "max" else (score, clean)
    return min(1.0, max(0.0, 1 - worse / better)) if better > 0 else 0.0
