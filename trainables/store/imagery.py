"""The encoded store: what a codec makes of a split at a level, encoded once on a machine and decoded by every trial and epoch.

One file, a pack, holds a split at a level; its name says what is in it, so nothing in it ever changes:

    <root>/<data set>-<fingerprint>/<split>/<codec>-<level>-<codec identity>.pack
                                            raw.pack      decoded frames, for sources that are slow to decode
                                            <one of these>-<derived>.pack      what is derived of its frames
A pack is built beside its place, synced and moved there; what a killed builder had made is gone on with. Readers check each item;
of a pack that is damaged or gone, what is not sound is made anew. When the store outgrows its limit, the packs that were not opened
for longest are removed; who has one open keeps reading it.

To store another kind of imagery, give its `Split` frames and its codec bytes: nothing here knows what they are.
"""

import fcntl
import os
import struct
import time
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from trainables.codecs import identity
from trainables.contracts import Codec, Derived, Frames, Size, Source, Split

MAGIC = b"CSPACK02"
"""Format 2; a pack of another format is rebuilt."""
SUM, HEADER = struct.Struct("<q"), struct.Struct("<4q")
"""Before each item: what the rest must sum to; its length in bytes and its (T, H, W)."""
AHEAD = SUM.size + HEADER.size
RAW_SHARE = 0.5
"""Of the store's limit, how much the decoded frames of one split may take; what is larger is decoded every time."""
PROGRESS_SECONDS = 1.0
GIGABYTE = 10**9


Window = Callable[[int], Sequence[int]]
"""From the number of an item's frames to those that are wanted, in order."""

Shape = tuple[int, int, int]
"""Frames, height and width of a whole item."""

Each = Callable[[Callable[[int], tuple[bytes, Shape]], Sequence[int]], Iterable[tuple[bytes, Shape]]]
"""Calls a function for each of some items, and gives what it returns in their order: `map`, or one that has several processes."""


class Coded(NamedTuple):
    """An item after the codec."""

    frames: npt.NDArray[Any]
    """All, or those that were wanted; or what is derived of them."""
    size: Size
    """Bytes of the whole item after coding; 0 for clean."""
    shape: Shape


class Imagery(Protocol):
    """A split after a codec."""

    def item(self, index: int, level: int | None, window: Window | None = None) -> Coded:
        """An item at a level, None is clean; all of its frames, or those that a window wants."""


@dataclass(frozen=True, kw_only=True)
class Direct:
    """Imagery that is encoded and decoded each time it is asked for."""

    split: Split
    codec: Codec | None
    derived: Derived | None = None

    def item(self, index: int, level: int | None, window: Window | None = None) -> Coded:
        """Encode and decode, and derive. Raises ValueError naming the item where that fails."""
        if self.derived is not None:
            whole = replace(self, derived=None).item(index, level)
            return whole._replace(frames=self.derived.derive(whole.frames, _wanted(window, whole.shape)))
        frames = self.split.frames(index)
        if level is None:
            return clean(frames, window)
        if self.codec is None:
            raise ValueError(f"level {level} without a codec")
        data = encode(self.codec, frames, level, self.split.names[index])
        return coded(self.codec, data, frames.shape[:3], window)


def _wanted(window: Window | None, shape: Shape) -> Sequence[int]:
    return range(shape[0]) if window is None else window(shape[0])


def clean(frames: Frames, window: Window | None) -> Coded:
    """An item that no codec touched."""
    shape = frames.shape[:3]
    return Coded(frames if window is None else frames[list(window(len(frames)))], Size(0), shape)


