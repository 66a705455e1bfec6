"""`study check`: whether data, codecs, store, GPUs, Ray, storage and MLflow are as they must be, before hours are spent.

A check tells what it meets as findings and raises nothing. To add one, write a function that yields findings, and call it in
`check`.
"""

import os
import platform
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from statistics import median_low
from typing import Any, Literal
from uuid import uuid4

import psutil
from rich.console import Console
from rich.filesize import decimal
from rich.progress import Progress

from search_spaces import Space
from study.cluster import Node, Resources, connected
from study.plan import Needs, make_plan, read_data_flags, store_needs
from trainables import (
    CODECS,
    DATASETS,
    Architecture,
    Codec,
    Dataset,
    Folder,
    MissingFilesError,
    Reading,
    Source,
    default_store,
    find_dataset,
    identity,
    is_reference,
    predicted_bytes,
    read_items,
    recompressing,
    torch_devices,
    try_out,
)

State = Literal["ok", "warning", "error"]
SPLITS = ("train", "val", "test")
NAMED = 20
"""How many files of a data set are named; the rest are counted."""
NODE_SECONDS = 60.0
"""How long the nodes of a cluster may take to read the storage."""
LOGIN = re.compile(r"(?<=://)(?:[^/\s]*|[^/\s:@]+:\S*)@")
"""User and password in a URI, also where the password holds a slash."""
CREDENTIAL = re.compile(r"(?i)([?&][^=&\s]*(?:key|secret|token|password|signature)[^=&\s]*=)[^&\s]+")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found. Made by `ok`, `warning` and `error`, which keep secrets out."""

    subject: str
    state: State
    line: str
    """An error names the file, the place and the remedy."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for JSON."""


def ok(subject: str, line: str, **facts: Any) -> Finding:
    """All is as it must be."""
    return _finding(subject, "ok", line, facts)


def warning(subject: str, line: str, **facts: Any) -> Finding:
    """A study would run; its figures or its speed may not be what is wanted."""
    return _finding(subject, "warning", line, facts)


def error(subject: str, line: str, **facts: Any) -> Finding:
    """A study would fail, or its figures would be wrong."""
    return _finding(subject, "error", line, facts)


def _finding(subject: str, state: State, line: str, facts: Mapping[str, Any]) -> Finding:
    return Finding(subject=subject, state=state, line=without_secrets(" ".join(line.split())), facts=_plain(facts))


