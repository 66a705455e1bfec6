"""What MLflow holds of a study, as two tables. To read a new tag, add it to `_trial`."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import: nothing leaves this machine unasked
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

FORMAT = b"1"


@dataclass(frozen=True, kw_only=True)
class Results:
    """The finished final trials of one study."""

    study: str
    trials: pd.DataFrame
    """One row a trial, indexed by its key: `cell`, `architecture`, `task`, `codec` (empty for clean), `recipe`, `dataset`, `seed`,
    `epochs`, `metric` (the primary one), `ladder` (codec to levels), `training_levels` (None is clean), `parents`, `control`
    (keys), `setup` (the hyper-parameters and data that trials of one cell share), `ended`."""
    scores: pd.DataFrame
    """One row a trial, condition and metric: `trial`, `codec` (empty for clean), `level` (0 for clean), `metric`, `mode`, `value`,
    `bits_per_pixel`, `bytes_per_item`, `replicates` (an array of the same resamples in every trial on the same data)."""


def studies(tracking_uri: str) -> list[str]:
    """The studies that a tracking store holds."""
    with _asking(tracking_uri) as client:
        return _studies(client)


def _studies(client: MlflowClient) -> list[str]:
    return sorted(experiment.name for experiment in client.search_experiments() if _runs(client, str(experiment.experiment_id)))


def load(tracking_uri: str, study: str) -> Results:
    """Read a study. Raises ValueError where the store does not hold it, or holds no finished trial of it."""
    with _asking(tracking_uri) as client:
        experiment = client.get_experiment_by_name(study)
        runs = _runs(client, str(experiment.experiment_id)) if experiment else []
        if not runs:
            raise ValueError(f"MLflow at {tracking_uri} holds no finished trial of study {study!r}: run it first")
        scores = pd.concat([_scores(client, run) for run in runs], ignore_index=True)
    trials = pd.DataFrame([_trial(run) for run in runs]).set_index("trial")
    return Results(study=study, trials=trials, scores=scores)


@contextmanager
def _asking(tracking_uri: str) -> Iterator[MlflowClient]:
    """A client of a store that exists (MLflow would make a missing sqlite file); its troubles become one-line ValueErrors."""
    database = Path(tracking_uri.removeprefix("sqlite:///"))
    if tracking_uri.startswith("sqlite:///") and not database.is_file():
        raise ValueError(f"{database}: no such store; run a study first, or name its store by --storage or --tracking-uri")
    try:
        yield MlflowClient(tracking_uri=tracking_uri)
    except MlflowException as error:
        raise ValueError(f"MLflow at {tracking_uri} does not answer: {' '.join(str(error).split())[:300]}") from error


def _runs(client: MlflowClient, experiment: str) -> list[Run]:
    """All finished final trials, in the order they started."""
    runs: list[Run] = []
    token = None
    query = "tags.kind = 'trial' and tags.stage = 'final' and attributes.status = 'FINISHED'"
    while True:
        page = client.search_runs([experiment], query, order_by=["attributes.start_time"], page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _trial(run: Run) -> dict[str, Any]:
    params, tags = run.data.params, run.data.tags
    setup = sorted((name, value) for name, value in params.items() if name.startswith("hyper.") or name in {"dataset", "epochs"})
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
        "metric": tags["metric"],
        "ladder": json.loads(tags["ladder"]),
        "training_levels": json.loads(tags["training_levels"]),
        "parents": json.loads(tags["parents"]),
        "control": tags["control"],
        "setup": json.dumps([setup, tags["data_fingerprint"]]),
        "ended": run.info.end_time,
    }


def _scores(client: MlflowClient, run: Run) -> pd.DataFrame:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            path = client.download_artifacts(run.info.run_id, "scores.parquet", scratch)
        except MlflowException as error:
            raise ValueError(f"run {run.info.run_id} has no scores.parquet ({error}): run the study again to repair it") from error
        table = pq.read_table(path)
    if table.schema.metadata.get(b"format") != FORMAT:
        raise ValueError(f"run {run.info.run_id}: scores.parquet is of another format; run the study again with this version")
    frame = table.to_pandas()
    frame["codec"] = frame["codec"].fillna("").astype(str)
    frame["level"] = frame["level"].fillna(0).astype(int)
    frame["replicates"] = [np.asarray(values, float) for values in frame["replicates"]]
    frame["trial"] = run.data.tags["trial"]
    return pd.DataFrame(frame)


def newest_setups(trials: pd.DataFrame) -> pd.DataFrame:
    """Of each cell on each data set the trials of the setup that ended last: the seeds of one contrast must share it."""
    newest = trials.sort_values("ended").groupby(["cell", "dataset"])["setup"].transform("last")
    return pd.DataFrame(trials[trials["setup"] == newest.reindex(trials.index)])
