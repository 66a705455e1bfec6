"""Findings: the results of checks, without secrets."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "warning", "error"]
NAMED = 20
"""Number of problems of a data set that are listed; the rest are counted."""
LOGIN = re.compile(r"(?<=://)(?:[^/\s]*|[^/\s:@]+:\S*)@")
"""User and password in a URI, even where the password contains a slash."""
CREDENTIAL = re.compile(r"(?i)([?&][^=&\s]*(?:key|secret|token|password|signature)[^=&\s]*=)[^&\s]+")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of a check. Made by `ok`, `warning` and `error`, which remove secrets."""

    subject: str
    state: State
    line: str
    """One line; an error names the file, the place and the remedy."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain values for JSON."""


def ok(subject: str, line: str, **facts: Any) -> Finding:
    """A finding that needs no action."""
    return _finding(subject, "ok", line, facts)


def warning(subject: str, line: str, **facts: Any) -> Finding:
    """A finding that does not stop a study, but may affect its figures or speed."""
    return _finding(subject, "warning", line, facts)


def error(subject: str, line: str, **facts: Any) -> Finding:
    """A finding that would make a study fail, or its figures wrong."""
    return _finding(subject, "error", line, facts)


def _finding(subject: str, state: State, line: str, facts: Mapping[str, Any]) -> Finding:
    return Finding(subject=subject, state=state, line=without_secrets(" ".join(line.split())), facts=_plain(facts))


def _plain(value: Any) -> Any:
    """A value as JSON stores it, without secrets."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def without_secrets(text: str) -> str:
    """A text with logins and credentials removed from its URIs."""
    return CREDENTIAL.sub(r"\1***", LOGIN.sub("", text))


def listed(subject: str, lines: Sequence[str]) -> Iterator[Finding]:
    """An error for each of the first lines, and one with the count of the rest."""
    yield from (error(subject, line) for line in lines[:NAMED])
    if len(lines) > NAMED:
        yield error(subject, f"{len(lines) - NAMED} more files with such problems; repair the whole tree")


def root_cause(trouble: BaseException) -> str:
    """The operating system's error beneath a library's exception, where there is one, in one line."""
    cause: BaseException | None = trouble
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return " ".join(str(trouble).split())[:300] or type(trouble).__name__