def coded(codec: Codec, data: bytes, shape: Shape, window: Window | None) -> Coded:
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

    def imagery(self, source: Source, split: str, codec: Codec | None, derived: Derived | None = None) -> "Stored":
        """A split of a source, or what is derived of it, read through the store."""
        return Stored(store=self, source=source, split=split, codec=codec, derived=derived)

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
    """Imagery that is encoded, or derived of what was encoded, once for all trials on the machine."""

    store: Store
    source: Source
    split: str
    codec: Codec | None
    derived: Derived | None = None
    _packs: dict[int | None, "_Pack"] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        """Without open files, which a loader worker opens for itself."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"_packs": {}}

    def item(self, index: int, level: int | None, window: Window | None = None) -> Coded:
        """Read an item, building its pack where there is none or it is damaged. Raises OSError for a full disk, say."""
        if not self._keeps(level):
            return clean(self._split.frames(index), window)
        data, shape = self._read(index, level)
        if self.derived is not None:
            return Coded(self.derived.decode(data, _wanted(window, shape)), self._imagery._size(index, level), shape)
        if level is None or self.codec is None:
            return clean(np.frombuffer(data, np.uint8).reshape(*shape, 3), window)
        return coded(self.codec, data, shape, window)

    def prepare(self, levels: Sequence[int | None], each: Each = map) -> Iterator[Building]:
        """Build what is missing for levels, telling how far it is about once a second; `each` makes the items."""
        if self.derived is not None:
            yield from self._imagery.prepare(levels, each)
        for level in levels:
            if self._keeps(level):
                yield from self._build(level, each)

    def predicted_bytes(self, level: int | None, sample: int = 4) -> int:
        """The size of a level's pack, from a few items spread over the split; 0 for clean imagery that is not kept.

        What is derived is foretold from one value of each item, since values are dear.
        """
        names = self._split.names
        chosen = sorted({round(place) for place in np.linspace(0, len(names) - 1, min(sample, len(names)))})
        if self.derived is not None:
            return len(names) * sum(self._foretold(self.derived, i, level) for i in chosen) // len(chosen)
        if level is None:
            return len(names) * sum(self._split.frames(i).size for i in chosen) // len(chosen) if self.source.slow else 0
        if self.codec is None:
            raise ValueError(f"level {level} without a codec")
        sizes = [len(encode(self.codec, self._split.frames(i), level, names[i])) for i in chosen]
        return len(names) * sum(sizes) // len(sizes)

    def _foretold(self, derived: Derived, index: int, level: int | None) -> int:
        """Bytes of all values of an item, by the middle one: of just two frames, so that no clip is coded for it."""
        frames = self._split.frames(index)
        two = frames[(len(frames) - 1) // 2 :][:2]
        if level is not None and self.codec is not None:
            two = self.codec.decode(encode(self.codec, two, level, self._split.names[index]))
        return len(frames) * len(derived.encode(derived.derive(two, [0])))

    def _keeps(self, level: int | None) -> bool:
        return level is not None or self.derived is not None or self._keeps_raw

    @cached_property
    def _imagery(self) -> "Stored":
        """What values are derived of."""
        return replace(self, derived=None)

    @cached_property
    def _keeps_raw(self) -> bool:
        """Whether clean frames are kept: of a slow source, within the budget."""
        if not self.source.slow:
            return False
        return self._path(None).exists() or self.predicted_bytes(None) <= RAW_SHARE * self.store.limit

    @cached_property
    def _split(self) -> Split:
        return self.source.split(self.split)

    def _parts(self, level: int | None) -> list[str]:
        """The parts of a pack's name, each with its digest."""
        if level is None:
            imagery = "raw"
        elif self.codec is None:
            raise ValueError(f"level {level} without a codec")
        else:
            imagery = f"{self.codec.name}-{level}-{identity(self.codec, level)}"
        return [imagery] if self.derived is None else [imagery, self.derived.name]

    def _path(self, level: int | None) -> Path:
        name = "-".join(self._parts(level))
        return self.store.root / f"{self.source.name}-{self.source.fingerprint}" / self.split / f"{name}.pack"

    def _read(self, index: int, level: int | None) -> tuple[bytes, Shape]:
        """What a pack holds of an item, mending the pack where it is damaged."""
        try:
            return self._pack(level).read(index)
        except DamagedError:
            self._packs.pop(level).close()
            for _ in self._build(level, again=True):
                pass
            return self._pack(level).read(index)

    def _size(self, index: int, level: int | None) -> Size:
        return Size(0) if level is None or self.codec is None else self.codec.size(self._read(index, level)[0])

    def _pack(self, level: int | None) -> "_Pack":
        """The open pack of a level, built where there is none."""
        if level not in self._packs:
            for _ in self._build(level):
                pass
            self._packs[level] = _Pack(self._path(level), len(self._split.names))
        return self._packs[level]

    def _build(self, level: int | None, each: Each = map, *, again: bool = False) -> Iterator[Building]:
        """Make a pack unless it is there and whole; with `again`, check every item of what is there first."""
        path, items = self._path(level), len(self._split.names)
        if not again and _whole(path, items):
            return
        if self.derived is None and level is not None and self._keeps_raw:
            yield from self._build(None, each)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path.with_suffix(".lock")):
            # Another process may have made or mended it while this one waited for the lock.
            if _whole(path, items, every=again):
                return
            temporary = path.with_suffix(".building")  # one name: the lock is held, so a file there is a killed builder's
            try:
                with temporary.open("r+b" if temporary.exists() else "w+b") as file:
                    told = time.monotonic()
                    writer = _Writer(file, items)
                    what = " ".join([self.split, *(part.rpartition("-")[0] or part for part in self._parts(level))])
                    for data, shape in self._items(level, each, writer.count):
                        writer.add(data, shape)
                        if time.monotonic() - told > PROGRESS_SECONDS:
                            told = time.monotonic()
                            yield Building(what, writer.count, items)
                    writer.finish()
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except OSError as error:  # after anything else the file is gone on with
                temporary.unlink(missing_ok=True)
                raise OSError(error.errno, f"cannot build {path}: {error.strerror}; free space, or set STUDY_STORE") from error
            self.store.evict(keep=path)

    def _items(self, level: int | None, each: Each, start: int) -> Iterator[tuple[bytes, Shape]]:
        """The items of a pack from one on: those of a damaged one that are sound, the others made anew."""
        items = range(start, len(self._split.names))
        try:
            old = _Pack(self._path(level), len(self._split.names))
            sound = set(filter(old.sound, items))
        except (FileNotFoundError, DamagedError):
            sound = set()
        made = iter(each(partial(self._made, level), [index for index in items if index not in sound]))
        for index in items:
            yield old.read(index) if index in sound else next(made)

    def _made(self, level: int | None, index: int) -> tuple[bytes, Shape]:
        if self.derived is not None:
            frames = self._imagery.item(index, level).frames
            return self.derived.encode(self.derived.derive(frames, range(len(frames)))), frames.shape[:3]
        # Through the decoded frames where they are kept: a slow source is decoded once, not once a level.
        frames = self._split.frames(index) if level is None else self.item(index, None).frames
        if level is None or self.codec is None:
            return frames.tobytes(), frames.shape[:3]
        return encode(self.codec, frames, level, self._split.names[index]), frames.shape[:3]


