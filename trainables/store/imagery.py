"""The store: imagery under a condition, encoded once per machine and decoded by every trial and epoch.

A split under a condition is one file, a pack, whose name identifies its contents, so that a pack never changes:

    <STUDY_STORE>/encoded-imagery/CACHEDIR.TAG       marks the directory as the store's own
                    <data set>-<fingerprint>/<split>/<codec>-<level>-<codec identity>.pack
                                                     raw.pack      decoded frames, for sources that are slow to decode
                                                     <one of these>-<derived>.pack      data derived from its frames

A pack is built under a temporary name, synced and renamed. An interrupted build is resumed. Every read is checked against a
checksum; corrupt items are rebuilt. When the store exceeds its limit, the packs opened longest ago are removed; a reader that has
one open keeps reading it. The store writes and removes files only below its marked directory.

To store another kind of imagery, give its `Split` frames and its codec bytes: the store does not interpret them.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainables.codecs import find_codec, identity
from trainables.contracts import CLEAN, Codec, Condition, Derived, Frames, Size, Source, Split, SplitName
from trainables.store.packs import DamagedError, Pack, PackWriter, Shape, is_intact

OWN, TAG = "encoded-imagery", "CACHEDIR.TAG"
"""The store's directory below STUDY_STORE, and the file that marks it."""
SIGNATURE = "Signature: 8a477f597d28d172789f06886806bc55"
"""First line of a cache directory tag (bford.info/cachedir), which backup programs honour too."""
RAW_SHARE = 0.5
"""Largest share of the store that one split's decoded frames may use; larger splits are decoded on every read."""
PROGRESS_SECONDS = 1.0
GIGABYTE = 10**9


Window = Callable[[int], Sequence[int]]
"""Maps the number of frames of an item to the wanted frames, in order."""

Each = Callable[[Callable[[int], tuple[bytes, Shape]], Sequence[int]], Iterable[tuple[bytes, Shape]]]
"""Maps a function over items and returns the results in order: `map`, or a version that uses several processes."""


class Coded(NamedTuple):
    """An item under a condition."""

    frames: npt.NDArray[Any]
    """All frames, or the wanted ones; or the data derived from them."""
    size: Size
    """Encoded size of the whole item; 0 for clean."""
    shape: Shape


class Imagery(Protocol):
    """A split whose items can be read under any condition."""

    def item(self, index: int, condition: Condition, window: Window | None = None) -> Coded:
        """An item under a condition: all of its frames, or those that the window selects."""


@dataclass(frozen=True, kw_only=True)
class Direct:
    """Imagery that is encoded and decoded on every read."""

    split: Split
    derived: Derived | None = None

    def item(self, index: int, condition: Condition, window: Window | None = None) -> Coded:
        """Encode, decode and derive. Raises ValueError naming the item where that fails."""
        if self.derived is not None:
            whole = replace(self, derived=None).item(index, condition)
            return whole._replace(frames=self.derived.derive(whole.frames, _wanted(window, whole.shape)))
        frames = self.split.frames(index)
        coding = _coding(condition)
        if coding is None:
            return clean(frames, window)
        return coded(coding[0], encode(*coding, frames, self.split.names[index]), frames.shape[:3], window)


def _coding(condition: Condition) -> tuple[Codec, int] | None:
    """The codec and level of a condition; None for clean."""
    if condition.codec is None or condition.level is None:
        return None
    return find_codec(condition.codec), condition.level


def _wanted(window: Window | None, shape: Shape) -> Sequence[int]:
    return range(shape[0]) if window is None else window(shape[0])


def clean(frames: Frames, window: Window | None) -> Coded:
    """A clean item."""
    shape = frames.shape[:3]
    return Coded(frames if window is None else frames[list(window(len(frames)))], Size(0), shape)


def coded(codec: Codec, data: bytes, shape: Shape, window: Window | None) -> Coded:
    """An item from its encoded bytes."""
    return Coded(codec.decode(data, None if window is None else window(shape[0])), codec.size(data), shape)


def encode(codec: Codec, level: int, frames: Frames, name: str) -> bytes:
    """Encode one item. Raises ValueError naming the item where the codec refuses it."""
    try:
        return codec.encode(frames, level)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


class Building(NamedTuple):
    """Progress of a pack that is being built."""

    pack: str
    built: int
    items: int


