"""One launch at a time on a storage.

Local and shared folders use a file lock, which ends with the process that holds it. S3 has no lock: within one Ray cluster the
launch itself refuses a second one; across clusters nothing does.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from trainables import Folder

LOCK, HOLDER = ".lock", ".holder"
"""The lock, and the file that says who holds it (acquiring a lock truncates the lock file)."""


@contextmanager
def alone(storage: Folder) -> Iterator[None]:
    """Hold a storage. Raises ValueError naming the process that holds it already."""
    if storage.local is None:
        yield
        return
    storage.local.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(storage.local / LOCK).acquire(timeout=0)
    except Timeout as error:
        raise ValueError(f"{storage.uri} is in use by {_holder(storage)}: wait for it, or pass another --storage") from error
    with held:
        (storage.local / HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield


def holder(storage: Folder) -> str | None:
    """The process that holds a storage; None where nobody does, as far as this machine can tell."""
    path = storage.local / LOCK if storage.local else None
    if path is None or not path.exists():
        return None
    try:
        with FileLock(path).acquire(timeout=0):
            return None
    except Timeout:
        return _holder(storage)


def _holder(storage: Folder) -> str:
    try:
        return (storage.local / HOLDER).read_text() if storage.local else ""
    except OSError:
        return "another launch"
