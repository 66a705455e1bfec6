"""MLflow as a projection of the trials' folders: the one module that writes to it.

Everything logged comes from a folder, with the folder's own times. MLflow keeps equal (key, time, step, value) once, so projecting
again repairs what an interruption left out and doubles nothing. To log something new, add it to `_metrics` or `_tags`.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib import metadata
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import: nothing leaves this machine unasked
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a dead server must not stop training; it is repaired later
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.tracking import MlflowClient

from study.plan import Entry, Plan
from trainables import CODECS, Condition, Folder, TrialFolder, find_dataset, identity_of

Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
BATCH = 900
"""Metrics a call; MLflow takes 1000."""
LIBRARIES = ("compression-study", "torch", "torchvision", "opencv-python-headless", "pillow", "numpy", "ray", "mlflow")


def default_uri(storage: Folder) -> str:
    """The tracking store of a study without a server: sqlite beside the trials, or under `runs` where they lie elsewhere."""
    return f"sqlite:///{(storage.local or Path('runs').resolve()) / 'mlflow.db'}"


class Tracker:
    """One experiment for the study, one parent run for the stage, one nested run for each trial, for ever."""

    def __init__(self, uri: str, plan: Plan) -> None:
        self._plan = plan
        beside = Path(uri.removeprefix("sqlite:///")).parent if uri.startswith("sqlite:///") else None
        if beside is not None:
            beside.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri=uri)
        experiment = self._client.get_experiment_by_name(plan.space.name)
        if experiment is None:
            # A store without a server would put artifacts into the launch directory.
            place = (beside / "artifacts").resolve().as_uri() if beside is not None else None
            self._experiment = self._client.create_experiment(plan.space.name, artifact_location=place)
        else:
            self._experiment = str(experiment.experiment_id)
        self._environment = {"versions": json.dumps(_versions()), "git_commit": _git_commit()}
        self._parent = self._find("tags.kind = 'stage' and tags.stage = 'final'") or self._client.create_run(
            self._experiment, run_name=f"{plan.space.name} final", tags={"kind": "stage", "stage": "final"}
        )
        self._runs: dict[str, Run] = {}
        self._logged: dict[str, int] = {}
        self._statuses: dict[str, Status] = {}

    def project(self, entry: Entry, status: Status) -> None:
        """Bring a trial's run up to what its folder holds."""
        folder = self._plan.folder(entry.trial)
        run_id = self._run(entry).info.run_id
        metrics = list(_metrics(entry, folder))
        fresh = metrics[self._logged.get(run_id, 0) :]
        for start in range(0, len(fresh), BATCH):
            self._client.log_batch(run_id, metrics=fresh[start : start + BATCH])
        self._logged[run_id] = len(metrics)
        if self._statuses.get(run_id) == status and not fresh:
            return
        if status == "FINISHED":
            with tempfile.TemporaryDirectory() as scratch:
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

    def orphans(self) -> None:
        """End the runs that still say they are running but are not: a killed launch left them so."""
        for run in self._client.search_runs([self._experiment], "tags.kind = 'trial' and attributes.status = 'RUNNING'"):
            if self._statuses.get(run.info.run_id) != "RUNNING":
                self._client.set_terminated(run.info.run_id, "KILLED")

    def finish(self, status: Status) -> None:
        """Sum the stage up on its parent run, whose charts are the first that MLflow shows."""
        run_id = self._parent.info.run_id
        metrics = _summary(self._plan)
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        self._client.set_terminated(run_id, status)

    def _run(self, entry: Entry) -> Run:
        """The trial's run, found by its key, made where there is none."""
        key = entry.trial.key
        if key not in self._runs:
            run = self._find(f"tags.trial = '{key}'")
            if run is None:
                tags = {"kind": "trial", "trial": key, "mlflow.parentRunId": self._parent.info.run_id}
                run = self._client.create_run(self._experiment, run_name=f"{entry.cell.name} seed {entry.seed}", tags=tags)
            run_id = run.info.run_id
            tags = _tags(entry) | self._environment
            self._client.log_batch(
                run_id,
                params=[Param(name, str(value)) for name, value in _params(entry).items()],
                tags=[RunTag(name, value) for name, value in tags.items()],
            )
            self._runs[key] = run
        return self._runs[key]

    def _find(self, tags: str) -> Run | None:
        found = self._client.search_runs([self._experiment], tags, max_results=1)
        return found[0] if found else None


def _params(entry: Entry) -> dict[str, Any]:
    """The cell and the hyper-parameters."""
    trial, architecture = entry.trial, entry.cell.architecture
    return {
        "architecture": architecture.name,
        "task": architecture.task,
        "codec": trial.codec or "",
        "recipe": trial.recipe,
        "dataset": find_dataset(trial.dataset).name,
        "seed": trial.seed,
        "epochs": trial.epochs,
        "initial": trial.initial,
        **{f"hyper.{name}": value for name, value in trial.hyper.items()},
        **{f"numerics.{name}": value for name, value in asdict(trial.numerics).items()},
    }


