"""The encoded store: what a codec makes of a split at a level, encoded once on a machine and decoded by every trial and epoch.

One file, a pack, holds a split at a level; its name says what is in it, so nothing in it ever changes:

    <root>/<data set>-<fingerprint>/<split>/<codec>-<level>-<codec identity>.pack
                                            raw.pack      decoded frames, for sources that are slow to decode
A pack is built beside its place, synced and moved there. Readers check each item, and rebuild a pack that is damaged or gone. When
the store outgrows its limit, the packs that were not opened for longest are removed; who has one open keeps reading it.

To store another kind of imagery, give its `Split` frames and its codec bytes: nothing here knows what they are.
"""

import fcntl
import os
import time
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from trainables.codecs import identity
from trainables.contracts import Codec, Frames, Size, Source, Split

MAGIC = b"CSPACK01"
"""Format 1; a pack of another format is rebuilt."""
RAW_SHARE = 0.5
"""Of the store's limit, how much the decoded frames of one split may take; what is larger is decoded every time."""
PROGRESS_SECONDS = 1.0
GIGABYTE = 10**9


Window = Callable[[int], Sequence[int]]
"""From the number of an item's frames to those that are wanted, in order."""


class Coded(NamedTuple):
    """An item after the codec."""

    frames: Frames
    """All, or those that were wanted."""
    size: Size
    """Bytes of the whole item after coding; 0 for clean."""
    shape: tuple[int, int, int]
    """Frames, height and width of the whole item."""


class Imagery(Protocol):
    """A split after a codec."""

    def item(self, index: int, level: int | None, window: Window | None = None) -> Coded:
        """An item at a level, None is clean; all of its frames, or those that a window wants."""


@dataclass(frozen=True, kw_only=True)
class Direct:
    """Imagery that is encoded and decoded each time it is asked for."""

    split: Split
    codec: Codec | None

    def item(self, index: int, level: int | None, window: Window | None = None) -> Coded:
        """Encode and decode. Raises ValueError naming the item where that fails."""
        frames = self.split.frames(index)
        if level is None:
            return clean(frames, window)
        if self.codec is None:
            raise ValueError(f"level {level} without a codec")
        data = encode(self.codec, frames, level, self.split.names[index])
        return coded(self.codec, data, frames.shape[:3], window)


def clean(frames: Frames, window: Window | None) -> Coded:
    """An item that no codec touched."""
    shape = frames.shape[:3]
    return Coded(frames if window is None else frames[list(window(len(frames)))], Size(0), shape)


def coded(codec: Codec, data: bytes, shape: tuple[int, int, int], window: Window | None) -> Coded:
    """An item from what its codec made of it."""
    return Coded(codec.decode(data, None if window is None else window(shape[0])), codec.size(data), shape)


def encode(codec: Codec, frames: Frames, level: int, name: str) -> bytes:
    """Encode one item. Raises ValueError naming it where the codec refuses it."""
    try:
        return codec.encode(frames, level)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


class Building(NamedTuple):
    """How far a pack is."""

    pack: str
    built: int
    items: int


class DamagedError(Exception):
    """A pack that is not what was written."""


