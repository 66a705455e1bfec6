"""Flags that name data sets and weights: `--data NAME=PATH`, `--data TASK=NAME`, `--baseline WEIGHTS`."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from study.cells import Cell
from trainables import DATASETS, Architecture, find_dataset, is_reference, suggestion


def read_data_flags(flags: Sequence[str], own: Iterable[str] = ()) -> tuple[dict[str, str], dict[str, Path]]:
    """Flags `NAME=PATH` (path of a data set) and `TASK=NAME` (data set of a task), as (data sets by task, paths by data set).

    `own` are a space's data sets given as `package.module:NAME`; flags use their short names. Raises ValueError for other flags.
    """
    given = [value for _, _, value in (flag.partition("=") for flag in flags) if is_reference(value) and "/" not in value]
    known = {name: name for name in DATASETS} | {find_dataset(name).name: name for name in (*own, *given)}
    tasks = {find_dataset(name).task for name in known.values()}
    chosen: dict[str, str] = {}
    paths: dict[str, Path] = {}
    for flag in flags:
        key, _, value = flag.partition("=")
        if not value:
            raise ValueError(f"--data {flag}: expected NAME=PATH or TASK=NAME")
        if key in known:
            paths[known[key]] = Path(value).resolve()
        elif key in tasks:
            reference = known.get(value, value)
            if not is_reference(reference) and (reference not in DATASETS or DATASETS[reference].task != key):
                of_task = [name for name, each in known.items() if find_dataset(each).task == key]
                raise ValueError(f"--data {flag}: unknown data set {value!r} for {key}; {suggestion(value, of_task)}")
            chosen[key] = reference
        else:
            raise ValueError(
                f"--data {flag}: {key!r} is neither a data set nor a task; {suggestion(key, [*known, *sorted(tasks)])}"
            )
    return chosen, paths


def read_baseline_flags(flags: Sequence[str], cells: Sequence[Cell]) -> dict[str, Path]:
    """Weights files that take the place of trained baselines, by architecture. Raises ValueError for an ambiguous flag."""
    architectures = list(dict.fromkeys(cell.architecture.name for cell in cells if isinstance(cell.architecture, Architecture)))
    own: dict[str, Path] = {}
    for flag in flags:
        name, _, path = flag.rpartition("=")
        if name not in architectures:
            name, path = "", flag
        if not name and len(architectures) > 1:
            raise ValueError(
                f"--baseline {flag}: the plan has several architectures; write ARCHITECTURE={flag} with one of "
                f"{', '.join(architectures)}, or select the cells of one"
            )
        own[name or architectures[0]] = Path(path)
    return own
