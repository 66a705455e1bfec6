"""What `study check` looks at beneath the study: the items of a data set, the disk that a study fills, the devices torch sees.

To estimate the settings of another source format, give `Coding` its codec's name and level, and find them in `_coding`.
"""

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from trainables.codecs import CODECS
from trainables.contracts import Dataset, Derived, Source
from trainables.store.imagery import RAW_SHARE, Store

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
"""Table K.1 of the JPEG standard by rows, which libjpeg scales by the quality."""


class Coding(NamedTuple):
    """How a source file was compressed, as far as it tells."""

    codec: str
    level: int
    exact: bool
    """Whether the file's settings are those of the level; otherwise it is the nearest."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """An item, read whole."""

    name: str
    problems: tuple[str, ...]
    """What is wrong, each in one line that names the file and the remedy."""
    size: tuple[int, int] | None
    """Height and width of its frames, in pixels; None where they cannot be read."""
    classes: frozenset[int]
    """That occur in its target."""
    coding: Coding | None
    """Of its imagery's file, where that is of a lossy format which tells its settings."""
    digest: str
    """SHA-256 of its files, or of what is made."""


def read_items(dataset: Dataset, source: Source, split: str, *, threads: int = 1) -> Iterator[Reading]:
    """Read every item of a split, in order. What cannot be read is told in the readings; nothing is raised for it."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda index: _read(dataset, source, split, index), range(len(source.split(split).names)))


def _read(dataset: Dataset, source: Source, split: str, index: int) -> Reading:
    part = source.split(split)
    name, files, problems = part.names[index], part.files(index), list[str]()
    frames = target = size = None
    classes = frozenset[int]()
    # Readers, libraries and damage of every kind meet here, and a check names what is wrong rather than stopping at the first.
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
        except OSError:  # told above
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
    """One line that names the file, which the reader's own message often does."""
    text, place = " ".join(str(error).split()) or type(error).__name__, str(files[0]) if files else name
    return text if place in text and isinstance(error, ValueError) else f"{place}: {text}; restore it or take it off its list"


def _contents(value: Any) -> Iterator[bytes]:
    """The bytes of arrays in nested sequences and mappings, and what else there is as text."""
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
    except Exception:  # told where the item is read
        return None
    if table is None:
        return None
    quality, distance = nearest_quality(tuple(table))
    return Coding("jpeg", quality, distance == 0)


@lru_cache  # a camera writes the same table into every file
def nearest_quality(table: tuple[int, ...]) -> tuple[int, int]:
    """The JPEG quality, 1..100, whose luminance table (64 steps by rows) is nearest, and the summed difference of the steps."""
    distances = {
        quality: sum(abs(step - other) for step, other in zip(table, luminance(quality), strict=True)) for quality in range(1, 101)
    }
    best = min(distances, key=distances.__getitem__)
    return best, distances[best]


def luminance(quality: int) -> tuple[int, ...]:
    """The luminance table that libjpeg makes at a quality of 1..100: 64 steps by rows."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(min(max((step * percent + 50) // 100, 1), 255) for step in STANDARD_LUMINANCE)


def recompressing(coding: Coding) -> tuple[int, ...]:
    """The levels of the source's own codec that are at or milder than what the source already went through."""
    codec = CODECS.get(coding.codec)
    if codec is None:
        return ()
    falling = codec.levels[0] > codec.levels[-1]
    return tuple(level for level in codec.levels if (level >= coding.level if falling else level <= coding.level))


def predicted_bytes(store: Store, source: Source, needs: Iterable[tuple[str, str | None, int | None, Derived | None]]) -> int:
    """What the store will hold of a source for (split, codec, level, what is derived)s, in bytes; derived None are the frames.

    Clean frames that it would not keep are left out.

    Raises ValueError where an item that is sampled cannot be read.
    """
    total = 0
    for split, codec, level, derived in needs:
        size = store.imagery(source, split, CODECS[codec] if codec else None, derived).predicted_bytes(level)
        total += size if level is not None or derived is not None or size <= RAW_SHARE * store.limit else 0
    return total


class Device(NamedTuple):
    """A GPU."""

    name: str
    memory: int
    """Bytes."""


def torch_devices() -> tuple[str, tuple[Device, ...]]:
    """The version of torch and the GPUs that it computes on.

    Raises ImportError or OSError where torch does not load, RuntimeError where a GPU is there but cannot be used.
    """
    import torch

    with warnings.catch_warnings(record=True) as said:  # a driver that is too old is only a warning
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if said and not count:
        raise RuntimeError(" ".join(str(said[0].message).split()))
    devices = []
    for index in range(count):
        if torch.ones(8, device=f"cuda:{index}").sum().item() != 8:
            raise RuntimeError(f"cuda:{index} adds wrongly")
        properties = torch.cuda.get_device_properties(index)
        devices.append(Device(properties.name, int(properties.total_memory)))
    return str(torch.__version__), tuple(devices)
