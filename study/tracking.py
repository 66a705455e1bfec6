"""MLflow as a projection of the trials' folders. The only module that writes to it.

Layout: one experiment per study; one run per trial and one summary run, side by side, reused by later launches. Everything logged
comes from a folder, with the folder's own times. MLflow stores equal (key, time, step, value) once, so projecting again fills gaps
and duplicates nothing. What is logged is decided in `study.projection`.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Literal

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import: no data leave this machine unasked
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a dead server must not stop training; gaps are filled later
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

import pyarrow.parquet as pq
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from study.plan import Entry, Plan
from study.projection import Value, run_name, score_table, summary_metrics, trial_metrics, trial_params, trial_tags
from trainables import Folder

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
BATCH = 900
"""Metrics per call; MLflow accepts 1000."""
LAYOUT, FLAT = "layout", "flat"
"""Tag of experiments in this layout. Earlier versions nested runs and set no such tag."""
LIBRARIES = ("compression-study", "torch", "torchvision", "opencv-python-headless", "pillow", "numpy", "ray", "mlflow")


def default_uri(storage: Folder) -> str:
    """The tracking store of a study without a server: SQLite beside the trials, or under `runs` for remote storage."""
    return f"sqlite:///{(storage.local or Path('runs').resolve()) / 'mlflow.db'}"


class Tracker:
    """Writes the runs of one study."""

    def __init__(self, uri: str, plan: Plan) -> None:
        self._plan = plan
        beside = Path(uri.removeprefix("sqlite:///")).parent if uri.startswith("sqlite:///") else None
        if beside is not None:
            beside.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=uri)
        # A store without a server would put artifacts into the launch directory.
        self._experiment = self._open(None if beside is None else (beside / "artifacts").resolve().as_uri())
        self._environment = {"versions": json.dumps(_versions()), "git_commit": _git_commit()}
        self._summary = self._find("tags.kind = 'summary'") or self._client.create_run(
            self._experiment, run_name=f"{plan.space.name} summary", tags={"kind": "summary"}
        )
        self._runs: dict[str, Run] = {}
        self._logged: dict[str, int] = {}
        self._statuses: dict[str, Status] = {}

    def _open(self, artifacts: str | None) -> str:
        """The study's experiment. One of the earlier, nested layout is renamed out of the way, `NAME (earlier)`."""
        name = self._plan.space.name
        found = self._client.get_experiment_by_name(name)
        if found is not None and found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        if found is not None and found.tags.get(LAYOUT) == FLAT:
            return str(found.experiment_id)
        if found is not None:
            earlier, number = f"{name} (earlier)", 2
            while self._client.get_experiment_by_name(earlier) is not None:
                earlier, number = f"{name} (earlier {number})", number + 1
            self._client.rename_experiment(found.experiment_id, earlier)
        return str(self._client.create_experiment(name, artifact_location=artifacts, tags={LAYOUT: FLAT}))

    def project(self, entry: Entry, status: Status) -> None:
        """Bring a trial's run up to date with its folder."""
        folder = self._plan.folder(entry)
        if folder is None:
            return
        run_id = self._run(entry).info.run_id
        metrics = list(trial_metrics(entry, folder))
        fresh = metrics[self._logged.get(run_id, 0) :]
        self._log(run_id, fresh)
        self._logged[run_id] = len(metrics)
        if self._statuses.get(run_id) == status and not fresh:
            return
        if status == "FINISHED":
            with tempfile.TemporaryDirectory() as scratch:
                if entry.conditions:
                    table = Path(scratch, "scores.parquet")
                    pq.write_table(score_table(entry, folder), table)
                    self._client.log_artifact(run_id, str(table))
                for name in sorted(folder.folder.names()):
                    if name.startswith("panels/"):
                        panel = Path(scratch, name.removeprefix("panels/"))
                        panel.write_bytes(folder.folder.read(name))
                        self._client.log_artifact(run_id, str(panel), "panels")
        if status == "FAILED":
            self._client.set_tag(run_id, "failure", (folder.failure() or "unknown")[:5000])
        if status == "RUNNING":
            self._client.update_run(run_id, status)
        else:
            self._client.set_terminated(run_id, status)
        self._statuses[run_id] = status

    def end_orphans(self) -> None:
        """End the runs that are marked as running but are not: a killed launch left them so."""
        for run in self._client.search_runs([self._experiment], "tags.kind = 'trial' and attributes.status = 'RUNNING'"):
            if self._statuses.get(run.info.run_id) != "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")

    def summarise(self, status: Status) -> None:
        """Update the summary run."""
        self._log(self._summary.info.run_id, summary_metrics(self._plan))
        self._client.set_terminated(self._summary.info.run_id, status)

    def _log(self, run_id: str, values: Sequence[Value]) -> None:
        for start in range(0, len(values), BATCH):
            metrics = [Metric(each.name, each.value, each.time, each.step) for each in values[start : start + BATCH]]
            self._client.log_batch(run_id, metrics=metrics)

    def _run(self, entry: Entry) -> Run:
        """The trial's run, found by its key, or created."""
        trial = self._plan.trial(entry)
        if trial is None:
            raise ValueError(f"{entry}: its hyper-parameters are not known yet")
        if trial.key not in self._runs:
            run = self._find(f"tags.trial = '{trial.key}'") or self._client.create_run(
                self._experiment, run_name=run_name(entry), tags={"kind": "trial", "trial": trial.key}
            )
            source = self._plan.sources.get(entry.cell.dataset)
            groups = source.test.groups if source else ()
            # A later launch logs finished trials again, but did not make them.
            environment = {} if run.info.status == "FINISHED" else self._environment
            tags = trial_tags(entry, trial, baseline=self._key(entry.baseline), control=self._key(entry.control), groups=groups)
            self._client.log_batch(
                run.info.run_id,
                params=[Param(name, str(value)) for name, value in trial_params(entry, trial).items()],
                tags=[RunTag(name, value) for name, value in (tags | environment).items()],
            )
            self._runs[trial.key] = run
        return self._runs[trial.key]

    def _key(self, entry: Entry | None) -> str:
        trial = None if entry is None else self._plan.trial(entry)
        return "" if trial is None else trial.key

    def _find(self, tags: str) -> Run | None:
        found = self._client.search_runs([self._experiment], tags, max_results=1)
        return found[0] if found else None


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in LIBRARIES}


def _git_commit() -> str:
    """The commit of this checkout, marked where files have changed; empty for an installed wheel."""
    here = Path(__file__).parent
    try:
        described = subprocess.run(  # noqa: S603
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return described.stdout.strip()


def probe(uri: str) -> str:
    """A description of a tracking store, after reading from it and writing to it; nothing is left behind.

    Raises OSError for a folder, sqlite3.Error for a database file, and whatever MLflow's client raises.
    """
    import sqlite3
    from contextlib import closing

    path = Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None
    if path is not None:
        folder = next(parent for parent in path.parents if parent.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
        if not path.exists():
            return f"SQLite, created by the first run; {folder} is writable"
        with closing(sqlite3.connect(path, timeout=5)) as database:
            database.execute("BEGIN IMMEDIATE")  # acquires the write lock, and returns it
            database.rollback()
    client = MlflowClient(tracking_uri=uri)
    experiments = client.search_experiments(max_results=1)
    if path is not None:
        return "SQLite, readable and writable"
    if not experiments:
        return "readable; it is empty, so writing cannot be tried"
    client.set_experiment_tag(experiments[0].experiment_id, "check", "1")
    client.delete_experiment_tag(experiments[0].experiment_id, "check")
    return "readable and writable"