def _tags(entry: Entry) -> dict[str, str]:
    """All that analysis needs beside parameters and scores, since it splits no name and imports no table."""
    trial, architecture, recipe = entry.trial, entry.cell.architecture, entry.cell.recipe
    codecs = {condition.codec: None for condition in entry.conditions if condition.codec}
    return {
        "stage": trial.stage,
        "cell": entry.cell.name,
        "metric": architecture.metric,
        "modes": json.dumps(dict(architecture.metrics)),
        "ladder": json.dumps({codec: CODECS[codec].levels for codec in codecs}),
        "training_levels": json.dumps(recipe.seen),
        "role": recipe.role,
        "streams": json.dumps(recipe.streams),
        "recalibrated": json.dumps(recipe.recalibrated),
        "codec_identity": json.dumps({str(condition): identity_of(condition) for condition in entry.conditions}),
        "data_fingerprint": trial.fingerprint,
        "parents": json.dumps(trial.parents),
        "baseline": entry.baseline.trial.key if entry.baseline else "",
        "control": entry.control.trial.key if entry.control else "",
    }


def _metrics(entry: Entry, folder: TrialFolder) -> Iterator[Metric]:
    """Everything in a folder as metrics, epochs first, in an order that only grows at its end."""
    for record in folder.history():
        values = {f"train/{name}": value for name, value in record["losses"].items()}
        values |= {f"val/{name}": value for name, value in record["validation"].items()}
        values |= {"seconds": record["seconds"], "waiting": record["waiting"]}
        for name, value in values.items():
            yield Metric(name, value, _milliseconds(record["time"]), record["epoch"])
    scores = folder.scores(entry.conditions)
    for record in scores:
        time, codec, level = _milliseconds(record["time"]), record["codec"], record["level"]
        for name, value in record["metrics"].items():
            yield Metric(f"test/{codec or 'clean'}/{name}", value, time, level or 0)
        for name, value in record.get("chosen", {}).items():
            yield Metric(f"chosen/{codec or 'clean'}/{name}", value, time, level or 0)
        if codec:
            yield Metric(f"rate/{codec}", record["bits_per_pixel"], time, level)
            if record["stream_bits_per_pixel"] is not None:
                yield Metric(f"rate/{codec}/stream", record["stream_bits_per_pixel"], time, level)
    yield from _means(scores, entry)


def _means(records: Sequence[Mapping[str, Any]], entry: Entry) -> Iterator[Metric]:
    """Means over each complete ladder: the run list shows of a metric only its largest step."""
    for codec in dict.fromkeys(record["codec"] for record in records if record["codec"]):
        of_codec = [record for record in records if record["codec"] == codec]
        if len(of_codec) == sum(condition.codec == codec for condition in entry.conditions):
            time = max(_milliseconds(record["time"]) for record in of_codec)
            for name in of_codec[0]["metrics"]:
                yield Metric(f"test/{codec}/{name}_mean", fmean(record["metrics"][name] for record in of_codec), time, 0)


def score_table(entry: Entry, folder: TrialFolder) -> pa.Table:
    """A trial's scores, a row for each condition and metric, with the bootstrap replicates as a list."""
    rows = [
        {
            "codec": record["codec"],
            "level": record["level"],
            "metric": name,
            "mode": entry.cell.architecture.metrics[name],
            "value": value,
            "bits_per_pixel": record["bits_per_pixel"],
            "stream_bits_per_pixel": record["stream_bits_per_pixel"],
            "bytes_per_item": record["bytes_per_item"],
            "replicates": record["replicates"][name],
        }
        for record in folder.scores(entry.conditions)
        for name, value in record["metrics"].items()
    ]
    schema = pa.schema(
        [
            ("codec", pa.string()),
            ("level", pa.int64()),
            ("metric", pa.string()),
            ("mode", pa.string()),
            ("value", pa.float64()),
            ("bits_per_pixel", pa.float64()),
            ("stream_bits_per_pixel", pa.float64()),
            ("bytes_per_item", pa.float64()),
            ("replicates", pa.list_(pa.float64())),
        ],
        metadata={"format": "1"},
    )
    return pa.Table.from_pylist(rows, schema=schema)


def _summary(plan: Plan) -> list[Metric]:
    """Each cell's primary metric over the ladder, averaged over the seeds that are done."""
    values: dict[tuple[str, Condition], list[float]] = {}
    times: dict[tuple[str, Condition], int] = {}
    for entry in plan.entries:
        for record in plan.folder(entry.trial).scores(entry.conditions) if plan.state(entry) == "done" else ():
            key = (entry.cell.name, Condition(codec=record["codec"], level=record["level"]))
            values.setdefault(key, []).append(record["metrics"][entry.cell.architecture.metric])
            times[key] = max(times.get(key, 0), _milliseconds(record["time"]))
    return [
        Metric(f"{condition.codec or 'clean'}/{cell}", fmean(of_seeds), times[cell, condition], condition.level or 0)
        for (cell, condition), of_seeds in values.items()
    ]


def _milliseconds(time: str) -> int:
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def _versions() -> dict[str, str]:
    return {name: metadata.version(name) for name in LIBRARIES}


def _git_commit() -> str:
    """The commit of this checkout, marked where it has changes; empty for an installed wheel."""
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
    """What a tracking store is, after reading from it and writing to it; nothing is left behind.

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
            return f"sqlite, made by the first run; {folder} is writable"
        with closing(sqlite3.connect(path, timeout=5)) as database:
            database.execute("BEGIN IMMEDIATE")  # takes the right to write, and gives it back
            database.rollback()
    client = MlflowClient(tracking_uri=uri)
    experiments = client.search_experiments(max_results=1)
    if path is not None:
        return "sqlite, readable and writable"
    if not experiments:
        return "readable; nothing in it yet to try writing to"
    client.set_experiment_tag(experiments[0].experiment_id, "check", "1")
    client.delete_experiment_tag(experiments[0].experiment_id, "check")
    return "readable and writable"