def _plain(value: Any) -> Any:
    """A fact as JSON keeps it, secrets taken out."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def without_secrets(text: str) -> str:
    """A text without the logins and credentials of the URIs in it."""
    return CREDENTIAL.sub(r"\1***", LOGIN.sub("", text))


def check(
    target: Space | Architecture | None,
    *,
    data: Sequence[str],
    storage: Folder,
    tracking_uri: str | None,
    resources: Resources,
    console: Console,
) -> Iterator[Finding]:
    """Everything, the quick checks first: of a space its data and one's own architectures in it, of an architecture itself.

    Raises ValueError for a data flag or a space that names what does not exist.
    """
    space = target if isinstance(target, Space) else None
    chosen, paths = read_data_flags(data, space.data.values() if space else ())
    needs: Mapping[str, Needs] = {name: frozenset() for name in paths}
    tried: list[tuple[Architecture, Any, str]] = []
    if isinstance(target, Architecture):
        name = _data_of(target, chosen, paths)
        needs = {name: frozenset(), **needs}
        tried = [(target, target.hyper(), name)]
    if space is not None:
        planned = make_plan(space, data=data, storage=storage)
        needs = store_needs(planned)
        own = {entry.cell.reference: entry for entry in planned.entries if is_reference(entry.cell.reference)}
        for entry in own.values():
            tried.append((entry.cell.architecture, entry.cell.architecture.hyper(**entry.trial.hyper), entry.cell.dataset))
    yield from codec_findings(CODECS.values())
    yield gpu_finding(wanted=space.gpus if space else 0.0, offered=None if resources.address else resources.gpus)
    with _ray(resources, space) as (finding, nodes):
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
    """The data set to try an architecture on: what a flag chose or placed for its task, else an embedded one."""
    of_task = [name for name in (*paths, *DATASETS) if find_dataset(name).task == architecture.task]
    ready = [name for name in of_task if name in paths or find_dataset(name).make]
    if architecture.task not in chosen and not ready:
        raise ValueError(f"{architecture.name}: no data for {architecture.task}; give --data {architecture.task}=NAME, NAME=PATH")
    return chosen.get(architecture.task) or ready[0]


def architecture_findings(architecture: Architecture, hyper: Any, source: Source) -> Iterator[Finding]:
    """Whether an architecture does what every architecture must, on a few items."""
    subject = f"architecture {architecture.name}"
    try:
        tried = list(try_out(architecture, hyper, source))
    except Exception as trouble:  # of a stranger's code before any check ran
        yield error(subject, f"cannot be tried on {source.name} ({_root(trouble)})")
        return
    for name, problem in tried:
        if problem:
            yield error(subject, f"{name}: {problem}")
    if not any(problem for _, problem in tried):
        yield ok(subject, f"{len(tried)} checks on a few items of {source.name}", checks=[name for name, _ in tried])


def codec_findings(codecs: Iterable[Codec]) -> Iterator[Finding]:
    """Whether every level encodes and decodes the probe, and the identity of what it makes."""
    for codec in codecs:
        identities: dict[int, str] = {}
        for level in codec.levels:
            try:
                identities[level] = identity(codec, level)
            except Exception as trouble:  # whatever the library behind the codec raises
                yield error(f"codec {codec.name}", f"level {level} does not code its probe ({trouble}); reinstall its library")
        if len(identities) == len(codec.levels):
            line = ", ".join(f"{level} = {digest}" for level, digest in identities.items())
            yield ok(f"codec {codec.name}", f"encodes and decodes; {line}", identities=identities)


def gpu_finding(*, wanted: float = 0.0, offered: int | None = None) -> Finding:
    """Torch and its devices, against the share that a trial wants and the number that is offered to Ray."""
    try:
        version, devices = torch_devices()
    except Exception as trouble:  # import errors, drivers, devices in use by others
        return error("GPUs", f"torch cannot use this machine ({_root(trouble)}); install a torch that fits the driver")
    facts = {"torch": version, "devices": [device._asdict() for device in devices]}
    if offered is not None and offered > len(devices):
        return error("GPUs", f"--gpus {offered}, and torch {version} sees {len(devices)}; lower --gpus or mend the driver", **facts)
    if devices:
        names = ", ".join(f"{device.name} ({device.memory / 2**30:.0f} GiB)" for device in devices)
        return ok("GPUs", f"torch {version} computes on {names}", **facts)
    if wanted:
        return warning("GPUs", f"torch {version} sees none, and the study is made for them: it would train on processors", **facts)
    return ok("GPUs", f"torch {version} sees none; trials run on processors", **facts)


@contextmanager
def _ray(resources: Resources, space: Space | None) -> Iterator[tuple[Finding, Sequence[Node]]]:
    """Ray's finding and, of a cluster, its nodes, while they can be used."""
    address = resources.address
    with ExitStack() as stack:
        try:
            nodes = stack.enter_context(connected(resources))
        except Exception as trouble:  # of versions, ports, memory, tokens
            alone = "is another Ray in the way, or /tmp or /dev/shm full?"
            remedy = "is it running, with the same versions as here?" if address else alone
            yield error("Ray", f"{address or 'this machine'}: {_root(trouble)}; {remedy}"), ()
            return
        yield _ray_finding(nodes, address, space), nodes if address else ()


