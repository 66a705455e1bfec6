"""The one class that Ray Tune runs: a step is one epoch of training or one scored condition.

Only names and numbers come in (`Job`), only numbers go out. Tune's checkpoints are not used: `setup` continues from the trial's
folder, however the last attempt ended. No task is known here; a new task needs no change.
"""

import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from ray import tune

from trainables.codecs import find_codec
from trainables.contracts import Architecture, Condition, Epoch, Fusion, Recipe, Score, Source, SplitName, View, Weights
from trainables.data.recompressed import recompressed
from trainables.engine.evaluation import Measuring, fuse, scoring
from trainables.engine.loading import over_processes
from trainables.engine.recalibration import recalibrate
from trainables.engine.runtime import Runtime
from trainables.engine.training import train
from trainables.engine.workload import Workload
from trainables.lookup import launched_from
from trainables.networks.initial import file_of, is_digest, read_weights
from trainables.recipes.recipes import find_recipe, shaped
from trainables.store.imagery import default_store
from trainables.tasks import find_architecture, find_dataset
from trainables.trials.storage import Folder
from trainables.trials.trial import Job, TrialFolder, now

Result = dict[str, Any]


class StudyTrainable(tune.Trainable):
    """Trains and scores one trial and, where the actor is reused, the next: `reset_config` rebuilds everything."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin or continue the trial of a config."""
        self._steps = steps(Job.from_config(config))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Begin another trial in this process."""
        self.setup(new_config)
        return True

    def step(self) -> Result:
        """Run one epoch, or score one condition."""
        return next(self._steps)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing: the trial's folder holds the state."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing: `setup` continued from the trial's folder."""


def steps(job: Job) -> Iterator[Result]:
    """Do what is missing of a job, one result per step; the last result has `done`.

    An error raised by the trial is recorded in its folder and ends it with `failure`, so that Tune does not retry what would fail
    again. Tune retries a process that dies.
    """
    folder = TrialFolder(Folder(job.folder))
    launched_from(job.launched)
    try:
        folder.write_json("trial.json", job.trial.to_json())
        folder.folder.remove("failure.json")
        architecture = find_architecture(job.trial.architecture)
        data = _data(job)
        if isinstance(architecture, Fusion):
            yield from _fuse(job, folder, architecture, data)
        else:
            workload, recipe = _workload(job, architecture, data), _recipe(job, architecture)
            yield from _train(job, folder, workload, recipe)
            yield from _score(job, folder, workload)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        with suppress(OSError):  # a full disk fails here too; the result still tells the reason
            folder.write_failure(reason)
        yield {"phase": "failed", "failure": reason, "done": True}
        return
    yield {"phase": "done", "done": True}


def _train(job: Job, folder: TrialFolder, workload: Workload, recipe: Recipe) -> Iterator[Result]:
    trial = job.trial
    if folder.progress().trained:
        folder.folder.remove("state.pt")  # left where the process ended between the manifest and this
        return
    if trial.imported:
        _keep(job, folder, _file(job), [])
        return
    parents = [TrialFolder(Folder(parent)).read_state("weights.pt")["weights"] for parent in job.parents]
    resume = folder.read_state("state.pt") if "state.pt" in folder.folder.names() else None
    history: list[Result] = resume["history"] if resume else []
    weights: Weights = resume["weights"] if resume else {}
    yield from _prepare(workload, "train", map(recipe.condition, recipe.levels))
    if recipe.schedule is not None:
        yield from _prepare(workload, "val", job.validation)
    if recipe.recalibrated_at is not None:
        (parent,) = parents
        weights = recalibrate(workload, recipe, parent, seed=trial.seed)
    for epoch in train(
        workload,
        recipe,
        epochs=trial.epochs,
        seed=trial.seed,
        validation=job.validation,
        parents=parents,
        initial=_file(job) if is_digest(trial.initial) else trial.initial,
        resume=resume,
    ):
        history, weights = [*history, _record(epoch)], epoch.weights
        # The state holds the history too: one file, written atomically, so that the two always agree. history.json is for readers.
        folder.write_state("state.pt", {**epoch.state, "weights": weights, "history": history})
        folder.write_json("history.json", history)
        metric = workload.architecture.task.metric
        objective = fmean(values[metric] for values in epoch.validation.values())
        yield {"phase": "train", "epoch": epoch.number, "objective": objective, "seconds": epoch.seconds}
    _keep(job, folder, weights, history)


def _record(epoch: Epoch) -> Result:
    """One epoch as plain values."""
    record: Result = {
        "epoch": epoch.number,
        "losses": dict(epoch.losses),
        "validation": [
            {"codec": condition.codec, "level": condition.level, "metrics": dict(metrics)}
            for condition, metrics in epoch.validation.items()
        ],
        "seconds": epoch.seconds,
        "waiting": epoch.waiting,
        "time": now(),
    }
    if epoch.shares is not None:
        record["schedule"] = [{"level": level, "share": share} for level, share in epoch.shares.items()]
    return record


