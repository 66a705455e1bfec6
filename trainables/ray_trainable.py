"""The one class that Ray Tune runs: a step is an epoch of training or one condition of scoring, and its folder is the truth.

Only names and numbers come in (`Job`), only numbers go out. Tune's own checkpoints are not used: `setup` continues from the trial's
folder, whatever ended the last attempt. What differs between tasks is not known here; a new task needs no change.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from ray import tune

from trainables import (
    CODECS,
    evaluate,
    find_architecture,
    find_dataset,
    fuse,
    launched_from,
    recalibrate,
    recipes_of,
    train,
)
from trainables.contracts import Condition, Derived, Recipe, Score, Source, Weights
from trainables.networks.initial import file_of, is_digest, read_weights
from trainables.engine.loading import over_processes
from trainables.engine.runtime import Runtime
from trainables.trials.storage import Folder
from trainables.store.imagery import default_store
from trainables.trials.trial import Job, Trial, TrialFolder, now


class StudyTrainable(tune.Trainable):
    """Trains and scores one trial, then, reused, the next: `reset_config` rebuilds everything."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin, or continue, the trial of a config."""
        self._steps = steps(Job.from_config(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """One epoch or one condition."""
        return next(self._steps)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: the trial's folder holds the state."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: `setup` has continued from the trial's folder."""


def steps(job: Job) -> Iterator[dict[str, Any]]:
    """Do what is missing of a job, a result a step; the last has `done`.

    An error of the trial itself is kept in its folder and ends it with `failure`, so that Tune does not try again what would fail
    again; a process that dies is Tune's to retry.
    """
    folder = TrialFolder(Folder(job.folder))
    folder.write_json("trial.json", job.trial.to_json())
    folder.folder.remove("failure.json")
    launched_from(job.launched)
    try:
        if find_architecture(job.trial.architecture).streams:
            yield from _fuse(job, folder)
        else:
            yield from _train(job, folder)
            yield from _score(job, folder)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        with suppress(OSError):  # on a full disk this fails as well; the result still tells
            folder.write_failure(reason)
        yield {"phase": "failed", "failure": reason, "done": True}
        return
    yield {"phase": "done", "done": True}


def _train(job: Job, folder: TrialFolder) -> Iterator[dict[str, Any]]:
    trial, names = job.trial, folder.folder.names()
    if "weights.pt" in names:
        return
    parents = [TrialFolder(Folder(parent)).read_state("weights.pt")["weights"] for parent in job.parents]
    resume = folder.read_state("state.pt") if "state.pt" in names else None
    history: list[dict[str, Any]] = resume["history"] if resume else []
    weights: Mapping[str, Any] = resume["weights"] if resume else {}
    architecture, recipe = find_architecture(trial.architecture), _recipe(trial)
    data, runtime = _source(trial.dataset, job.data), _runtime(job)
    if trial.imported:
        folder.write_state("weights.pt", {"weights": dict(_file(job)), "trial": trial.to_json()})
        return
    splits, derived = ("train", "val") if recipe.schedule else ("train",), architecture.derive(_hyper(trial))
    yield from _prepare(data, splits, recipe.codec, recipe.levels, derived, runtime)
    if recipe.recalibrated_at is not None:
        (parent,) = parents
        weights = recalibrate(architecture, recipe, _hyper(trial), parent, data=data, numerics=trial.numerics, runtime=runtime)
    epochs = train(
        architecture,
        recipe,
        _hyper(trial),
        data=data,
        epochs=trial.epochs,
        seed=trial.seed,
        parents=parents,
        initial=_file(job) if is_digest(trial.initial) else trial.initial,
        resume=resume,
        numerics=trial.numerics,
        runtime=runtime,
    )
    for epoch in epochs:
        record = {
            "epoch": epoch.number,
            "losses": dict(epoch.losses),
            "validation": dict(epoch.validation),
            "seconds": epoch.seconds,
            "waiting": epoch.waiting,
            "time": now(),
        }
        history, weights = [*history, record], epoch.weights
        # The state holds the history too: one file, replaced whole, so the two never disagree. history.json is a copy for readers.
        folder.write_state("state.pt", {**epoch.state, "weights": weights, "history": history})
        folder.write_json("history.json", history)
        yield {
            "phase": "train",
            "epoch": epoch.number,
            "objective": epoch.validation[architecture.metric],
            "seconds": epoch.seconds,
        }
    folder.write_json("history.json", history)
    folder.write_state("weights.pt", {"weights": dict(weights), "trial": trial.to_json()})
    folder.folder.remove("state.pt")


def _score(job: Job, folder: TrialFolder) -> Iterator[dict[str, Any]]:
    trial, missing = job.trial, folder.progress(job.conditions).missing
    if not missing:
        return
    architecture = find_architecture(trial.architecture)
    weights = folder.read_state("weights.pt")["weights"]
    data, runtime, derived = _source(trial.dataset, job.data), _runtime(job), architecture.derive(_hyper(trial))
    for codec in {condition.codec for condition in missing}:
        yield from _prepare(data, ("test",), codec, [each.level for each in missing if each.codec == codec], derived, runtime)
    started = time.perf_counter()
    for score in evaluate(
        architecture, _hyper(trial), weights, data=data, conditions=missing, numerics=trial.numerics, runtime=runtime
    ):
        folder.write_score(score)
        yield _scored(score.condition, score.metrics[architecture.metric], started)
        started = time.perf_counter()
    for codec in dict.fromkeys(condition.codec for condition in job.conditions if condition.codec):
        folder.write_panel(CODECS[codec])


def _fuse(job: Job, folder: TrialFolder) -> Iterator[dict[str, Any]]:
    """Score what the streams' runs put out. An empty file of weights says that there is nothing to train."""
    trial, architecture = job.trial, find_architecture(job.trial.architecture)
    parents, data = [TrialFolder(Folder(parent)) for parent in job.parents], _source(trial.dataset, job.data)
    folder.write_state("weights.pt", {"weights": {}, "trial": trial.to_json()})
    for condition in folder.progress(job.conditions).missing:
        started = time.perf_counter()
        metrics, replicates = fuse(architecture, [parent.outputs(condition) for parent in parents], data=data)
        (coded,) = parents[0].scores([condition])  # the streams saw the same imagery
        rates = {name: coded[name] for name in ("bits_per_pixel", "stream_bits_per_pixel", "bytes_per_item")}
        folder.write_score(Score(condition=condition, metrics=metrics, replicates=replicates, **rates))
        yield _scored(condition, metrics[architecture.metric], started)


def _scored(condition: Condition, objective: float, started: float) -> dict[str, Any]:
    return {"phase": "score", "condition": str(condition), "objective": objective, "seconds": time.perf_counter() - started}


def _prepare(
    data: Source,
    splits: Sequence[str],
    codec: str | None,
    levels: Sequence[int | None],
    derived: Derived | None,
    runtime: Runtime,
) -> Iterator[dict[str, Any]]:
    """Encode, and derive, what the store lacks of splits at levels, telling how far it is."""
    if runtime.store is None:
        return
    for split in splits:
        imagery = runtime.store.imagery(data, split, CODECS[codec] if codec else None, derived)
        for building in imagery.prepare(levels, over_processes(runtime.workers)):
            yield {"phase": "encode", **building._asdict()}


def _file(job: Job) -> Weights:
    """The tensors of the weights file that a trial starts from."""
    return read_weights(Folder(job.weights).read(file_of(job.trial.initial)), job.trial.initial)


def _recipe(trial: Trial) -> Recipe:
    codec = CODECS[trial.codec] if trial.codec else None
    return next(recipe for recipe in recipes_of(find_architecture(trial.architecture), codec) if recipe.name == trial.recipe)


def _hyper(trial: Trial) -> Any:
    return find_architecture(trial.architecture).hyper(**trial.hyper)


@lru_cache(maxsize=1)
def _source(dataset: str, path: str | None) -> Source:
    """An opened data set, kept for the next trial of this process: it is read only."""
    return find_dataset(dataset).source(None if path is None else Path(path))


def _runtime(job: Job) -> Runtime:
    """The device of this process, after setting its threads: torch's number of them changes sums in the last digits."""
    import cv2
    import torch

    torch.set_num_threads(job.threads)
    cv2.setNumThreads(job.threads)
    return Runtime(device="cuda" if job.gpu and torch.cuda.is_available() else "cpu", workers=job.workers, store=default_store())
