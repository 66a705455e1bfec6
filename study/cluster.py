"""Ray on this machine alone, or on a running cluster. The only module that starts Ray, and it ends what it started."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before the import: no data leave this machine unasked
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import psutil
import ray

from search_spaces import Space


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources offered to Ray."""

    address: str | None = None
    """Address of a running cluster, or `auto`; None starts Ray on this machine."""
    cpus: int | None = None
    gpus: int | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine in the cluster."""

    id: str
    name: str
    resources: dict[str, float]

    def slots(self, space: Space) -> int:
        """Number of a space's trials that it runs side by side; a trial runs within one node."""
        gpus = self.resources.get("GPU", 0.0)
        by_processors = int(self.resources.get("CPU", 0.0) // need(space, gpus=bool(gpus))["CPU"])
        return min(by_processors, int(gpus // space.gpus)) if gpus and space.gpus else by_processors


def need(space: Space, *, gpus: bool) -> dict[str, float]:
    """Resources of one trial; its share of a GPU only where there are GPUs."""
    return {"CPU": float(space.threads + space.workers), "GPU": space.gpus if gpus else 0.0}


@contextmanager
def connected(resources: Resources) -> Iterator[tuple[Node, ...]]:
    """Connect to Ray and yield the nodes that are alive. Raises ConnectionError where no cluster answers at the address."""
    cpus = resources.cpus or len(psutil.Process().cpu_affinity())
    local: dict[str, Any] = {"num_cpus": cpus, "num_gpus": resources.gpus, "include_dashboard": False}
    _answers(resources.address or "")
    ray.init(
        address=resources.address or "local",
        log_to_driver=False,
        logging_level=logging.ERROR,
        **({} if resources.address else local),
    )
    try:
        yield tuple(
            Node(
                id=node["NodeID"], name=f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})", resources=node["Resources"]
            )
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"]
        )
    finally:
        ray.shutdown()


def _answers(address: str) -> None:
    """Try the port of an address first: Ray itself would retry for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return
    except OSError as error:
        raise ConnectionError(f"no Ray cluster answers at {address} ({error}): start it, or correct --address") from error