def _keep(job: Job, folder: TrialFolder, weights: Weights, history: list[Result]) -> None:
    """End a training: write what it leaves, then the manifest that says so. A search trial keeps no weights."""
    folder.write_json("history.json", history)
    if job.trial.stage != "search":
        folder.write_state("weights.pt", {"weights": dict(weights), "trial": job.trial.to_json()})
    folder.seal()
    folder.folder.remove("state.pt")


def _score(job: Job, folder: TrialFolder, workload: Workload) -> Iterator[Result]:
    if not job.views:
        return
    missing = folder.unscored(job.views)
    if missing:
        weights = folder.read_state("weights.pt")["weights"]
        for split in dict.fromkeys(split for split, _ in missing):
            yield from _prepare(workload, split, [condition for of, condition in missing if of == split])
        started = time.perf_counter()
        for score in scoring(workload, weights, missing):
            if isinstance(score, Measuring):
                yield {"phase": "measure", "view": str(score.view), "built": score.measured, "items": score.items}
                continue
            folder.write_score(score)
            yield _scored(View(score.split, score.condition), score.metrics[workload.architecture.task.metric], started)
            started = time.perf_counter()
    if missing or not folder.progress(job.views).done:
        conditions = [condition for split, condition in job.views if split == "test"]
        for codec in dict.fromkeys(condition.codec for condition in conditions if condition.codec):
            folder.write_panel(find_codec(codec), [each for each in conditions if each.codec in (None, codec)])
        folder.seal()


def _fuse(job: Job, folder: TrialFolder, fusion: Fusion, data: Source) -> Iterator[Result]:
    """Score the sum of the streams' stored outputs. There is nothing to train, so the trial is sealed before it is scored."""
    if not folder.progress().trained:
        folder.seal()
    parents = [TrialFolder(Folder(parent)) for parent in job.parents]
    for split, condition in folder.unscored(job.views):
        started = time.perf_counter()
        outputs = [parent.outputs(condition, split) for parent in parents]
        metrics, replicates = fuse(fusion, outputs, data=data, split=split)
        (coded,) = parents[0].scores([condition], split)  # all streams saw the same imagery
        rates = {name: coded[name] for name in ("bits_per_pixel", "stream_bits_per_pixel", "bytes_per_item")}
        folder.write_score(Score(split=split, condition=condition, metrics=metrics, replicates=replicates, **rates))
        yield _scored(View(split, condition), metrics[fusion.task.metric], started)
    if not folder.progress(job.views).done:
        folder.seal()


def _scored(view: View, objective: float, started: float) -> Result:
    return {"phase": "score", "view": str(view), "objective": objective, "seconds": time.perf_counter() - started}


def _prepare(workload: Workload, split: SplitName, conditions: Iterable[Condition]) -> Iterator[Result]:
    """Encode and derive what the store lacks of a split, reporting progress."""
    runtime = workload.runtime
    if runtime.store is None:
        return
    imagery = runtime.store.imagery(workload.data, split, workload.architecture.inputs.derive(workload.hyper))
    for building in imagery.prepare(conditions, over_processes(runtime.workers)):
        yield {"phase": "encode", **building._asdict()}


def _file(job: Job) -> Weights:
    """Tensors of the weights file that a trial starts from."""
    return read_weights(Folder(job.weights).read(file_of(job.trial.initial)), job.trial.initial)


def _recipe(job: Job, architecture: Architecture) -> Recipe:
    """The recipe of a trial, from the codec, ladder and schedule numbers it carries."""
    trial = job.trial
    return shaped(find_recipe(architecture, trial.recipe, trial.codec, trial.ladder), trial.shape)


def _workload(job: Job, architecture: Architecture, data: Source) -> Workload:
    hyper: Mapping[str, Any] = job.trial.hyper
    return Workload(
        architecture=architecture,
        hyper=type(architecture.hyper)(**hyper),
        data=data,
        withheld=job.trial.withheld,
        numerics=job.trial.numerics,
        runtime=_runtime(job),
    )


def _data(job: Job) -> Source:
    """The data set of a job. Raises ValueError where this node holds other data than the launch planned with."""
    data = _source(job.trial.dataset, job.data, job.trial.source)
    if data.fingerprint != job.trial.fingerprint:
        where = f"{socket.gethostname()} at {job.data}" if job.data else socket.gethostname()
        raise ValueError(
            f"data set {data.name} on {where} has fingerprint {data.fingerprint}, but the launch planned with "
            f"{job.trial.fingerprint}: copy the same files to every node, then run again"
        )
    return data


@lru_cache(maxsize=1)
def _source(dataset: str, path: str | None, compressed: Condition) -> Source:
    """An opened data set, kept for the next trial in this process: it is read-only."""
    return recompressed(find_dataset(dataset).source(None if path is None else Path(path)), compressed)


def _runtime(job: Job) -> Runtime:
    """The runtime of this process, after setting its threads: torch's thread count changes sums in the last digits."""
    import cv2
    import torch

    torch.set_num_threads(job.threads)
    cv2.setNumThreads(job.threads)
    return Runtime(device="cuda" if job.gpu and torch.cuda.is_available() else "cpu", workers=job.workers, store=default_store())
