"""`study check`: whether data, codecs, store, GPUs, Ray, storage and MLflow are ready, before hours are spent.

A check yields findings and raises nothing. To add one, write a function that yields findings and call it in `check`.
"""

import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

import psutil
from rich.console import Console
from rich.progress import Progress

from search_spaces import Space
from study.check.data import SPLITS, architecture_findings, data_findings, open_source
from study.check.findings import Finding
from study.check.machine import codec_findings, gpu_finding, ray_running, storage_findings, store_findings, tracking_finding
from study.cluster import Resources
from study.flags import read_data_flags
from study.plan import Needs, hyper_of, make_plan, store_needs
from trainables import CODECS, DATASETS, Architecture, Folder, Source, find_codec, find_dataset, is_reference


def check(
    target: Space | Architecture | None,
    *,
    data: Sequence[str],
    storage: Folder,
    tracking_uri: str | None,
    resources: Resources,
    console: Console,
) -> Iterator[Finding]:
    """Run every check, fastest first. A space adds its data sets and custom architectures; an architecture adds itself.

    Raises ValueError for a data flag or a space that names something that does not exist.
    """
    space = target if isinstance(target, Space) else None
    chosen, paths = read_data_flags(data, space.data.values() if space else ())
    needs: Mapping[str, Needs] = {name: frozenset() for name in paths}
    tried: list[tuple[Architecture, Any, str]] = []
    if isinstance(target, Architecture):
        name = _data_of(target, chosen, paths)
        needs = {name: frozenset(), **needs}
        tried = [(target, target.hyper, name)]
    if space is not None:
        planned = make_plan(space, data=data, storage=storage)
        needs = store_needs(planned)
        own = {entry.cell.reference: entry.cell for entry in planned.entries if is_reference(entry.cell.reference)}
        for cell in own.values():
            if isinstance(cell.architecture, Architecture):
                tried.append((cell.architecture, hyper_of(cell.architecture, cell.budget.hyper), cell.dataset))
    codecs = {**CODECS, **{name: find_codec(name) for name in (space.codecs if space else ())}}
    yield from codec_findings(codecs.values())
    yield gpu_finding(wanted=space.gpus if space else 0.0, offered=None if resources.address else resources.gpus)
    with ray_running(resources, space) as (finding, nodes):
        yield finding
        yield from storage_findings(storage, nodes)
    yield tracking_finding(tracking_uri, storage)
    sources: dict[str, Source] = {}
    for name in needs:
        source = open_source(find_dataset(name), paths.get(name))
        if isinstance(source, Source):
            sources[name] = source
        else:
            yield from source
    yield from store_findings([(sources[name], needs[name]) for name in sources])
    threads = resources.cpus or len(psutil.Process().cpu_affinity())
    for name, source in sources.items():
        items = sum(len(source.split(split).names) for split in SPLITS)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task(name, total=items)
            found = list(data_findings(find_dataset(name), source, threads=threads, advance=lambda: progress.advance(task)))  # noqa: B023
        yield from found
    for architecture, hyper, name in tried:
        if name in sources:
            yield from architecture_findings(architecture, hyper, sources[name])


def _data_of(architecture: Architecture, chosen: Mapping[str, str], paths: Iterable[str]) -> str:
    """The data set to try an architecture on: the one a flag names for its task, or an embedded one."""
    task = architecture.task.name
    of_task = [name for name in (*paths, *DATASETS) if find_dataset(name).task == task]
    ready = [name for name in of_task if name in paths or find_dataset(name).make]
    if task not in chosen and not ready:
        raise ValueError(f"{architecture.name}: no data for {task}: pass --data {task}=NAME or --data NAME=PATH")
    return chosen.get(task) or ready[0]


def versions() -> dict[str, str]:
    """Versions of Python, the machine and the project's dependencies."""
    here = {"python": platform.python_version(), "platform": platform.platform()}
    for requirement in metadata.requires("compression-study") or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        try:
            here[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            here[name] = "not installed"
    return here
