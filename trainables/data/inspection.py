"""Inspection of a data set for `study check`: reads every item and estimates how its files were compressed.

To estimate the settings of another file format, return its codec's name and level from `_coding`.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trainables.codecs import CODECS
from trainables.contracts import Dataset, Source, SplitName

STANDARD_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
"""Table K.1 of the JPEG standard, row by row; libjpeg scales it by the quality."""


class Coding(NamedTuple):
    """How a source file was compressed, as far as its header shows."""

    codec: str
    level: int
    exact: bool
    """True where the file's settings are exactly those of the level; otherwise the level is the nearest one."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One item after reading all of it."""

    name: str
    problems: tuple[str, ...]
    """Problems, one line each, naming the file and the remedy."""
    size: tuple[int, int] | None
    """Height and width of the frames in pixels; None where they cannot be read."""
    classes: frozenset[int]
    """Class indices that occur in the target."""
    coding: Coding | None
    """Compression of the imagery's file, where its format is lossy and stores its settings."""
    digest: str
    """SHA-256 of the files, or of the generated data."""


def read_items(dataset: Dataset, source: Source, split: SplitName, *, threads: int = 1) -> Iterator[Reading]:
    """Read every item of a split, in order. Problems are reported in the readings, never raised."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda index: _read(dataset, source, split, index), range(len(source.split(split).names)))


def _read(dataset: Dataset, source: Source, split: SplitName, index: int) -> Reading:
    part = source.split(split)
    name, files, problems = part.names[index], part.files(index), list[str]()
    frames = target = size = None
    classes = frozenset[int]()
    # Readers, libraries and damaged files raise errors of any type; a check reports them all instead of stopping at the first.
    try:
        frames = part.frames(index)
        size = (frames.shape[1], frames.shape[2])
    except Exception as error:
        problems.append(_problem(error, files[:1], name))
    try:
        target = part.target(index)
        classes = frozenset(dataset.present(target))
    except Exception as error:
        problems.append(_problem(error, files[-1:], name))
    outside = sorted(label for label in classes if not 0 <= label < len(source.classes))
    if outside:
        problems.append(
            f"{files[-1] if files else name}: label {outside[0]} is outside 0..{len(source.classes) - 1}; correct the annotation"
        )
    digest = hashlib.sha256()
    for file in files:
        try:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        except OSError:  # reported above
            continue
    if not files:
        digest.update(b"".join(_contents((frames, target))))
    return Reading(
        name=name,
        problems=tuple(problems),
        size=size,
        classes=classes,
        coding=_coding(files[0]) if files else None,
        digest=digest.hexdigest(),
    )


def _problem(error: Exception, files: Sequence[Path], name: str) -> str:
    """One line that names the file, which the reader's message often does already."""
    text, place = " ".join(str(error).split()) or type(error).__name__, str(files[0]) if files else name
    return text if place in text and isinstance(error, ValueError) else f"{place}: {text}; restore it or remove it from its list"


def _contents(value: Any) -> Iterator[bytes]:
    """The bytes of arrays in nested sequences and mappings; other values as text."""
    if isinstance(value, np.ndarray):
        yield repr((value.shape, value.dtype.str)).encode() + value.tobytes()
    elif isinstance(value, Mapping):
        yield from _contents([*value.items()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _contents(each)
    else:
        yield repr(value).encode()


def _coding(file: Path) -> Coding | None:
    try:
        with Image.open(file) as image:
            table = image.quantization.get(0) if image.format in {"JPEG", "MPO"} else None  # type: ignore[attr-defined]
    except Exception:  # reported where the item is read
        return None
    if table is None:
        return None
    quality, distance = nearest_quality(tuple(table))
    return Coding("jpeg", quality, distance == 0)


@lru_cache  # a camera writes the same table into every file
def nearest_quality(table: tuple[int, ...]) -> tuple[int, int]:
    """The JPEG quality 1..100 with the nearest luminance table (64 steps, row by row), and the sum of absolute differences."""
    distances = {
        quality: sum(abs(step - other) for step, other in zip(table, luminance(quality), strict=True)) for quality in range(1, 101)
    }
    best = min(distances, key=distances.__getitem__)
    return best, distances[best]


def luminance(quality: int) -> tuple[int, ...]:
    """Libjpeg's luminance table at a quality of 1..100: 64 steps, row by row."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(min(max((step * percent + 50) // 100, 1), 255) for step in STANDARD_LUMINANCE)


def recompressing(coding: Coding) -> tuple[int, ...]:
    """Levels of the source's codec that are no heavier than the compression the source already has."""
    codec = CODECS.get(coding.codec)
    if codec is None:
        return ()
    falling = codec.levels[0] > codec.levels[-1]
    return tuple(level for level in codec.levels if (level >= coding.level if falling else level <= coding.level))
