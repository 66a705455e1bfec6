"""Checks of the machine: codecs, GPUs, Ray, storage, MLflow, the store."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import metadata
from typing import Any
from uuid import uuid4

from rich.filesize import decimal

from search_spaces import Space
from study.check.findings import Finding, error, ok, root_cause, warning
from study.cluster import Node, Resources, connected
from study.plan import Needs, predicted_bytes
from trainables import Codec, Folder, Source, default_store, identity, torch_devices

NODE_SECONDS = 60.0
"""Time that the nodes of a cluster have to read the storage."""


def codec_findings(codecs: Iterable[Codec]) -> Iterator[Finding]:
    """Whether every level encodes and decodes the probe, and the identity of what it makes."""
    for codec in codecs:
        identities: dict[int, str] = {}
        for level in codec.levels:
            try:
                identities[level] = identity(codec, level)
            except Exception as trouble:  # the codec's library may raise anything
                line = f"level {level} fails on the probe images ({trouble}); reinstall the codec's library"
                yield error(f"codec {codec.name}", line)
        if len(identities) == len(codec.levels):
            line = ", ".join(f"{level} = {digest}" for level, digest in identities.items())
            yield ok(f"codec {codec.name}", f"encodes and decodes; {line}", identities=identities)


def gpu_finding(*, wanted: float = 0.0, offered: int | None = None) -> Finding:
    """Torch and its GPUs, compared with a trial's share of a GPU and with the number offered to Ray."""
    try:
        version, devices = torch_devices()
    except Exception as trouble:  # import errors, drivers, devices in use by others
        return error("GPUs", f"torch cannot use this machine ({root_cause(trouble)}); install a torch that fits the driver")
    facts = {"torch": version, "devices": [device._asdict() for device in devices]}
    if offered is not None and offered > len(devices):
        line = f"--gpus {offered}, but torch {version} sees {len(devices)}; lower --gpus or repair the driver"
        return error("GPUs", line, **facts)
    if devices:
        names = ", ".join(f"{device.name} ({device.memory / 2**30:.0f} GiB)" for device in devices)
        return ok("GPUs", f"torch {version} uses {names}", **facts)
    if wanted:
        line = f"torch {version} sees none, but the study asks for GPUs: trials run on the CPU, far more slowly; check the driver"
        return warning("GPUs", line, **facts)
    return ok("GPUs", f"torch {version} sees none; trials run on the CPU", **facts)


@contextmanager
def ray_running(resources: Resources, space: Space | None) -> Iterator[tuple[Finding, Sequence[Node]]]:
    """The finding about Ray and, for a cluster, its nodes, while Ray runs."""
    address = resources.address
    with ExitStack() as stack:
        try:
            nodes = stack.enter_context(connected(resources))
        except Exception as trouble:  # wrong versions, blocked ports, no memory, missing tokens
            alone = "stop other Ray processes, or free space in /tmp and /dev/shm"
            remedy = "check that a cluster with the same versions of Ray and Python runs there" if address else alone
            yield error("Ray", f"{address or 'this machine'}: {root_cause(trouble)}; {remedy}"), ()
            return
        yield _ray_finding(nodes, address, space), nodes if address else ()


