"""Checks of data sets and architectures: every item is read, a user's own architecture is tried."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import median_low
from typing import Any

from study.check.findings import Finding, error, listed, ok, root_cause, warning
from trainables import (
    Architecture,
    Dataset,
    MissingFilesError,
    Reading,
    Source,
    SplitName,
    read_items,
    recompressing,
    try_out,
)

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


def architecture_findings(architecture: Architecture, hyper: Any, source: Source) -> Iterator[Finding]:
    """The conformance checks of an architecture, on a few items."""
    subject = f"architecture {architecture.name}"
    try:
        tried = list(try_out(architecture, hyper, source))
    except Exception as trouble:  # a user's code failed before any check ran
        yield error(subject, f"cannot run on {source.name} ({root_cause(trouble)})")
        return
    failed: dict[str, list[str]] = {}
    for name, problem in tried:
        if problem:
            failed.setdefault(problem, []).append(name)
    for problem, names in failed.items():  # one mistake in a learner fails most checks
        more = f" (and {len(names) - 1} more checks)" if len(names) > 1 else ""
        yield error(subject, f"{names[0]}{more}: {problem}")
    if not failed:
        yield ok(subject, f"{len(tried)} checks passed on a few items of {source.name}", checks=[name for name, _ in tried])


def open_source(dataset: Dataset, path: Path | None) -> Source | tuple[Finding, ...]:
    """An opened data set, or errors that name every listed file that is missing."""
    subject = f"data {dataset.name}"
    try:
        return dataset.source(path)
    except MissingFilesError as trouble:
        lines = [f"{file}: listed but missing; restore it or remove it from its list" for file in trouble.files]
        return tuple(listed(subject, lines))
    except Exception as trouble:  # readers raise ValueError; a bug in one must not end the check
        return (error(subject, str(trouble)),)


def data_findings(
    dataset: Dataset, source: Source, *, threads: int = 1, advance: Callable[[], None] = lambda: None
) -> Iterator[Finding]:
    """Read every item: unreadable files, classes that occur, groups in several splits, compression of the source files."""
    readings: dict[SplitName, list[Reading]] = {split: [] for split in SPLITS}
    for split, of_split in readings.items():
        for reading in read_items(dataset, source, split, threads=threads):
            of_split.append(reading)
            advance()
    subject, every = f"data {dataset.name}", [reading for of_split in readings.values() for reading in of_split]
    problems = list(dict.fromkeys(problem for reading in every for problem in reading.problems))
    problems += [f"split {split} is empty; correct its list" for split, of_split in readings.items() if not of_split]
    yield from listed(subject, problems)
    yield from _straddling(subject, source)
    seen = {split: Counter(label for reading in of_split for label in reading.classes) for split, of_split in readings.items()}
    unseen = [name for label, name in enumerate(source.classes) if not seen["train"][label]]
    if unseen and not problems:
        line = f"no training item shows {', '.join(unseen)}, so no network can learn it; correct the lists or the annotations"
        yield warning(subject, line)
    yield from _codings(subject, every)
    if problems:
        return
    classes = range(len(source.classes))
    occur = {split: f" ({sum(label in seen[split] for label in classes)} of {len(classes)} classes)" for split in SPLITS}
    found = ", ".join(f"{len(readings[split])} {split}{occur[split] if classes else ''}" for split in SPLITS)
    sizes = sorted({reading.size for reading in every if reading.size}, key=lambda size: size[0] * size[1])
    shapes = [f"{width}x{height}" for height, width in (sizes[0], sizes[-1])]
    contents = sha256(
        repr([(split, r.name, r.digest) for split, of_split in readings.items() for r in of_split]).encode()
    ).hexdigest()
    yield ok(
        subject,
        f"{found}; {' to '.join(dict.fromkeys(shapes))} pixels; contents {contents[:16]}, fingerprint {source.fingerprint}",
        contents=contents,
        fingerprint=source.fingerprint,
        items={split: len(of_split) for split, of_split in readings.items()},
        classes={split: {name: seen[split][label] for label, name in enumerate(source.classes)} for split in SPLITS},
        smallest=shapes[0],
        largest=shapes[1],
    )


def _straddling(subject: str, source: Source) -> Iterator[Finding]:
    """Whether every group and every file belongs to one split."""
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
            more = f" (and {len(twice) - 1} more)" if len(twice) > 1 else ""
            yield error(subject, f"{kind} {twice[0]} is in {splits}{more}; correct the lists so that each {kind} is in one split")
            return  # the files of a group in two splits are in two splits too


def _codings(subject: str, readings: Sequence[Reading]) -> Iterator[Finding]:
    """How the source files were compressed, and which levels would save nothing on them."""
    codings = [reading.coding for reading in readings if reading.coding]
    for codec in dict.fromkeys(coding.codec for coding in codings):
        of_codec = [coding for coding in codings if coding.codec == codec]
        level, exact = median_low([coding.level for coding in of_codec]), sum(coding.exact for coding in of_codec)
        levels = recompressing(of_codec[0]._replace(level=level))
        facts = {"codec": codec, "files": len(of_codec), "level": level, "exact": exact, "no_saving": levels}
        exactly = f"{exact} with exactly the settings of a level"
        line = f"{len(of_codec)} of {len(readings)} source files are {codec} already, median level {level} ({exactly})"
        if levels:
            yield warning(subject, f"{line}; {codec} {', '.join(map(str, levels))}: recompression, no saving", **facts)
        else:
            yield ok(subject, line, **facts)
