"""A trial's folder as MLflow shows it: metrics, parameters, tags, the score table. Pure functions.

To log something new, add it to `trial_metrics`, `trial_params` or `trial_tags`.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from statistics import fmean
from typing import Any, NamedTuple

import pyarrow as pa

from study.plan import Entry, Plan
from trainables import Architecture, Condition, SplitName, Trial, TrialFolder, find_codec, find_dataset, identity_of, label


class Value(NamedTuple):
    """One value of a metric."""

    name: str
    value: float
    time: int
    """Milliseconds since 1970."""
    step: int


def run_name(entry: Entry) -> str:
    """Name of a trial's run, with the difference first: `constant-5 · segnet · s0`."""
    cell = entry.cell
    several = len({condition.codec for condition in entry.conditions} - {None}) > 1
    codec = [cell.codec.name] if several and cell.codec else []
    return " · ".join([cell.recipe.name, *codec, cell.architecture.name, f"s{entry.seed}", *entry.stage_words])


def trial_params(entry: Entry, trial: Trial) -> dict[str, Any]:
    """The cell and its hyper-parameters, those at their default included."""
    architecture = entry.cell.architecture
    hyper = asdict(type(architecture.hyper)(**trial.hyper)) if isinstance(architecture, Architecture) else {}
    return {
        "architecture": architecture.name,
        "task": architecture.task.name,
        "codec": codec_name(trial.codec),
        "recipe": entry.cell.recipe.name,
        "dataset": find_dataset(trial.dataset).name,
        "seed": trial.seed,
        "epochs": trial.epochs,
        "initial": trial.initial,
        **({"withheld": trial.withheld} if trial.withheld else {}),
        **({"source": str(trial.source)} if trial.source_codec else {}),
        **{f"hyper.{name}": value for name, value in hyper.items()},
        **{f"schedule.{name}": value for name, value in trial.shape.items()},
        **{f"numerics.{name}": value for name, value in asdict(trial.numerics).items()},
    }


def trial_tags(entry: Entry, trial: Trial, *, baseline: str, control: str, groups: Sequence[str]) -> dict[str, str]:
    """Everything analysis needs beside parameters and scores, since it splits no name and imports no table.

    `baseline` and `control` are the keys of those trials, empty where there are none. `groups` has the group of each test item; the
    tag `group_sizes` states the number of groups by size, which stays short for large data sets.
    """
    architecture, recipe = entry.cell.architecture, entry.cell.recipe
    ladder: dict[str, list[int | None]] = {}
    for condition in entry.conditions:
        if condition.codec:
            ladder.setdefault(codec_name(condition.codec), []).append(condition.level)
    return {
        "stage": trial.stage,
        "cell": entry.cell.name,
        "metric": architecture.task.metric,
        "modes": json.dumps(dict(architecture.task.metrics)),
        "ladder": json.dumps(ladder),
        "training_levels": json.dumps(recipe.seen),
        "role": recipe.role,
        "streams": json.dumps(recipe.streams),
        "recalibrated": json.dumps(recipe.recalibrated),
        "codec_identity": json.dumps({label(condition): identity_of(condition) for condition in entry.conditions}),
        "data_fingerprint": trial.fingerprint,
        "group_sizes": json.dumps(Counter(Counter(groups).values())),
        "parents": json.dumps(trial.parents),
        "baseline": baseline,
        "control": control,
    }


def trial_metrics(entry: Entry, folder: TrialFolder) -> Iterator[Value]:
    """Everything in a folder as metrics, epochs first, in an order that only grows at its end."""
    for record in folder.history():
        time, epoch = milliseconds(record["time"]), record["epoch"]
        values = {f"train/{name}": value for name, value in record["losses"].items()}
        values |= _validation(record["validation"])
        values |= {f"schedule/{each['level'] or 'clean'}": each["share"] for each in record.get("schedule", ())}
        values |= {"seconds": record["seconds"], "waiting": record["waiting"]}
        for name, value in values.items():
            yield Value(name, value, time, epoch)
    for record in folder.scores(entry.conditions, "val"):
        for name, value in record["metrics"].items():
            codec = codec_name(record["codec"])
            yield Value(f"validation/{codec or 'clean'}/{name}", value, milliseconds(record["time"]), record["level"] or 0)
    scores = folder.scores(entry.conditions)
    for record in scores:
        time, codec, level = milliseconds(record["time"]), codec_name(record["codec"]), record["level"] or 0
        for name, value in record["metrics"].items():
            yield Value(f"test/{codec or 'clean'}/{name}", value, time, level)
        for name, value in record["chosen"].items():
            yield Value(f"chosen/{codec or 'clean'}/{name}", value, time, level)
        if codec:
            yield Value(f"rate/{codec}", record["bits_per_pixel"], time, level)
            if record["stream_bits_per_pixel"] is not None:
                yield Value(f"rate/{codec}/stream", record["stream_bits_per_pixel"], time, level)
    yield from _means(scores, entry)


