"""One launch: sends what is not done to Ray Tune, reports the folders to MLflow, and names what is still missing."""

import logging
import os
import signal
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any

os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")  # Tune reads these when it is imported
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # `_Signals` handles both signals
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.error import TuneError
from rich.console import Console

from study.cluster import Resources, connected, need
from study.lock import alone
from study.plan import Entry, Plan, Screened
from study.progress import Progress
from study.reporter import Reporter
from study.searcher import PlanSearcher
from study.tracking import Status
from study.weights import keep
from trainables import Folder, TrialFolder
from trainables.ray_trainable import StudyTrainable

RETRIES = 3
"""How often Tune restarts a trial whose process died. A trial that raised an error is not restarted."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a launch."""

    failed: dict[str, str]
    """Reasons, by entry."""
    missing: dict[str, str]
    """Entries that are neither done nor failed, and what they wait for, if anything."""
    signal: int | None
    """The signal that interrupted it, if any."""
    lost: str | None
    """Why Ray ended before the work did, if so."""
    untracked: str | None
    """Why MLflow is not up to date, if so."""

    @property
    def exit_code(self) -> int:
        """0 complete, 1 incomplete, 130 interrupted."""
        if self.signal == signal.SIGINT:
            return 130
        return 1 if self.failed or self.missing or self.lost or self.untracked else 0


def run(plan: Plan, *, tracking_uri: str, resources: Resources, console: Console) -> Outcome:
    """Do what is missing of a plan. Raises ValueError for missing data or unusable weights, before anything starts."""
    if plan.no_data:
        raise ValueError("; ".join(plan.no_data.values()))
    with alone(plan.storage):
        keep(plan, console)
        with Reporter(plan, tracking_uri) as reporter:
            received: int | None = None
            lost: str | None = None
            reasons: dict[str, str] = {}
            plan.grow()
            try:
                if any(plan.state(entry) != "done" for entry in plan.entries):
                    received = _tune(plan, reporter, resources, console, reasons)
            except (RayError, TuneError, ConnectionError) as error:
                lost = f"Ray was lost: {str(error).strip().splitlines()[0][:300]}"
    if isinstance(plan.growth, Screened):
        plan.growth.write(plan)
    failed, missing = {}, {}
    for entry in plan.entries:
        if plan.state(entry) == "done":
            continue
        folder = plan.folder(entry)
        # The folder says why its trial failed, unless it cannot be written: then the launch still knows.
        reason = (folder.failure() if folder else None) or reasons.get(str(entry))
        if reason:
            failed[str(entry)] = reason
        else:
            missing[str(entry)] = _waits_for(plan, entry)
    return Outcome(failed=failed, missing=missing, signal=received, lost=lost, untracked=reporter.trouble)


def _waits_for(plan: Plan, entry: Entry) -> str:
    """Why an entry could not run; empty where it could have."""

    def lacks(parent: Entry) -> bool:
        folder = plan.folder(parent)
        return folder is None or (plan.state(parent) != "done" if entry.needs_scores else not folder.progress().trained)

    lacking = [str(parent) for parent in entry.parents if lacks(parent)]
    if lacking:
        return f"waits for {', '.join(lacking)}"
    return "" if plan.trial(entry) else "waits for its hyper-parameters"


@ray.remote(num_cpus=0)
class _Claim:
    """An actor that lives as long as the driver that made it."""


def _claim(storage: Folder) -> Any:
    """Claim a storage within the Ray cluster by a named actor, which ends with this driver."""
    name = f"study of {storage.uri}"
    try:
        return _Claim.options(name=name, namespace="compression-study").remote()  # type: ignore[attr-defined]
    except ValueError as error:
        raise ValueError(
            f"{storage.uri} is in use by another launch on this Ray cluster: wait for it, or pass another --storage"
        ) from error


class _Callback(tune.Callback):
    """Passes Tune's events to progress and MLflow."""

    def __init__(self, plan: Plan, progress: Progress, reporter: Reporter, reasons: dict[str, str]) -> None:
        self._plan = plan
        self._progress, self._reporter, self._reasons = progress, reporter, reasons

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles this for a restore that never happens."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:  # noqa: ARG002
        name = trial.config["entry"]
        self._progress.result(name, result)
        if result["phase"] in {"encode", "measure"}:  # the folder has nothing new
            return
        if "failure" in result:
            self._reasons[name] = result["failure"]
        status: dict[str, Status] = {"done": "FINISHED", "failed": "FAILED"}
        self._report(name, status.get(result["phase"], "RUNNING"))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        self._progress.again(trial.config["entry"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        name = trial.config["entry"]
        self._progress.died(name)
        self._reasons[name] = f"its process died {RETRIES + 1} times; see Ray's logs"
        with suppress(OSError):
            TrialFolder(Folder(trial.config["folder"])).write_failure(self._reasons[name])
        self._report(name, "FAILED")

    def _report(self, name: str, status: Status) -> None:
        entry = next(entry for entry in self._plan.entries if str(entry) == name)
        self._reporter.changed(entry, status)


def _tune(plan: Plan, reporter: Reporter, resources: Resources, console: Console, reasons: dict[str, str]) -> int | None:
    """Run a plan on Ray Tune, noting in `reasons` why entries failed. Returns the signal that ended it, if any."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # progress reports in one line what Tune reports by a traceback
    with connected(resources) as nodes:
        claim = _claim(plan.storage)
        slots = sum(node.slots(plan.space) for node in nodes)
        takes = need(plan.space, gpus=any(node.resources.get("GPU") for node in nodes))
        if not slots:
            raise ValueError(f"a trial needs {takes['CPU']:.0f} CPUs and no Ray node has as many: raise --cpus")
        with Progress(plan, console, slots) as progress, tempfile.TemporaryDirectory() as scratch, _Signals() as signals:
            searcher = PlanSearcher(plan, started=progress.started, finished=progress.finished)
            tuner = tune.Tuner(
                tune.with_resources(StudyTrainable, takes),
                tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True, trial_dirname_creator=_dirname),
                run_config=tune.RunConfig(
                    name="study",
                    storage_path=scratch,
                    # Otherwise Tune looks in `scratch` for a marker that a worker on another host wrote to its own disk.
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    verbose=0,
                    stop=signals,
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    callbacks=[_Callback(plan, progress, reporter, reasons)],
                ),
            )
            tuner.fit()
            del claim
            return signals.received


def _dirname(trial: Any) -> str:
    return str(trial.trial_id)


class _Signals(tune.Stopper):
    """Ends a launch cleanly on Ctrl-C and SIGTERM: Tune asks between events, then stops its trials."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "_Signals":
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.received = number

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles this for a restore that never happens."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        """Whether a signal was received."""
        return self.received is not None
