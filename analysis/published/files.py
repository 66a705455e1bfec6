"""Compact files of results, `docs/results/NAME.parquet`: one per task, small enough to commit.

A file has one row per trial, split (test or validation), condition and metric, and repeats the trial's own columns in each row.
Bootstrap replicates are kept for the primary metric on the test split only. The file's metadata state where the figures come from
(`Origin`).
"""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.provenance import commands
from analysis.recovery import Study
from analysis.results import NESTED, Results

FORMAT = b"2"
"""Format of the files that `write` writes."""
LIMIT = 2**20
"""Largest file in bytes."""
SCORE = {"codec": "scored_codec", "level": "scored_level", "metric": "scored_metric"}
"""Columns of `Results.scores` that have another name in a file, where a trial has columns of the same name."""
TEST, VALIDATION = "test", "val"
"""Values of the column `split`."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the figures of a file come from, in words."""

    study: str
    processor: str
    commit: str
    """Commits of the trials, separated by commas."""
    date: str
    """The day on which the last trial was scored, YYYY-MM-DD in UTC."""
    command: str
    """Commands that reproduce the trials, one per line."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """The contents of one file. `results.scores` has replicates for the primary metrics; all others are empty arrays."""

    name: str
    results: Results
    origin: Origin


def processor() -> str:
    """Model name of this machine's processor, as Linux states it; elsewhere the architecture."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return " ".join((models or [platform.processor() or platform.machine()])[0].split())


def joined(exports: Mapping[str, Results]) -> Results:
    """The results of several exports as one: trials are joined by key, their scores by condition and metric.

    `exports` maps a name, such as the export's folder, to its results. The trials gain a column `study`. Raises ValueError where
    two exports have different values for the same score.
    """
    trials = pd.concat([each.trials.assign(study=each.study) for each in exports.values()])
    return Results(
        study=", ".join(dict.fromkeys(each.study for each in exports.values())),
        trials=trials[~trials.index.duplicated()],
        scores=_joined_scores({name: each.scores for name, each in exports.items()}),
        validation=_joined_scores({name: each.validation for name, each in exports.items()}),
    )


