"""One launch: what is not done goes to Ray Tune, what its folders then hold goes to MLflow, what is still missing is named."""

import logging
import os
import signal
import tempfile
from collections.abc import Sequence
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
from study.plan import Entry, Plan
from study.progress import Progress
from study.reporter import Reporter
from study.searcher import PlanSearcher
from study.tracking import Status
from study.weights import keep
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
    lost: str | None
    """Why Ray ended before its work did, where it did."""
    untracked: str | None
    """Why MLflow could not be told, where it could not."""

    @property
    def exit_code(self) -> int:
        """0 complete, 1 incomplete, 130 interrupted."""
        if self.signal == signal.SIGINT:
            return 130
        return 1 if self.failed or self.missing or self.lost or self.untracked else 0


def run(plan: Plan, *, tracking_uri: str, resources: Resources, console: Console) -> Outcome:
    """Do what is missing of a plan. Raises ValueError where data or weights are not as they must be, before anything starts."""
    if plan.no_data:
        raise ValueError("; ".join(plan.no_data.values()))
    with alone(plan.storage):
        keep(plan, console)
        with Reporter(plan, tracking_uri) as reporter:
            todo = [entry for entry in plan.entries if plan.state(entry) != "done"]
            received: int | None = None
            lost: str | None = None
            reasons: dict[str, str] = {}
            try:
                received = _tune(plan, todo, reporter, resources, console, reasons) if todo else None
            except (RayError, TuneError, ConnectionError) as error:
                lost = f"Ray was lost: {str(error).strip().splitlines()[0][:300]}"
    failed, missing = {}, {}
    for entry in plan.entries:
        state = plan.state(entry)
        # A folder says why its trial failed, unless it cannot be written: then the launch still knows.
        reason = plan.folder(entry.trial).failure() or reasons.get(entry.trial.key)
        if state != "done" and reason:
            failed[str(entry)] = reason
        elif state != "done":
            lacking = [parent for parent in entry.parents if not plan.folder(parent.trial).progress(()).trained]
            if entry.of_scores:
                lacking = [parent for parent in entry.parents if plan.state(parent) != "done"]
            missing[str(entry)] = f"waits for {', '.join(map(str, lacking))}" if lacking else ""
    return Outcome(failed=failed, missing=missing, signal=received, lost=lost, untracked=reporter.trouble)


@ray.remote(num_cpus=0)
class _Claim:
    """Lives as long as the driver that made it."""


def _claim(storage: Folder) -> Any:
    """Claim a storage within the Ray cluster: a named actor, which ends with this driver."""
    name = f"study of {storage.uri}"
    try:
        return _Claim.options(name=name, namespace="compression-study").remote()  # type: ignore[attr-defined]
    except ValueError as error:
        raise ValueError(
            f"{storage.uri} is in use by another launch on this Ray cluster; wait for it, or give --storage"
        ) from error


class _Callback(tune.Callback):
    """Passes Tune's events on to progress and MLflow."""

    def __init__(self, plan: Plan, progress: Progress, reporter: Reporter, reasons: dict[str, str]) -> None:
        self._entries = {entry.trial.key: entry for entry in plan.entries}
        self._progress, self._reporter, self._reasons = progress, reporter, reasons

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles this for a restore that never happens."""
        return {}

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any) -> None:  # noqa: ARG002
        key = _key(trial.config)
        self._progress.result(key, result)
        if "failure" in result:
            self._reasons[key] = result["failure"]
        status: dict[str, Status] = {"done": "FINISHED", "failed": "FAILED"}
        self._reporter.changed(self._entries[key], status.get(result["phase"], "RUNNING"))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        self._progress.again(_key(trial.config))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:  # noqa: ARG002
        key = _key(trial.config)
        self._progress.died(key)
        self._reasons[key] = f"its process died {RETRIES + 1} times; see Ray's logs"
        with suppress(OSError):
            TrialFolder(Folder(trial.config["folder"])).write_failure(self._reasons[key])
        self._reporter.changed(self._entries[key], "FAILED")


def _tune(
    plan: Plan, todo: Sequence[Entry], reporter: Reporter, resources: Resources, console: Console, reasons: dict[str, str]
) -> int | None:
    """Run entries on Ray Tune, noting in `reasons` why trials failed, by key; the signal that ended it, if one did."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # progress tells in one line what it would tell by a traceback
    with connected(resources) as nodes:
        claim = _claim(plan.storage)
        slots = sum(node.slots(plan.space) for node in nodes)
        takes = need(plan.space, gpus=any(node.resources.get("GPU") for node in nodes))
        if not slots:
            raise ValueError(f"no node of Ray has the {takes['CPU']:.0f} processors that a trial takes: raise --cpus")
        with Progress(plan, console, slots) as progress, tempfile.TemporaryDirectory() as scratch, _Signals() as signals:
            searcher = PlanSearcher(plan, todo, started=progress.started)
            tuner = tune.Tuner(
                tune.with_resources(StudyTrainable, takes),
                tune_config=tune.TuneConfig(
                    search_alg=searcher, num_samples=len(todo), reuse_actors=True, trial_dirname_creator=_dirname
                ),
                run_config=tune.RunConfig(
                    name="study",
                    storage_path=scratch,
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
