"""A study's results as three tables, and their parquet export, which analysis can read without MLflow.

`analysis.tracking` reads the tables from MLflow. A new column of lists or dicts must be added to `NESTED`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

FORMAT = b"3"
"""Format of the files that `export` writes."""
NESTED = ("ladder", "training_levels", "parents", "hyper", "numerics", "codec_identity", "versions", "group_sizes")
"""Columns of `trials` that hold lists and dicts; the export stores them as JSON."""
SCORE_TYPES = {
    **dict.fromkeys(("trial", "codec"), "str"),
    "level": "int64",
    **dict.fromkeys(("metric", "mode"), "str"),
    **dict.fromkeys(("value", "bits_per_pixel", "stream_bits_per_pixel", "bytes_per_item"), "float64"),
    "replicates": "object",
}
"""Columns of a table of scores, with their types."""


def no_scores() -> pd.DataFrame:
    """A table of scores without rows."""
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in SCORE_TYPES.items()})


@dataclass(frozen=True, kw_only=True)
class Results:
    """The finished trials of one study's final stage."""

    study: str
    trials: pd.DataFrame
    """One row per trial, indexed by its key.

    - `cell`, `architecture`, `task`, `codec` (empty for clean), `recipe`, `dataset`, `seed`, `epochs`
    - `initial`: initial weights of a trial without parents
    - `metric`: the primary metric
    - `ladder`: the levels tested per codec, mildest first
    - `training_levels`: None stands for clean
    - `role`: baseline, continued or retrained
    - `streams`: the streams of a fusion that followed the recipe
    - `recalibrated`: whether only batch-norm statistics changed
    - `parents`, `baseline`, `control`: keys of other trials
    - `hyper`, `numerics`, `data_fingerprint`, `codec_identity` (per condition), `versions` (per library), `git_commit`
    - `group_sizes`: the number of test items in each group that is resampled whole, largest first; empty where it is unknown
    - `setup`: everything that seeds of one contrast must share, including the setups of their parents
    - `scored`, `ended`: when clean was scored and when the run last ended, in milliseconds since 1970
    """
    scores: pd.DataFrame
    """One row per trial, condition and metric, on the test split. All tables and figures are made from these.

    `trial`, `codec` (empty for clean), `level` (0 for clean), `metric`, `mode`, `value`, `bits_per_pixel`, `stream_bits_per_pixel`,
    `bytes_per_item`, `replicates` (values on bootstrap resamples; trials on the same data share the resamples).
    """
    validation: pd.DataFrame = field(default_factory=no_scores)
    """The same on the validation split; without the trials that were scored before validation was."""


def export(results: Results, folder: Path) -> None:
    """Write `trials.parquet`, `scores.parquet` (test) and `validation.parquet` to a folder; `load_export` reads them."""
    trials = results.trials.reset_index()
    for name in NESTED:
        trials[name] = trials[name].map(json.dumps)
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("trials", trials), ("scores", results.scores), ("validation", results.validation)):
        table = pa.Table.from_pandas(frame, preserve_index=False)
        metadata = {b"format": FORMAT, b"study": results.study.encode()}
        pq.write_table(table.replace_schema_metadata(metadata), folder / f"{name}.parquet")


def load_export(folder: Path) -> Results:
    """Read the results that `export` wrote to a folder.

    Raises ValueError where the folder holds no export, an export of another format, or files of several studies.
    """
    study, trials = _exported(folder / "trials.parquet")
    tables = {}
    for table in ("scores", "validation"):
        other, tables[table] = _exported(folder / f"{table}.parquet")
        if other != study:
            raise ValueError(
                f"{folder}: trials.parquet is of study {study!r}, {table}.parquet of {other!r}: write all again with `study report`"
            )
        tables[table]["replicates"] = tables[table]["replicates"].map(lambda values: np.asarray(values, float))
    for name in NESTED:
        trials[name] = trials[name].map(json.loads)
    return Results(study=study, trials=trials.set_index("trial"), **tables)


def _exported(path: Path) -> tuple[str, pd.DataFrame]:
    """The name of the study that a file belongs to, and the file's table."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file: write it with `study report`")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not a parquet file ({reason}): write it again with `study report`") from error
    metadata = table.schema.metadata or {}
    if metadata.get(b"format") != FORMAT:
        had, known = metadata.get(b"format", b"none").decode(), FORMAT.decode()
        raise ValueError(f"{path}: format {had}, but this version reads format {known}: write it again with `study report`")
    return metadata[b"study"].decode(), table.to_pandas()


def with_setups(trials: pd.DataFrame) -> pd.DataFrame:
    """Add the column `setup`: data, training and codec identities of the training levels, followed by the parents' setups."""
    rows = trials.to_dict("index")

    def setup(key: str) -> list[Any]:
        row = rows[key]
        seen = [row["codec_identity"].get(f"{row['codec']}-{level}") for level in row["training_levels"] if level]
        own = [row[name] for name in ("dataset", "data_fingerprint", "epochs", "initial", "hyper", "numerics")]
        return [*own, seen, *(setup(parent) for parent in row["parents"] if parent in rows)]

    return trials.assign(setup=[json.dumps(setup(str(key))) for key in trials.index])


def newest_setups(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials of the setup that ended last, per cell and data set: seeds of one contrast must share their setup."""
    newest = trials.sort_values("ended").groupby(["cell", "dataset"])["setup"].transform("last")
    return pd.DataFrame(trials[trials["setup"] == newest.reindex(trials.index)])


def on_newest_ladders(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials tested on the ladder of the trial that ended last, per architecture, data set and codec.

    Trials on another ladder were run before the study's ladder changed.
    """
    newest: dict[tuple[str, str, str], list[int]] = {}
    for _, row in trials.sort_values("ended", kind="stable").iterrows():
        newest.update({(row["architecture"], row["dataset"], codec): levels for codec, levels in row["ladder"].items()})
    columns = (trials[name] for name in ("architecture", "dataset", "ladder"))
    kept = [
        all(newest[architecture, dataset, codec] == levels for codec, levels in ladder.items())
        for architecture, dataset, ladder in zip(*columns, strict=True)
    ]
    return trials[kept]
