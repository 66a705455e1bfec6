"""Reads studies from MLflow; the only module of `analysis` that imports it. To read a new parameter or tag, add it to `_trial`."""

import json
import os
import tempfile
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import: MLflow must not send usage reports
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "IProgress not found")  # notebooks only: the progress bar is off, see above
    from mlflow.entities import Run
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

from analysis.results import Results, with_setups

FORMAT = b"1"
"""Format of the artifact `scores.parquet`."""


def studies(tracking_uri: str) -> list[str]:
    """Names of the studies in a tracking store that have a finished trial."""
    with _asking(tracking_uri) as client:
        return _studies(client)


def _studies(client: MlflowClient) -> list[str]:
    return sorted(experiment.name for experiment in client.search_experiments() if _runs(client, str(experiment.experiment_id)))


def load(tracking_uri: str, study: str) -> Results:
    """Read a study. Raises ValueError where the store holds no finished trial of it."""
    with _asking(tracking_uri) as client:
        runs = _finished(client, tracking_uri, study)
        scores = pd.concat([_scores(client, run) for run in runs], ignore_index=True)
        test, validation = (_of_split(scores, split) for split in ("test", "val"))
        trials = pd.DataFrame([_trial(client, run) for run in runs]).set_index("trial")
    return Results(study=study, trials=with_setups(trials), scores=test, validation=validation)


def panels(tracking_uri: str, study: str, trials: Collection[str]) -> dict[tuple[str, str], bytes]:
    """Prediction panels of some trials as PNG bytes by (trial, codec); a trial may have none."""
    found = {}
    with _asking(tracking_uri) as client, tempfile.TemporaryDirectory() as scratch:
        for run in _finished(client, tracking_uri, study):
            if run.data.tags["trial"] not in trials:
                continue
            for artifact in client.list_artifacts(run.info.run_id, "panels"):
                path = Path(client.download_artifacts(run.info.run_id, artifact.path, scratch))
                found[run.data.tags["trial"], path.stem] = path.read_bytes()
    return found


@contextmanager
def _asking(tracking_uri: str) -> Iterator[MlflowClient]:
    """A client of an existing store. MLflow would create a missing sqlite file; its errors become one-line ValueErrors."""
    database = Path(tracking_uri.removeprefix("sqlite:///"))
    if tracking_uri.startswith("sqlite:///") and not database.is_file():
        raise ValueError(f"{database}: no such tracking store: run a study first, or pass --storage or --tracking-uri")
    try:
        yield MlflowClient(tracking_uri=tracking_uri)
    except MlflowException as error:
        raise ValueError(f"MLflow at {tracking_uri} failed: {' '.join(str(error).split())[:300]}") from error


BESIDE = ("schedule.", "withheld")
"""Parameters, by their first letters, that distinguish trainings as hyper-parameters do; older runs have none."""


def _runs(client: MlflowClient, experiment: str) -> list[Run]:
    """All finished trials of the final stage, in the order in which they started."""
    runs: list[Run] = []
    token = None
    query = "tags.kind = 'trial' and tags.stage = 'final' and attributes.status = 'FINISHED'"
    while True:
        page = client.search_runs([experiment], query, order_by=["attributes.start_time"], page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _finished(client: MlflowClient, tracking_uri: str, study: str) -> list[Run]:
    experiment = client.get_experiment_by_name(study)
    runs = _runs(client, str(experiment.experiment_id)) if experiment else []
    if not runs:
        raise ValueError(f"MLflow at {tracking_uri} holds no finished trial of study {study!r}: run it first")
    return runs


def _trial(client: MlflowClient, run: Run) -> dict[str, Any]:
    params, tags = run.data.params, run.data.tags
    try:
        return {
            "trial": tags["trial"],
            "cell": tags["cell"],
            "architecture": params["architecture"],
            "task": params["task"],
            "codec": params["codec"],
            "recipe": params["recipe"],
            "dataset": params["dataset"],
            "seed": int(params["seed"]),
            "epochs": int(params["epochs"]),
            "initial": params["initial"],
            "metric": tags["metric"],
            "ladder": json.loads(tags["ladder"]),
            "training_levels": json.loads(tags["training_levels"]),
            "role": tags["role"],
            "streams": " + ".join(json.loads(tags["streams"])),
            "recalibrated": json.loads(tags["recalibrated"]),
            "parents": json.loads(tags["parents"]),
            "baseline": tags["baseline"],
            "control": tags["control"],
            "hyper": _named(params, "hyper.") | {name: params[name] for name in sorted(params) if name.startswith(BESIDE)},
            "numerics": _named(params, "numerics."),
            "data_fingerprint": tags["data_fingerprint"],
            "codec_identity": json.loads(tags["codec_identity"]),
            "group_sizes": _group_sizes(json.loads(tags.get("group_sizes", "{}"))),
            "versions": json.loads(tags["versions"]),
            "git_commit": tags["git_commit"],
            "scored": _time_of(client, run, f"test/clean/{tags['metric']}"),
            "ended": run.info.end_time,
        }
    except KeyError as error:
        raise ValueError(f"MLflow run {run.info.run_id} has no {error}: run the study again to repair it") from error


def _group_sizes(counts: Mapping[str, int]) -> list[int]:
    """The size of each group, largest first, from the number of groups by size; older runs state none."""
    return [size for size in sorted(map(int, counts), reverse=True) for _ in range(counts[str(size)])]


def _time_of(client: MlflowClient, run: Run, metric: str) -> int:
    """When a metric was logged, in milliseconds since 1970; later launches do not change it."""
    history = client.get_metric_history(run.info.run_id, metric)
    if not history:
        raise KeyError(metric)
    return int(history[-1].timestamp)


def _named(params: Mapping[str, str], prefix: str) -> dict[str, str]:
    """The parameters that start with a prefix, sorted and without the prefix."""
    return {name.removeprefix(prefix): params[name] for name in sorted(params) if name.startswith(prefix)}


def _scores(client: MlflowClient, run: Run) -> pd.DataFrame:
    """The scores of a run on validation and test, told apart by the column `split`."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = client.download_artifacts(run.info.run_id, "scores.parquet", scratch)
        except MlflowException as error:
            raise ValueError(
                f"MLflow run {run.info.run_id} has no scores.parquet ({error}): run the study again to repair it"
            ) from error
        table = pq.read_table(path)
    metadata = table.schema.metadata or {}
    if metadata.get(b"format") != FORMAT:
        had, known = metadata.get(b"format", b"none").decode(), FORMAT.decode()
        raise ValueError(
            f"MLflow run {run.info.run_id}: scores.parquet has format {had}, but this version reads format {known}: "
            "run the study again with this version"
        )
    frame = table.to_pandas()
    if "split" not in frame:  # older artifacts hold test scores only
        frame["split"] = "test"
    frame["codec"] = frame["codec"].fillna("").astype(str)
    frame["level"] = frame["level"].fillna(0).astype(int)
    frame["replicates"] = [np.asarray(values, float) for values in frame["replicates"]]
    frame["trial"] = run.data.tags["trial"]
    return pd.DataFrame(frame)


def _of_split(scores: pd.DataFrame, split: str) -> pd.DataFrame:
    return pd.DataFrame(scores[scores["split"] == split].drop(columns="split").reset_index(drop=True))