def _ray_finding(nodes: Sequence[Node], address: str | None, space: Space | None) -> Finding:
    kept = {name: sum(node.resources.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU", "memory")}
    version = metadata.version("ray")
    facts = {"version": version, "resources": kept, "nodes": [node.name for node in nodes]}
    there = f"{kept['CPU']:.0f} CPUs, {kept['GPU']:.0f} GPUs"
    if space is not None and not any(node.slots(space) for node in nodes):
        most = max((node.resources.get("CPU", 0.0) for node in nodes), default=0.0)
        takes = space.threads + space.workers
        return error("Ray", f"a trial takes {takes} processors, the largest node has {most:.0f}: raise --cpus", **facts)
    if address:
        return ok("Ray", f"{version} at {address}: {len(nodes)} nodes, {there}", **facts)
    return ok("Ray", f"{version} starts here: {there}", **facts)


def storage_findings(storage: Folder, nodes: Sequence[Node] = ()) -> Iterator[Finding]:
    """Whether a file can be written, read back, read by every node given, and removed."""
    place, name = str(storage.local or storage.uri), f".check-{uuid4().hex}"
    made = [folder for folder in (storage.local, *storage.local.parents) if not folder.exists()] if storage.local else []
    try:
        storage.write(name, name.encode())
        trouble = read_probe(storage.uri, name)
        strangers = {} if trouble else _unread(storage, name, nodes)
        storage.remove(name)
    except Exception as failure:  # of the disk or of the file system's client
        trouble, strangers = _root(failure), {}
    for folder in made:
        with suppress(OSError):
            folder.rmdir()
    if trouble:
        yield error("storage", f"{place} cannot be written and read ({trouble}); mend it, or pass --storage another place")
        return
    for node, reason in strangers.items():
        yield error("storage", f"{place}: node {node} cannot read it ({reason}); pass --storage a place that all nodes share")
    if not strangers:
        read = f", read by all {len(nodes)} nodes" if nodes else ""
        yield ok("storage", f"{place}: written, read back, removed{read}", nodes=[node.name for node in nodes])


def read_probe(uri: str, name: str) -> str | None:
    """Why a storage's probe file cannot be read here; None where it can."""
    try:
        return None if Folder.at(uri).read(name) == name.encode() else "it reads other bytes than were written"
    except Exception as failure:  # of the disk or of the file system's client
        return _root(failure)


def _unread(storage: Folder, name: str, nodes: Sequence[Node]) -> dict[str, str]:
    """The nodes that cannot read the probe file, and why."""
    if not nodes:
        return {}
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def pinned(node: Node) -> Any:
        strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
        return ray.remote(read_probe).options(num_cpus=0, scheduling_strategy=strategy).remote(storage.uri, name)

    reads = {pinned(node): node for node in nodes}
    done, _ = ray.wait(list(reads), num_returns=len(reads), timeout=NODE_SECONDS)
    strangers = {reads[read].name: f"no answer in {NODE_SECONDS:.0f} s" for read in reads if read not in done}
    for read in done:
        try:
            reason = ray.get(read)
        except Exception as failure:  # the node lacks the project, say: the last line of its traceback tells
            reason = str(failure).strip().splitlines()[-1]
        if reason:
            strangers[reads[read].name] = reason
    return strangers


def tracking_finding(uri: str | None, storage: Folder) -> Finding:
    """Whether MLflow can be read and written."""
    try:
        from study.tracking import default_uri, probe

        uri = uri or default_uri(storage)
        return ok("MLflow", f"{uri}: {probe(uri)}", uri=uri)
    except Exception as trouble:  # whatever the store's client raises
        return error("MLflow", f"{uri}: {_root(trouble)}; start or mend it, or pass --tracking-uri another", uri=uri)


def open_source(dataset: Dataset, path: Path | None) -> Source | tuple[Finding, ...]:
    """An opened data set, or why it cannot be opened: every listed file that is missing is named."""
    subject = f"data {dataset.name}"
    try:
        return dataset.source(path)
    except MissingFilesError as trouble:
        lines = [f"{file}: listed but missing; restore it or take it off its list" for file in trouble.files]
        return tuple(_named(subject, lines))
    except Exception as trouble:  # readers raise ValueError; a new one's slip must not end the check
        return (error(subject, str(trouble)),)


def _named(subject: str, lines: Sequence[str]) -> Iterator[Finding]:
    """An error for each of the first lines, and the count of the rest."""
    yield from (error(subject, line) for line in lines[:NAMED])
    if len(lines) > NAMED:
        yield error(subject, f"{len(lines) - NAMED} more files like these; mend the whole tree")


def store_findings(uses: Sequence[tuple[Source, Needs]] = ()) -> Iterator[Finding]:
    """The encoded store: its folder, its limit, and the disk against what sources will take at what a study needs."""
    try:
        store = default_store()
        with tempfile.TemporaryFile(dir=store.root):
            pass
    except ValueError as trouble:
        yield error("store", f"{trouble}; set it to a number, or unset it")
        return
    except OSError as trouble:
        yield error(
            "store", f"cannot write {trouble.filename} ({trouble.strerror}); set STUDY_STORE to a folder that can be written"
        )
        return
    sizes = {path: path.stat().st_size for path in store.root.rglob("*.pack")}
    system = os.statvfs(store.root)
    used, free = sum(sizes.values()), system.f_bavail * system.f_frsize
    facts = {"root": str(store.root), "limit": store.limit, "used": used, "free": free}
    state = f"{store.root}: {decimal(used)} of at most {decimal(store.limit)} used, {decimal(free)} free on its disk"
    if not any(needs for _, needs in uses):
        yield ok("store", state, **facts)
        return
    try:
        predicted = sum(predicted_bytes(store, source, needs) for source, needs in uses)
    except Exception as trouble:  # an item that cannot be read is named when all are
        yield warning("store", f"{state}; what the study needs cannot be foretold ({_root(trouble)})", **facts)
        return
    ours = tuple(store.root / f"{source.name}-{source.fingerprint}" for source, _ in uses)
    there = sum(size for path, size in sizes.items() if any(path.is_relative_to(folder) for folder in ours))
    missing = max(0, min(predicted, store.limit) - there)
    facts |= {"predicted": predicted, "missing": missing}
    state = f"{state}; the study takes {decimal(predicted)}"
    if missing > free:
        yield error("store", f"{state}: too little; free {decimal(missing - free)}, or set STUDY_STORE to another disk", **facts)
    elif predicted > store.limit:
        yield warning("store", f"{state}: it would encode again what it removed; raise STUDY_STORE_GB or free space", **facts)
    else:
        yield ok("store", state, **facts)


def data_findings(
    dataset: Dataset, source: Source, *, threads: int = 1, advance: Callable[[], None] = lambda: None
) -> Iterator[Finding]:
    """Every item read: what is unreadable, which classes occur, whether groups are whole, how the sources were compressed."""
    readings: dict[str, list[Reading]] = {split: [] for split in SPLITS}
    for split, of_split in readings.items():
        for reading in read_items(dataset, source, split, threads=threads):
            of_split.append(reading)
            advance()
    subject, every = f"data {source.name}", [reading for of_split in readings.values() for reading in of_split]
    problems = list(dict.fromkeys(problem for reading in every for problem in reading.problems))
    problems += [f"{split} has no item; mend its list" for split, of_split in readings.items() if not of_split]
    yield from _named(subject, problems)
    yield from _straddling(subject, source)
    seen = {split: Counter(label for reading in of_split for label in reading.classes) for split, of_split in readings.items()}
    unseen = [name for label, name in enumerate(source.classes) if not seen["train"][label]]
    if unseen and not problems:
        yield warning(subject, f"train never shows {', '.join(unseen)}: it cannot be learnt; mend the lists or the annotations")
    yield from _codings(subject, every)
    if problems:
        return
    found = ", ".join(
        f"{len(readings[split])} {split} ({sum(label in seen[split] for label in range(len(source.classes)))} classes)"
        for split in SPLITS
    )
    sizes = sorted({reading.size for reading in every if reading.size}, key=lambda size: size[0] * size[1])
    shapes = [f"{width}x{height}" for height, width in (sizes[0], sizes[-1])]
    contents = sha256(
        repr([(split, r.name, r.digest) for split, of_split in readings.items() for r in of_split]).encode()
    ).hexdigest()
    yield ok(
        subject,
        f"{found} of {len(source.classes)} declared; {' to '.join(dict.fromkeys(shapes))} pixels; "
        f"contents {contents[:16]}, fingerprint {source.fingerprint}",
        contents=contents,
        fingerprint=source.fingerprint,
        items={split: len(of_split) for split, of_split in readings.items()},
        classes={split: {name: seen[split][label] for label, name in enumerate(source.classes)} for split in SPLITS},
        smallest=shapes[0],
        largest=shapes[1],
    )


def _straddling(subject: str, source: Source) -> Iterator[Finding]:
    """Whether every group, and every file, lies within one split."""
    parts = {split: source.split(split) for split in SPLITS}
    for kind, homes in (
        ("group", {split: set(part.groups) for split, part in parts.items()}),
        (
            "file",
            {split: {str(part.files(i)[0]) for i in range(len(part.names)) if part.files(i)} for split, part in parts.items()},
        ),
    ):
        often = Counter(thing for things in homes.values() for thing in things)
        twice = sorted(thing for thing, count in often.items() if count > 1)
        if twice:
            splits = " and ".join(split for split, things in homes.items() if twice[0] in things)
            more = f" (and {len(twice) - 1} more likewise)" if len(twice) > 1 else ""
            yield error(subject, f"{kind} {twice[0]} is in {splits}{more}; mend the lists so that each {kind} is in one split")
            return  # a group in two splits brings its files along


def _codings(subject: str, readings: Sequence[Reading]) -> Iterator[Finding]:
    """How the sources were compressed before, and which levels would save nothing on them."""
    codings = [reading.coding for reading in readings if reading.coding]
    for codec in dict.fromkeys(coding.codec for coding in codings):
        of_codec = [coding for coding in codings if coding.codec == codec]
        level, exact = median_low([coding.level for coding in of_codec]), sum(coding.exact for coding in of_codec)
        levels = recompressing(of_codec[0]._replace(level=level))
        facts = {"codec": codec, "files": len(of_codec), "level": level, "exact": exact, "no_saving": levels}
        line = (
            f"{len(of_codec)} of {len(readings)} sources are {codec} already, of level {level} (median; {exact} exactly of a level)"
        )
        if levels:
            yield warning(subject, f"{line}; {codec} {', '.join(map(str, levels))}: recompression, no saving", **facts)
        else:
            yield ok(subject, line, **facts)


def versions() -> dict[str, str]:
    """Of Python, the machine and what the project depends on."""
    here = {"python": platform.python_version(), "platform": platform.platform()}
    for requirement in metadata.requires("compression-study") or ():
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0]
        try:
            here[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            here[name] = "not installed"
    return here


def _root(trouble: BaseException) -> str:
    """The system's own word where there is one beneath what libraries made of it; one line."""
    cause: BaseException | None = trouble
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return " ".join(str(trouble).split())[:300] or type(trouble).__name__
