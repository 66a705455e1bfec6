"""Names to values: an entry of a table, or somebody's own as `package.module:NAME`, imported where it is looked up.

The launch directory is on the path of the driver and of the workers, so that a module beside one's data is found as it is.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def is_reference(name: str) -> bool:
    """Whether a name is somebody's own value rather than an entry of a table."""
    return ":" in name


def named(name: str, table: Mapping[str, T], kind: type[T], what: str) -> T:
    """The value that a name stands for. Raises ValueError in one line where it is not there or no `kind`."""
    if not is_reference(name):
        if name not in table:
            raise ValueError(f"unknown {what} {name!r}: known are {', '.join(table)}; one's own is package.module:NAME")
        return table[name]
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # whatever a stranger's module raises
        raise ValueError(
            f"{what} {name!r}: {module_name} does not import ({type(error).__name__}: {' '.join(str(error).split())}); "
            f"looked for in {Path.cwd()} and Python's path"
        ) from error
    if not hasattr(module, attribute):
        raise ValueError(f"{what} {name!r}: {module.__file__} has no {attribute!r}")
    value = getattr(module, attribute)
    if not isinstance(value, kind):
        raise ValueError(f"{what} {name!r}: is of type {type(value).__name__}, not {kind.__name__}")
    return value


def launched_from(folder: str) -> None:
    """Put a launch directory on the path, unless it is there or not on this machine."""
    if folder not in sys.path and Path(folder).is_dir():
        sys.path.insert(0, folder)