@dataclass(frozen=True)
class Store:
    """A folder of packs on this machine."""

    root: Path
    limit: int
    """Bytes."""

    def imagery(self, source: Source, split: str, codec: Codec | None) -> "Stored":
        """A split of a source, read through the store."""
        return Stored(store=self, source=source, split=split, codec=codec)

    def evict(self, keep: Path) -> None:
        """Remove the packs that were not opened for longest until the rest fits the limit; `keep` stays."""
        packs = []
        for path in self.root.rglob("*.pack"):
            try:
                packs.append((path.stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:  # another process evicted it
                continue
        total = sum(size for _, size, _ in packs)
        for _, size, path in sorted(packs):
            if total <= self.limit:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Imagery that is encoded once for all trials on the machine."""

    store: Store
    source: Source
    split: str
    codec: Codec | None
    _packs: dict[int | None, "_Pack"] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        """Without open files, which a loader worker opens for itself."""
        return {"store": self.store, "source": self.source, "split": self.split, "codec": self.codec, "_packs": {}}

    def item(self, index: int, level: int | None, window: Window | None = None) -> Coded:
        """Read an item, building its pack where there is none or it is damaged. Raises OSError for a full disk, say."""
        if level is None and not self._keeps_raw:
            return clean(self._split.frames(index), window)
        try:
            data, shape = self._pack(level).read(index)
        except DamagedError:
            self._packs.pop(level).close()
            for _ in self._build(level, again=True):
                pass
            data, shape = self._pack(level).read(index)
        if level is None or self.codec is None:
            return clean(np.frombuffer(data, np.uint8).reshape(*shape, 3), window)
        return coded(self.codec, data, shape, window)

    def prepare(self, levels: Sequence[int | None]) -> Iterator[Building]:
        """Build what is missing for levels, telling how far it is about once a second."""
        for level in levels:
            if level is not None or self._keeps_raw:
                yield from self._build(level)

    def predicted_bytes(self, level: int | None, sample: int = 4) -> int:
        """The size of a level's pack, from a few items spread over the split; 0 for clean imagery that is not kept."""
        names = self._split.names
        chosen = sorted({round(place) for place in np.linspace(0, len(names) - 1, min(sample, len(names)))})
        if level is None:
            return len(names) * sum(self._split.frames(i).size for i in chosen) // len(chosen) if self.source.slow else 0
        if self.codec is None:
            raise ValueError(f"level {level} without a codec")
        sizes = [len(encode(self.codec, self._split.frames(i), level, names[i])) for i in chosen]
        return len(names) * sum(sizes) // len(sizes)

    @cached_property
    def _keeps_raw(self) -> bool:
        """Whether clean frames are kept: of a slow source, within the budget."""
        if not self.source.slow:
            return False
        return self._path(None).exists() or self.predicted_bytes(None) <= RAW_SHARE * self.store.limit

    @cached_property
    def _split(self) -> Split:
        return self.source.split(self.split)

    def _path(self, level: int | None) -> Path:
        if level is None:
            name = "raw"
        elif self.codec is None:
            raise ValueError(f"level {level} without a codec")
        else:
            name = f"{self.codec.name}-{level}-{identity(self.codec, level)}"
        return self.store.root / f"{self.source.name}-{self.source.fingerprint}" / self.split / f"{name}.pack"

    def _pack(self, level: int | None) -> "_Pack":
        """The open pack of a level, built where there is none."""
        if level not in self._packs:
            for _ in self._build(level):
                pass
            self._packs[level] = _Pack(self._path(level), len(self._split.names))
        return self._packs[level]

    def _build(self, level: int | None, *, again: bool = False) -> Iterator[Building]:
        """Make a pack unless it is there and whole; with `again`, check every item of what is there first."""
        path, items = self._path(level), len(self._split.names)
        if not again and _whole(path, items):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_suffix(".lock")):
            # Another process may have made or mended it while this one waited for the lock.
            if _whole(path, items, every=again):
                return
            temporary = path.with_suffix(".building")  # one name: the lock is held, and a killed builder's is overwritten
            try:
                with temporary.open("wb") as file:
                    told = time.monotonic()
                    writer = _Writer(file)
                    for index in range(items):
                        # Through the decoded frames where they are kept: a slow source is decoded once, not once a level.
                        frames = self._split.frames(index) if level is None else self.item(index, None).frames
                        writer.add(self._bytes(frames, level, index), frames.shape[:3])
                        if time.monotonic() - told > PROGRESS_SECONDS:
                            told = time.monotonic()
                            yield Building(f"{self.split} {path.stem.rpartition('-')[0] or path.stem}", index + 1, items)
                    writer.finish()
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException as error:
                temporary.unlink(missing_ok=True)
                if isinstance(error, OSError):
                    raise OSError(error.errno, f"cannot build {path}: {error.strerror}; free space, or set STUDY_STORE") from error
                raise
            self.store.evict(keep=path)

    def _bytes(self, frames: Frames, level: int | None, index: int) -> bytes:
        if level is None or self.codec is None:
            return frames.tobytes()
        return encode(self.codec, frames, level, self._split.names[index])


class _Writer:
    """Items one after another, then where they are, what they must sum to and their (T, H, W)."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offsets, self._sums = [len(MAGIC)], list[int]()
        self._shapes: list[tuple[int, ...]] = []
        file.write(MAGIC)

    def add(self, data: bytes, shape: Sequence[int]) -> None:
        self._file.write(data)
        self._offsets.append(self._offsets[-1] + len(data))
        self._sums.append(zlib.crc32(data))
        self._shapes.append(tuple(shape))

    def finish(self) -> None:
        index = b"".join(np.array(part, "<i8").tobytes() for part in (self._offsets, self._sums, self._shapes))
        self._file.write(index + np.array([len(self._sums), zlib.crc32(index)], "<i8").tobytes() + MAGIC)


TAIL = 16 + len(MAGIC)


class _Pack:
    """An open pack. Reads by position rather than by map: a file that is cut short is then an error, not a crash."""

    def __init__(self, path: Path, items: int) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, self._file)  # also when the pack is merely dropped
        try:
            os.utime(path)  # for eviction: when it was last opened
            self._offsets, self._sums, self._shapes = self._index(items)
        except FileNotFoundError:  # evicted between the two: the open file still reads
            self._offsets, self._sums, self._shapes = self._index(items)
        except BaseException:
            self.close()
            raise

    def _index(self, items: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        length = os.fstat(self._file).st_size
        size = 8 * (items + 1 + items + 3 * items)
        tail = os.pread(self._file, TAIL, max(0, length - TAIL))
        index = os.pread(self._file, size, max(0, length - TAIL - size))
        if length < size + TAIL or tail[16:] != MAGIC:
            raise DamagedError("no index")
        count, total = np.frombuffer(tail[:16], "<i8")
        if count != items or total != zlib.crc32(index):
            raise DamagedError("index")
        numbers = np.frombuffer(index, "<i8")
        return numbers[: items + 1], numbers[items + 1 : 2 * items + 1], numbers[2 * items + 1 :].reshape(items, 3)

    def read(self, index: int) -> tuple[bytes, tuple[int, int, int]]:
        """An item's bytes and (T, H, W). Raises DamagedError."""
        start, stop = int(self._offsets[index]), int(self._offsets[index + 1])
        data = os.pread(self._file, stop - start, start)
        if len(data) != stop - start or zlib.crc32(data) != self._sums[index]:
            raise DamagedError(f"item {index}")
        count, height, width = (int(length) for length in self._shapes[index])
        return data, (count, height, width)


def _whole(path: Path, items: int, *, every: bool = False) -> bool:
    """Whether a pack is there with a sound index and, if asked, sound items."""
    try:
        pack = _Pack(path, items)
    except (FileNotFoundError, DamagedError):
        return False
    try:
        for index in range(items if every else 0):
            pack.read(index)
    except DamagedError:
        return False
    finally:
        pack.close()
    return True


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """One builder of a pack at a time on this machine; the lock ends with the process that holds it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def default_store() -> Store:
    """STUDY_STORE, else the user's cache; STUDY_STORE_GB gigabytes at most, else half of what is free there, 100 at most.

    Raises ValueError for a limit that is no positive number.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    root = Path(os.environ.get("STUDY_STORE", cache / "compression-study")).expanduser()
    root.mkdir(parents=True, exist_ok=True)
    told = os.environ.get("STUDY_STORE_GB")
    if told is None:
        system = os.statvfs(root)
        taken = sum(path.stat().st_size for path in root.rglob("*.pack"))
        return Store(root, min(100 * GIGABYTE, (system.f_bavail * system.f_frsize + taken) // 2))
    try:
        gigabytes = float(told)
    except ValueError:
        gigabytes = -1.0
    if gigabytes <= 0:
        raise ValueError(f"STUDY_STORE_GB={told!r} is no positive number of gigabytes")
    return Store(root, int(gigabytes * GIGABYTE))
