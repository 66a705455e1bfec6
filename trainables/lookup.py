"""Look-up of values by name: an entry of a table, or a user's own value as `package.module:NAME`.

The launch directory is put on the path of the driver and of the workers, so that a module beside the user's data can be imported.
"""

import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
FEW = 12
"""Number of known names that a message lists."""


def is_reference(name: str) -> bool:
    """Whether a name is a `package.module:NAME` reference rather than an entry of a table."""
    return ":" in name


def suggestion(name: str, known: Iterable[str]) -> str:
    """The closest known names as a question, `did you mean 'segnet'?`, or the known names where none is close."""
    names = list(known)
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return f"known are {', '.join(names[:FEW])}{more}." if names else "none are known."


def find_in(table: Mapping[str, T], name: str, what: str) -> T:
    """An entry of a table. Raises ValueError in one line with the closest names."""
    if name not in table:
        raise ValueError(f"unknown {what} {name!r}; {suggestion(name, table)}")
    return table[name]


def find_named(name: str, table: Mapping[str, T], kind: type[Any] | tuple[type[Any], ...], what: str) -> T:
    """An entry of a table, or the value at `package.module:NAME`.

    Raises ValueError in one line where there is no such value, or where it is not of the given kind.
    """
    if not is_reference(name):
        if name not in table:
            raise ValueError(
                f"unknown {what} {name!r}; {suggestion(name, table)} See study list, or pass your own as package.module:NAME"
            )
        return table[name]
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # a user's module may raise anything
        searched = f"; searched {Path.cwd()} and Python's path" if isinstance(error, ModuleNotFoundError) else ""
        raise ValueError(
            f"{what} {name!r}: cannot import {module_name} ({type(error).__name__}: {' '.join(str(error).split())}){searched}"
        ) from error
    if not hasattr(module, attribute):
        names = [known for known, value in vars(module).items() if isinstance(value, kind)]
        raise ValueError(f"{what} {name!r}: {module.__file__} defines no {attribute!r}; {suggestion(attribute, names)}")
    value = getattr(module, attribute)
    if not isinstance(value, kind):
        wanted = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise ValueError(f"{what} {name!r}: expected {wanted}, got {type(value).__name__}")
    found: T = value
    return found


def launched_from(directory: str) -> None:
    """Put a launch directory on Python's path, where it exists on this machine."""
    if directory not in sys.path and Path(directory).is_dir():
        sys.path.insert(0, directory)