def _validation(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Validation metrics: the mean over the conditions, and each condition where there are several."""
    values: dict[str, float] = {}
    for name in records[0]["metrics"] if records else ():
        values[f"val/{name}"] = fmean(record["metrics"][name] for record in records)
        for record in records if len(records) > 1 else ():
            condition = Condition(codec=record["codec"], level=record["level"])
            values[f"val/{label(condition)}/{name}"] = record["metrics"][name]
    return values


def _means(records: Sequence[Mapping[str, Any]], entry: Entry) -> Iterator[Value]:
    """Means over each complete ladder, since the run list shows only the value at a metric's largest step."""
    for codec in dict.fromkeys(record["codec"] for record in records if record["codec"]):
        of_codec = [record for record in records if record["codec"] == codec]
        if len(of_codec) == sum(condition.codec == codec for condition in entry.conditions):
            time = max(milliseconds(record["time"]) for record in of_codec)
            for name in of_codec[0]["metrics"]:
                mean = fmean(record["metrics"][name] for record in of_codec)
                yield Value(f"test/{codec_name(codec)}/{name}_mean", mean, time, 0)


def score_table(entry: Entry, folder: TrialFolder) -> pa.Table:
    """A trial's scores, one row per split, condition and metric, with the bootstrap replicates as a list."""
    replicates: dict[SplitName, Any] = {split: folder.replicates(split) for split in entry.splits}
    rows = [
        {
            "split": record["split"],
            "codec": codec_name(record["codec"]) or None,
            "level": record["level"],
            "metric": name,
            "mode": entry.cell.architecture.task.metrics[name],
            "value": value,
            "bits_per_pixel": record["bits_per_pixel"],
            "stream_bits_per_pixel": record["stream_bits_per_pixel"],
            "bytes_per_item": record["bytes_per_item"],
            "replicates": replicates[split][label(Condition(codec=record["codec"], level=record["level"]))][name],
        }
        for split in entry.splits
        for record in folder.scores(entry.conditions, split)
        for name, value in record["metrics"].items()
    ]
    schema = pa.schema(
        [
            ("split", pa.string()),
            ("codec", pa.string()),
            ("level", pa.int64()),
            ("metric", pa.string()),
            ("mode", pa.string()),
            ("value", pa.float64()),
            ("bits_per_pixel", pa.float64()),
            ("stream_bits_per_pixel", pa.float64()),
            ("bytes_per_item", pa.float64()),
            ("replicates", pa.list_(pa.float32())),
        ],
        metadata={"format": "1"},
    )
    return pa.Table.from_pylist(rows, schema=schema)


def summary_metrics(plan: Plan) -> list[Value]:
    """Each cell's primary metric over the ladder, averaged over the seeds that are done."""
    values: dict[tuple[str, Condition], list[float]] = {}
    times: dict[tuple[str, Condition], int] = {}
    for entry in plan.entries:
        folder = plan.folder(entry)
        if folder is None or entry.stage != "final" or plan.state(entry) != "done":
            continue
        for record in folder.scores(entry.conditions):
            key = (entry.cell.name, Condition(codec=record["codec"], level=record["level"]))
            values.setdefault(key, []).append(record["metrics"][entry.cell.architecture.task.metric])
            times[key] = max(times.get(key, 0), milliseconds(record["time"]))
    return [
        Value(f"{codec_name(condition.codec) or 'clean'}/{cell}", fmean(of_seeds), times[cell, condition], condition.level or 0)
        for (cell, condition), of_seeds in values.items()
    ]


def codec_name(reference: str | None) -> str:
    """Name of a codec given as a name or as `package.module:NAME`; empty for clean."""
    return find_codec(reference).name if reference else ""


def milliseconds(time: str) -> int:
    """An ISO time as milliseconds since 1970."""
    return round(datetime.fromisoformat(time).timestamp() * 1000)
