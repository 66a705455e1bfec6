"""One launch: what is not done goes to Ray Tune, what its folders then hold goes to MLflow, what is still missing is named."""

import logging
import os
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import: nothing leaves this machine unasked
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")  # `_Signals` handles both signals
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import psutil
import ray
from ray import tune
from rich.console import Console

from study.plan import Entry, Plan
from study.progress import Progress
from study.searcher import PlanSearcher
from study.tracking import Status, Tracker
from trainables import Folder, Trial, TrialFolder
from trainables.ray_trainable import StudyTrainable

RETRIES = 3
"""How often Tune starts a trial again whose process died; a trial that raised is not tried again."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a launch ended."""

    failed: dict[str, str]
    """Reasons by cell and seed."""
    missing: dict[str, str]
    """What they wait for, if anything, by cells and seeds that are not done and did not fail."""
    signal: int | None
    """What interrupted it, if anything did."""
    untracked: str | None
    """Why MLflow could not be told, where it could not."""

    @property
    def exit_code(self) -> int:
        """0 complete, 1 incomplete, 130 interrupted."""
        if self.signal == signal.SIGINT:
            return 130
        return 1 if self.failed or self.missing or self.untracked else 0


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What is offered to Ray."""

    address: str | None = None
    cpus: int | None = None
    gpus: int | None = None


def run(plan: Plan, *, tracking_uri: str, resources: Resources, console: Console) -> Outcome:
    """Do what is missing of a plan. Raises ValueError where a data set is not at hand, before anything starts."""
    for reason in plan.no_data.values():
        raise ValueError(reason)
    reporter = _Reporter(plan, tracking_uri)
    todo = [entry for entry in plan.entries if plan.state(entry) != "done"]
    received = None
    if todo:
        received = _tune(plan, todo, reporter, resources, console)
    reporter.close(plan)
    failed, missing = {}, {}
    for entry in plan.entries:
        state = plan.state(entry)
        if state == "failed":
            failed[str(entry)] = plan.folder(entry.trial).failure() or "unknown"
        elif state != "done":
            lost = [str(parent) for parent in entry.parents if not plan.folder(parent.trial).progress(()).trained]
            missing[str(entry)] = f"waits for {', '.join(lost)}" if lost else ""
    return Outcome(failed=failed, missing=missing, signal=received, untracked=reporter.trouble)


class _Reporter:
    """Tells MLflow, and goes on without it where it cannot be told: the folders hold everything, the next launch repairs."""

    def __init__(self, plan: Plan, uri: str) -> None:
        self.trouble: str | None = None
        self._tracker: Tracker | None = None
        self._try(lambda: self._open(uri, plan), uri)
        self._uri = uri

    def _open(self, uri: str, plan: Plan) -> None:
        self._tracker = Tracker(uri, plan)

    def project(self, entry: Entry, status: Status) -> None:
        tracker = self._tracker
        if tracker is not None:
            self._try(lambda: tracker.project(entry, status), self._uri)

    def close(self, plan: Plan) -> None:
        """Repair every run, then sum up."""
        statuses: dict[str, Status] = {"done": "FINISHED", "failed": "FAILED", "partial": "KILLED"}
        states = [plan.state(entry) for entry in plan.entries]
        for entry, state in zip(plan.entries, states, strict=True):
            if state in statuses:
                self.project(entry, statuses[state])
        tracker = self._tracker
        if tracker is not None:
            complete = all(state == "done" for state in states)
            self._try(lambda: tracker.finish("FINISHED" if complete else "FAILED" if "failed" in states else "KILLED"), self._uri)

    def _try(self, act: Any, uri: str) -> None:
        try:
            act()
        except Exception as error:  # whatever the store's client raises: training must not die of it
            self.trouble = f"MLflow at {uri} could not be told: {' '.join(str(error).split())[:300]}"
            self._tracker = None


class _Callback(tune.Callback):
    """Passes Tune's events on to progress and MLflow."""

    def __init__(self, plan: Plan, progress: Progress, reporter: _Reporter) -> None:
        self._entries = {entry.trial.key: entry for entry in plan.entries}
        self._progress, self._reporter = progress, reporter

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles this for a restore that never happens."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:  # noqa: ARG002
        key = _key(trial.config)
        self._progress.result(key, result)
        status: dict[str, Status] = {"done": "FINISHED", "failed": "FAILED"}
        self._reporter.project(self._entries[key], status.get(result["phase"], "RUNNING"))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        key = _key(trial.config)
        self._progress.died(key)
        TrialFolder(Folder(trial.config["folder"])).write_failure(f"its process died {RETRIES + 1} times; see Ray's logs")
        self._reporter.project(self._entries[key], "FAILED")


def _tune(plan: Plan, todo: Sequence[Entry], reporter: _Reporter, resources: Resources, console: Console) -> int | None:
    """Run entries on Ray Tune; the signal that ended it, if one did."""
    cpus = resources.cpus or len(psutil.Process().cpu_affinity())
    local: dict[str, Any] = {"num_cpus": cpus, "num_gpus": resources.gpus, "include_dashboard": False}
    ray.init(
        address=resources.address or "local",
        log_to_driver=False,
        logging_level=logging.ERROR,
        **({} if resources.address else local),
    )
    try:
        offered: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        need = {"CPU": plan.space.threads + plan.space.workers, "GPU": plan.space.gpus if offered.get("GPU") else 0}
        if offered.get("CPU", 0) < need["CPU"]:
            raise ValueError(
                f"a trial of {plan.space.name} takes {need['CPU']} processors, Ray has {offered.get('CPU', 0):.0f}: raise --cpus"
            )
        slots = int(min(offered[name] / amount for name, amount in need.items() if amount))
        with Progress(plan, console, slots) as progress, tempfile.TemporaryDirectory() as scratch, _Signals() as signals:
            searcher = PlanSearcher(plan, todo, started=progress.started)
            tuner = tune.Tuner(
                tune.with_resources(StudyTrainable, need),
                tune_config=tune.TuneConfig(
                    search_alg=searcher, num_samples=len(todo), reuse_actors=True, trial_dirname_creator=_dirname
                ),
                run_config=tune.RunConfig(
                    name="study",
                    storage_path=scratch,
                    verbose=0,
                    stop=signals,
                    failure_config=tune.FailureConfig(max_failures=RETRIES),
                    callbacks=[_Callback(plan, progress, reporter)],
                ),
            )
            tuner.fit()
            return signals.received
    finally:
        ray.shutdown()


def _dirname(trial: Any) -> str:
    return str(trial.trial_id)


def _key(config: dict[str, Any]) -> str:
    return Trial.from_json(config["trial"]).key


class _Signals(tune.Stopper):
    """Ctrl-C and SIGTERM both end a launch cleanly: Tune asks between events and then stops its trials."""

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
        """Nothing: Tune pickles this for a restore that never happens."""
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:  # noqa: ARG002
        return False

    def stop_all(self) -> bool:
        """Whether a signal came."""
        return self.received is not None