def _joined_scores(exports: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    scores = pd.concat([each.assign(export=name) for name, each in exports.items()], ignore_index=True)
    for (trial, *_), same in scores[scores.duplicated(["trial", *SCORE], keep=False)].groupby(["trial", *SCORE]):
        if len(set(same["value"].dropna())) > 1 or same["value"].isna().any() != same["value"].isna().all():
            first, other = same["export"].iloc[[0, -1]]
            raise ValueError(f"trial {trial} has other scores in {other} than in {first}: leave one of them out")
    return scores.drop_duplicates(["trial", *SCORE], ignore_index=True).drop(columns="export")


def write(
    results: Results,
    folder: Path,
    *,
    prefix: str = "",
    origin: Mapping[str, str] | None = None,
    by_name: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write one file per task, `PREFIX` + `TASK.parquet`, and return their paths. `results` come from `joined`.

    Only trials that take part in the tables are written: those of the newest setup, on the newest ladder.

    Args:
        results: trials with a column `study`.
        folder: created where it does not exist.
        prefix: first part of each file's name.
        origin: fields of `Origin` that replace the values computed from the trials and this machine.
        by_name: commands by file name without suffix; they replace those computed from the trials.

    Raises:
        ValueError: a file would exceed `LIMIT`, or `by_name` names no file.

    """
    kept = _taking_part(results)
    names = {f"{prefix}{task}": str(task) for task in dict.fromkeys(kept["task"])}
    given, stated = by_name or {}, origin or {}
    for name in given:
        if name not in names:
            raise ValueError(f"command for {name!r}: no such file; the files are {', '.join(names)}")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, task in names.items():
        trials = kept[kept["task"] == task]
        facts = replace(_origin(trials), **stated)
        paths.append(_write(folder / f"{name}.parquet", trials, results, replace(facts, command=given.get(name, facts.command))))
    return paths


def load(path: Path) -> Published:
    """Read a file. Raises ValueError in one line where it does not exist or has another format."""
    remedy = f"write it with `python -m analysis.published export EXPORT {path.parent}`"
    if not path.is_file():
        raise ValueError(f"{path}: no such file: {remedy}")
    try:
        table = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a parquet file ({' '.join(str(error).split())}): {remedy}") from error
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if metadata.get("format") != FORMAT.decode():
        raise ValueError(f"{path}: format {metadata.get('format')}, but this version reads format {FORMAT.decode()}: {remedy}")
    origin = Origin(**{each.name: metadata[each.name] for each in fields(Origin)})
    rows = table.to_pandas()
    own = [name for name in rows if name in json.loads(metadata["trial_columns"])]
    trials = rows.drop_duplicates("trial").set_index("trial")[own]
    for name in NESTED:
        trials[name] = trials[name].map(json.loads)
    both = rows.drop(columns=own).rename(columns={new: old for old, new in SCORE.items()})
    both["replicates"] = [np.asarray([] if values is None else values, float) for values in both["replicates"]]
    scores, validation = (both[both["split"] == split].drop(columns="split").reset_index(drop=True) for split in (TEST, VALIDATION))
    return Published(
        name=path.stem, results=Results(study=origin.study, trials=trials, scores=scores, validation=validation), origin=origin
    )


# --- inside -----------------------------------------------------------------------------------------------------------


def _taking_part(results: Results) -> pd.DataFrame:
    """The trials that a study's tables are made of, with their baselines, controls and other parents."""
    columns = [results.trials[name] for name in ("baseline", "control", "parents")]
    needs = {
        str(key): (baseline, control, *parents)
        for key, baseline, control, parents in zip(results.trials.index, *columns, strict=True)
    }
    wanted, waiting = set[str](), [str(key) for key in Study(results).trials.index]
    while waiting:
        key = waiting.pop()
        if key in needs and key not in wanted:
            wanted.add(key)
            waiting += needs[key]
    return results.trials[results.trials.index.isin(wanted)]


def _origin(trials: pd.DataFrame) -> Origin:
    """The origin of trials that were run on this machine."""
    last = datetime.fromtimestamp(trials["scored"].max() / 1000, UTC)
    lines = [line for study, of_one in trials.groupby("study", sort=False) for line in commands(of_one, str(study))]
    return Origin(
        study=", ".join(dict.fromkeys(trials["study"])),
        processor=processor(),
        commit=", ".join(dict.fromkeys(commit or "none (installed package)" for commit in trials["git_commit"])),
        date=last.strftime("%Y-%m-%d"),
        command="\n".join(lines),
    )


def _write(path: Path, trials: pd.DataFrame, results: Results, origin: Origin) -> Path:
    flat = trials.assign(**{name: trials[name].map(json.dumps) for name in NESTED})
    scores = pd.concat([results.scores.assign(split=TEST), results.validation.assign(split=VALIDATION)], ignore_index=True)
    rows = scores[scores["trial"].isin(trials.index)].rename(columns=SCORE).merge(flat, left_on="trial", right_index=True)
    primary = (rows["scored_metric"] == rows["metric"]) & (rows["split"] == TEST)
    kept = [np.asarray(values, np.float32) if own else None for values, own in zip(rows["replicates"], primary, strict=True)]
    replicates = pa.array(kept, pa.list_(pa.float32()))
    table = pa.Table.from_pandas(rows.drop(columns="replicates"), preserve_index=False).append_column("replicates", replicates)
    metadata = {"format": FORMAT.decode(), **asdict(origin), "trial_columns": json.dumps(list(trials.columns))}
    # A dictionary of the replicates would be larger than the replicates, since most of them differ.
    repeated = [name for name in table.column_names if name != "replicates"]
    options = {"use_dictionary": repeated, "use_byte_stream_split": ["replicates.list.element"]}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="zstd", compression_level=19, **options)
    if path.stat().st_size > LIMIT:
        size = path.stat().st_size
        path.unlink()
        raise ValueError(f"{path}: {size:,} bytes, but a file may have {LIMIT:,}: export fewer trials")
    return path