class _Writer:
    """Items one after another, each behind its header, then where they begin and what the list of that must sum to.

    It goes on behind the sound items of a file that was not finished.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._offsets = file, [len(MAGIC)]
        size = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) == MAGIC:
            while self.count < most and (item := _item(file.read(AHEAD), file.read, size)) is not None:
                self._offsets.append(self._offsets[-1] + AHEAD + len(item[0]))
        file.seek(0)
        file.write(MAGIC)
        file.seek(self._offsets[-1])
        file.truncate()

    @property
    def count(self) -> int:
        return len(self._offsets) - 1

    def add(self, data: bytes, shape: Sequence[int]) -> None:
        header = HEADER.pack(len(data), *shape)
        self._file.write(SUM.pack(zlib.crc32(data, zlib.crc32(header))) + header + data)
        self._offsets.append(self._offsets[-1] + AHEAD + len(data))

    def finish(self) -> None:
        index = np.array(self._offsets, "<i8").tobytes()
        self._file.write(index + np.array([self.count, zlib.crc32(index)], "<i8").tobytes() + MAGIC)


def _item(ahead: bytes, read: Callable[[int], bytes], most: int) -> tuple[bytes, Shape] | None:
    """An item by what is ahead of it and what reads on; None where that is not what was written: longer than `most`, say."""
    if len(ahead) != AHEAD:
        return None
    header = ahead[SUM.size :]
    length, count, height, width = HEADER.unpack(header)
    data = read(length) if 0 <= length <= most else b""
    return (data, (count, height, width)) if SUM.pack(zlib.crc32(data, zlib.crc32(header))) == ahead[: SUM.size] else None


TAIL = 16 + len(MAGIC)


class _Pack:
    """An open pack. Reads by position rather than by map: a file that is cut short is then an error, not a crash."""

    def __init__(self, path: Path, items: int) -> None:
        self._file = os.open(path, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, self._file)  # also when the pack is merely dropped
        try:
            with suppress(FileNotFoundError):  # evicted between the two: the open file still reads
                os.utime(path)  # for eviction: when it was last opened
            self._offsets = self._index(items)
        except BaseException:
            self.close()
            raise

    def _index(self, items: int) -> npt.NDArray[np.int64]:
        length, size = os.fstat(self._file).st_size, 8 * (items + 1)
        tail = os.pread(self._file, TAIL, max(0, length - TAIL))
        index = os.pread(self._file, size, max(0, length - TAIL - size))
        if length < size + TAIL or tail[16:] != MAGIC:
            raise DamagedError("no index")
        count, total = np.frombuffer(tail[:16], "<i8")
        if count != items or total != zlib.crc32(index):
            raise DamagedError("index")
        return np.frombuffer(index, "<i8")

    def sound(self, index: int) -> bool:
        """Whether an item is as it was written."""
        try:
            self.read(index)
        except DamagedError:
            return False
        return True

    def read(self, index: int) -> tuple[bytes, Shape]:
        """An item's bytes and (T, H, W). Raises DamagedError."""
        start, stop = int(self._offsets[index]), int(self._offsets[index + 1])
        both = os.pread(self._file, stop - start, start)
        item = _item(both[:AHEAD], lambda length: both[AHEAD : AHEAD + length], len(both))
        if item is None:
            raise DamagedError(f"item {index}")
        return item


def _whole(path: Path, items: int, *, every: bool = False) -> bool:
    """Whether a pack is there with a sound index and, if asked, sound items."""
    try:
        pack = _Pack(path, items)
    except (FileNotFoundError, DamagedError):
        return False
    whole = all(map(pack.sound, range(items if every else 0)))
    pack.close()
    return whole


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
