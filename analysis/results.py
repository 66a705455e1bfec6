"""The results of a study as two tables, and the same as two parquet files, with which analysis works without MLflow.

`analysis.tracking` reads them from MLflow. A new column whose values are lists or dicts is named in `NESTED` too.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FORMAT = b"1"
"""Of the files that `export` writes."""
NESTED = ("ladder", "training_levels", "parents", "hyper", "numerics", "codec_identity", "versions")
"""Columns of `trials` whose values are lists and dicts: JSON in the export."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """The finished final trials of one study."""

    study: str
    trials: pd.DataFrame
    """One row a trial, indexed by its key: `cell`, `architecture`, `task`, `codec` (empty for clean), `recipe`, `dataset`, `seed`,
    `epochs`, `initial` (what its weights started from, where it has no parents), `metric` (the primary one), `ladder` (codec to
    levels), `training_levels` (None is clean), `role` (baseline, continued or retrained), `streams` (of a fusion, those
    that followed the recipe), `recalibrated` (whether nothing but
    batch-norm statistics changed), `parents`, `baseline`, `control` (keys), `hyper`, `numerics`, `data_fingerprint`,
    `codec_identity` (by condition), `versions` (of libraries), `git_commit`, `setup` (all that trials of one cell must share to be
    seeds of one contrast, their parents' included), `scored` and `ended` (when clean was scored and when the run was last ended,
    in milliseconds since 1970)."""
    scores: pd.DataFrame
    """One row a trial, condition and metric: `trial`, `codec` (empty for clean), `level` (0 for clean), `metric`, `mode`, `value`,
    `bits_per_pixel`, `bytes_per_item`, `replicates` (an array of the same resamples in every trial on the same data)."""


def export(results: Results, folder: Path) -> None:
    """Write `trials.parquet` and `scores.parquet` into a folder, for `load_export`."""
    trials = results.trials.reset_index()
    for name in NESTED:
        trials[name] = trials[name].map(json.dumps)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("trials", trials), ("scores", results.scores)):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        metadata = {b"format": FORMAT, b"study": results.study.encode()}
        pq.write_table(table.replace_schema_metadata(metadata), folder / f"{name}.parquet")


def load_export(folder: Path) -> Results:
    """Read what `export` wrote, equal to what it was given.

    Raises ValueError where the folder holds no export, or one of another format, or the files of two studies.
    """
    (study, trials), (other, scores) = (_exported(folder / f"{name}.parquet") for name in ("trials", "scores"))
    if study != other:
        raise ValueError(
            f"{folder}: trials.parquet is of study {study!r}, scores.parquet of {other!r}; write both anew: study report"
        )
    for name in NESTED:
        trials[name] = trials[name].map(json.loads)
    scores["replicates"] = scores["replicates"].map(lambda values: np.asarray(values, float))
    return Results(study=study, trials=trials.set_index("trial"), scores=scores)


def _exported(path: Path) -> tuple[str, pd.DataFrame]:
    """The study that a file is of, and its table."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file; `study report` writes it")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: no parquet file ({' '.join(str(error).split())}); write it anew: study report") from error
    metadata = table.schema.metadata or {}
    if metadata.get(b"format") != FORMAT:
        had, known = metadata.get(b"format", b"none").decode(), FORMAT.decode()
        raise ValueError(f"{path}: its format is {had}, this version reads {known}; write it anew: study report")
    return metadata[b"study"].decode(), table.to_pandas()


def with_setups(trials: pd.DataFrame) -> pd.DataFrame:
    """Add `setup`. A codec's identity counts where it was trained on; a parent counts as what it was trained from and how."""
    rows = trials.to_dict("index")

    def setup(key: str) -> list[Any]:
        row = rows[key]
        seen = [row["codec_identity"].get(f"{row['codec']}-{level}") for level in row["training_levels"] if level]
        own = [row[name] for name in ("dataset", "data_fingerprint", "epochs", "initial", "hyper", "numerics")]
        return [*own, seen, *(setup(parent) for parent in row["parents"] if parent in rows)]

    return trials.assign(setup=[json.dumps(setup(str(key))) for key in trials.index])


def newest_setups(trials: pd.DataFrame) -> pd.DataFrame:
    """Of each cell on each data set the trials of the setup that ended last: the seeds of one contrast must share it."""
    newest = trials.sort_values("ended").groupby(["cell", "dataset"])["setup"].transform("last")
    return pd.DataFrame(trials[trials["setup"] == newest.reindex(trials.index)])