@dataclass(frozen=True)
class Store:
    """Packs on this machine, and their size limit."""

    root: Path
    """Directory that holds the store's own one, and perhaps other people's files."""
    limit: int
    """Bytes."""

    @property
    def folder(self) -> Path:
        """The marked directory that belongs to the store alone. Nothing is written or removed outside it."""
        return self.root / OWN

    def mark(self) -> None:
        """Create the store's directory with its tag. Raises ValueError where it holds files and no tag."""
        folder, tag = self.folder, self.folder / TAG
        if tag.is_file():
            return
        if folder.exists() and any(not path.name.startswith(f".{TAG}") for path in folder.iterdir()):
            raise ValueError(
                f"{folder} holds files that are not the store's (no {TAG}): move them away, or set STUDY_STORE to another place"
            )
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{TAG}.{os.getpid()}"
        temporary.write_text(f"{SIGNATURE}\n# Encoded imagery of compression-study. It may be deleted at any time.\n")
        temporary.replace(tag)

    def imagery(self, source: Source, split: SplitName, derived: Derived | None = None) -> "Stored":
        """A split of a source, or the data derived from it, read through the store."""
        return Stored(store=self, source=source, split=split, derived=derived)

    def packs(self) -> list[Path]:
        """Paths of all packs in the store."""
        return [path for _, _, path in self.listing()]

    def listing(self) -> list[tuple[float, int, Path]]:
        """Time of the last opening, size in bytes and path of every pack in the store."""
        packs = []
        for path in self.folder.rglob("*.pack"):
            with suppress(FileNotFoundError):  # another process evicted it
                found = path.stat()
                packs.append((found.st_mtime, found.st_size, path))
        return packs

    def evict(self, keep: Path) -> None:
        """Remove the packs opened longest ago until the rest fits the limit; `keep` stays."""
        packs = self.listing()
        total = sum(size for _, size, _ in packs)
        for _, size, path in sorted(packs):
            if total <= self.limit:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= size


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A split read through the store, which builds missing packs."""

    store: Store
    source: Source
    split: SplitName
    derived: Derived | None = None
    _packs: dict[Condition, Pack] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __getstate__(self) -> dict[str, object]:
        """Leave open files out: each loader worker opens its own."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"_packs": {}}

    def item(self, index: int, condition: Condition, window: Window | None = None) -> Coded:
        """Read an item, building or repairing its pack first where needed. Raises OSError, e.g. for a full disk."""
        if not self._keeps(condition):
            return clean(self._split.frames(index), window)
        data, shape = self._read(index, condition)
        coding = _coding(condition)
        if self.derived is not None:
            return Coded(self.derived.decode(data, _wanted(window, shape)), self._imagery._size(index, condition), shape)
        if coding is None:
            return clean(np.frombuffer(data, np.uint8).reshape(*shape, 3), window)
        return coded(coding[0], data, shape, window)

    def prepare(self, conditions: Iterable[Condition], each: Each = map) -> Iterator[Building]:
        """Build the packs that are missing, reporting progress about once per second; `each` encodes the items."""
        wanted = list(conditions)
        if self.derived is not None:
            yield from self._imagery.prepare(wanted, each)
        for condition in wanted:
            if self._keeps(condition):
                yield from self._build(condition, each)

    def predicted_bytes(self, condition: Condition, sample: int = 4) -> int:
        """Size of a pack, extrapolated from a few items spread over the split; 0 for clean frames that are not stored.

        Derived data is expensive, so its size is extrapolated from one value per sampled item.
        """
        names, coding = self._split.names, _coding(condition)
        chosen = sorted({round(place) for place in np.linspace(0, len(names) - 1, min(sample, len(names)))})
        if self.derived is not None:
            return len(names) * sum(self._derived_bytes(self.derived, i, coding) for i in chosen) // len(chosen)
        if coding is None:
            return self._raw_bytes(chosen) if self.source.slow else 0
        sizes = [len(encode(*coding, self._split.frames(i), names[i])) for i in chosen]
        return len(names) * sum(sizes) // len(sizes)

    def stored_bytes(self, condition: Condition) -> int:
        """`predicted_bytes` of what the store would keep: decoded frames above their share are left out."""
        size = self.predicted_bytes(condition)
        return size if self.derived is not None or condition != CLEAN or size <= RAW_SHARE * self.store.limit else 0

    def _raw_bytes(self, chosen: Sequence[int]) -> int:
        return len(self._split.names) * sum(self._split.frames(i).size for i in chosen) // len(chosen)

    def _derived_bytes(self, derived: Derived, index: int, coding: tuple[Codec, int] | None) -> int:
        """Bytes of an item's derived values, from its middle two frames alone: no whole clip is encoded for an estimate."""
        frames = self._split.frames(index)
        two = frames[(len(frames) - 1) // 2 :][:2]
        if coding is not None:
            two = coding[0].decode(encode(*coding, two, self._split.names[index]))
        return len(frames) * len(derived.encode(derived.derive(two, [0])))

    def _keeps(self, condition: Condition) -> bool:
        return condition != CLEAN or self.derived is not None or self._keeps_raw

    @cached_property
    def _imagery(self) -> "Stored":
        """The frames that values are derived from."""
        return replace(self, derived=None)

    @cached_property
    def _keeps_raw(self) -> bool:
        """Whether decoded clean frames are stored: for a slow source, within their share."""
        if not self.source.slow:
            return False
        return self._path(CLEAN).exists() or self.predicted_bytes(CLEAN) <= RAW_SHARE * self.store.limit

    @cached_property
    def _split(self) -> Split:
        return self.source.split(self.split)

    def _parts(self, condition: Condition) -> list[str]:
        """The parts of a pack's name, each ending in its digest."""
        coding = _coding(condition)
        imagery = "raw" if coding is None else f"{coding[0].name}-{coding[1]}-{identity(*coding)}"
        return [imagery] if self.derived is None else [imagery, self.derived.name]

    def _path(self, condition: Condition) -> Path:
        name = "-".join(self._parts(condition))
        return self.store.folder / f"{self.source.name}-{self.source.fingerprint}" / self.split / f"{name}.pack"

    def _read(self, index: int, condition: Condition) -> tuple[bytes, Shape]:
        """An item of a pack, after repairing the pack where it is damaged."""
        try:
            return self._pack(condition).read(index)
        except DamagedError:
            self._packs.pop(condition).close()
            for _ in self._build(condition, again=True):
                pass
            return self._pack(condition).read(index)

    def _size(self, index: int, condition: Condition) -> Size:
        coding = _coding(condition)
        return Size(0) if coding is None else coding[0].size(self._read(index, condition)[0])

    def _pack(self, condition: Condition) -> Pack:
        """The open pack of a condition, built where it is missing."""
        if condition not in self._packs:
            for _ in self._build(condition):
                pass
            self._packs[condition] = Pack(self._path(condition), len(self._split.names))
        return self._packs[condition]

    def _build(self, condition: Condition, each: Each = map, *, again: bool = False) -> Iterator[Building]:
        """Build a pack unless an intact one exists; with `again`, check every item of the existing one first."""
        path, items = self._path(condition), len(self._split.names)
        if not again and is_intact(path, items):
            return
        if self.derived is None and condition != CLEAN and self._keeps_raw:
            yield from self._build(CLEAN, each)
        self.store.mark()
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):  # one builder at a time; the lock ends with the process that holds it
            if is_intact(path, items, every=again):  # another process built it while this one waited
                return
            temporary = path.with_suffix(".building")  # a fixed name: the lock is held, so an existing file is an interrupted build
            try:
                with temporary.open("r+b" if temporary.exists() else "w+b") as file:
                    told = time.monotonic()
                    writer = PackWriter(file, items)
                    what = " ".join([self.split, *(part.rpartition("-")[0] or part for part in self._parts(condition))])
                    for data, shape in self._items(condition, each, writer.count):
                        writer.add(data, shape)
                        if time.monotonic() - told > PROGRESS_SECONDS:
                            told = time.monotonic()
                            yield Building(what, writer.count, items)
                    writer.finish()
                    file.flush()
                    os.fsync(file.fileno())
                temporary.replace(path)
            except OSError as error:  # after any other error the file is kept, to be resumed
                temporary.unlink(missing_ok=True)
                raise OSError(error.errno, f"cannot build {path}: {error.strerror}; free disk space, or set STUDY_STORE") from error
            self.store.evict(keep=path)

    def _items(self, condition: Condition, each: Each, start: int) -> Iterator[tuple[bytes, Shape]]:
        """The items of a pack from `start` on: intact ones of a damaged pack, and newly encoded ones."""
        items = range(start, len(self._split.names))
        try:
            old = Pack(self._path(condition), len(self._split.names))
            intact = set(filter(old.intact, items))
        except (FileNotFoundError, DamagedError):
            intact = set()
        made = iter(each(partial(self._made, condition), [index for index in items if index not in intact]))
        for index in items:
            yield old.read(index) if index in intact else next(made)

    def _made(self, condition: Condition, index: int) -> tuple[bytes, Shape]:
        if self.derived is not None:
            frames = self._imagery.item(index, condition).frames
            return self.derived.encode(self.derived.derive(frames, range(len(frames)))), frames.shape[:3]
        coding = _coding(condition)
        # Stored clean frames are read back: a slow source is decoded once, not once per level.
        frames = self._split.frames(index) if coding is None else self.item(index, CLEAN).frames
        if coding is None:
            return frames.tobytes(), frames.shape[:3]
        return encode(*coding, frames, self._split.names[index]), frames.shape[:3]


def default_store() -> Store:
    """The store below STUDY_STORE or, where that is unset or empty, below the user's cache directory.

    The limit is STUDY_STORE_GB gigabytes, by default half of the disk space available to the store and at most 100 GB. Raises
    ValueError for a limit that is not a positive number, and for a directory of that name that the store did not make.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    store = Store(Path(os.environ.get("STUDY_STORE") or cache / "compression-study").expanduser(), 0)
    store.mark()
    told = os.environ.get("STUDY_STORE_GB")
    if not told:
        system = os.statvfs(store.folder)
        taken = sum(size for _, size, _ in store.listing())
        return replace(store, limit=min(100 * GIGABYTE, (system.f_bavail * system.f_frsize + taken) // 2))
    try:
        gigabytes = float(told)
    except ValueError:
        gigabytes = -1.0
    if not 0 < gigabytes < math.inf:
        raise ValueError(f"STUDY_STORE_GB={told!r}: expected a positive number of gigabytes")
    return replace(store, limit=int(gigabytes * GIGABYTE))