def _ray_finding(nodes: Sequence[Node], address: str | None, space: Space | None) -> Finding:
    kept = {name: sum(node.resources.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU", "memory")}
    version = metadata.version("ray")
    facts = {"version": version, "resources": kept, "nodes": [node.name for node in nodes]}
    there = f"{kept['CPU']:.0f} CPUs, {kept['GPU']:.0f} GPUs"
    if space is not None and not any(node.slots(space) for node in nodes):
        most = max((node.resources.get("CPU", 0.0) for node in nodes), default=0.0)
        takes, remedy = space.threads + space.workers, "start a larger node" if address else "raise --cpus"
        line = f"a trial needs {takes} CPUs, the largest node has {most:.0f}; {remedy}, or lower the space's `threads` or `workers`"
        return error("Ray", line, **facts)
    if address:
        return ok("Ray", f"{version} at {address}: {len(nodes)} nodes, {there}", **facts)
    return ok("Ray", f"{version} starts here: {there}", **facts)


def storage_findings(storage: Folder, nodes: Sequence[Node] = ()) -> Iterator[Finding]:
    """Write a file, read it back, read it on every node, and remove it."""
    place, name = str(storage.local or storage.uri), f".check-{uuid4().hex}"
    made = [folder for folder in (storage.local, *storage.local.parents) if not folder.exists()] if storage.local else []
    try:
        storage.write(name, name.encode())
        trouble = read_probe(storage.uri, name)
        strangers = {} if trouble else _unread(storage, name, nodes)
        storage.remove(name)
    except Exception as failure:  # the disk or the file system's client may raise anything
        trouble, strangers = root_cause(failure), {}
    for folder in made:
        with suppress(OSError):
            folder.rmdir()
    if trouble:
        yield error("storage", f"cannot write and read {place} ({trouble}); repair it, or pass another --storage")
        return
    for node, reason in strangers.items():
        yield error("storage", f"{place}: node {node} cannot read it ({reason}); pass a --storage that all nodes share")
    if not strangers:
        read = f", read by all {len(nodes)} nodes" if nodes else ""
        yield ok("storage", f"{place}: written, read back, removed{read}", nodes=[node.name for node in nodes])


def read_probe(uri: str, name: str) -> str | None:
    """Why this machine cannot read a storage's probe file; None where it can."""
    try:
        return None if Folder.at(uri).read(name) == name.encode() else "the bytes read differ from those written"
    except Exception as failure:  # the disk or the file system's client may raise anything
        return root_cause(failure)


def _unread(storage: Folder, name: str, nodes: Sequence[Node]) -> dict[str, str]:
    """Nodes that cannot read the probe file, with the reason."""
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
        except Exception as failure:  # e.g. the project is not installed on the node: the last line of the traceback says so
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
    except Exception as trouble:  # MLflow's client may raise anything
        return error("MLflow", f"{uri}: {root_cause(trouble)}; start or repair it, or pass another --tracking-uri", uri=uri)


def store_findings(uses: Sequence[tuple[Source, Needs]] = ()) -> Iterator[Finding]:
    """The store: its directory, its limit, and free disk space compared with what a study will store."""
    try:
        store = default_store()
        with tempfile.TemporaryFile(dir=store.folder):
            pass
    except ValueError as trouble:
        yield error("store", str(trouble))
        return
    except OSError as trouble:
        yield error("store", f"cannot write {trouble.filename} ({trouble.strerror}); set STUDY_STORE to a writable directory")
        return
    sizes = {path: size for _, size, path in store.listing()}
    system = os.statvfs(store.folder)
    used, free = sum(sizes.values()), system.f_bavail * system.f_frsize
    facts = {"root": str(store.folder), "limit": store.limit, "used": used, "free": free}
    state = f"{store.folder}: {decimal(used)} of at most {decimal(store.limit)} used, {decimal(free)} free on its disk"
    if not any(needs for _, needs in uses):
        yield ok("store", state, **facts)
        return
    try:
        predicted = sum(predicted_bytes(store, source, needs) for source, needs in uses)
    except Exception as trouble:  # an unreadable item is named when all items are read
        yield warning("store", f"{state}; cannot predict what the study needs ({root_cause(trouble)})", **facts)
        return
    ours = tuple(store.folder / f"{source.name}-{source.fingerprint}" for source, _ in uses)
    there = sum(size for path, size in sizes.items() if any(path.is_relative_to(folder) for folder in ours))
    missing = max(0, min(predicted, store.limit) - there)
    facts |= {"predicted": predicted, "missing": missing}
    state = f"{state}; the study needs {decimal(predicted)}"
    if missing > free:
        remedy = f"free at least {decimal(missing - free)}, or set STUDY_STORE to another disk"
        yield error("store", f"{state}, more than is free; {remedy}", **facts)
    elif predicted > store.limit:
        line = f"{state}, more than its limit: imagery would be evicted and encoded again; raise STUDY_STORE_GB"
        yield warning("store", line, **facts)
    else:
        yield ok("store", state, **facts)
