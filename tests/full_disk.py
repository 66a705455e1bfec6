"""A full disk for tests: the system refuses to let files grow beyond a limit.

The limit holds for a whole process, pytest's own output included, so a test that sets it runs in a child process.
"""

import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

T = TypeVar("T")


def in_a_child(function: Callable[..., T], *arguments: Any) -> T:
    """The result of a module-level function in a process of its own. An error or a failed assertion there is raised here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def limit_files(size: int) -> None:
    """Let no file of this process grow beyond `size` bytes: writing more raises OSError, as on a full disk."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
