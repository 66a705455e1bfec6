"""One launch at a time on a storage.

On local and shared folders by a file lock, which ends with the process that holds it. On S3 there is none: within one Ray cluster
the launch itself refuses a second one, across clusters nobody does.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from trainables import Folder

NAME = ".lock"


@contextmanager
def alone(storage: Folder) -> Iterator[None]:
    """Hold a storage. Raises ValueError naming who holds it already."""
    if storage.local is None:
        yield
        return
    storage.local.mkdir(parents=True, exist_ok=True)
    with (storage.local / NAME).open("a+") as file:
        if not _taken(file):
            raise ValueError(f"{storage.uri} is in use by {holder(storage)}; wait for it, or give --storage")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def holder(storage: Folder) -> str | None:
    """Who holds a storage, as far as can be known."""
    path = storage.local / NAME if storage.local else None
    if path is None or not path.exists():
        return None
    with path.open() as file:
        return None if _taken(file) else file.read() or "another launch"


def _taken(file: TextIO) -> bool:
    """Take the lock of an open file, for as long as it is open, if nobody else has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
