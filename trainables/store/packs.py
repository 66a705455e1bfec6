"""The pack file format: all items of one split in one state, with a checksum per item.

    magic                                   8 bytes
    per item: CRC-32, header, payload       header: payload length in bytes, (T, H, W), as int64
    offset table, item count, CRC-32, magic

`Pack` reads, `PackWriter` writes or resumes. Raise the number in `MAGIC` when the layout changes; packs of another format are
rebuilt.
"""

import os
import struct
import weakref
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

MAGIC = b"CSPACK02"
CHECKSUM, HEADER = struct.Struct("<q"), struct.Struct("<4q")
PREFIX = CHECKSUM.size + HEADER.size
"""Bytes before each payload."""
TRAILER = 16 + len(MAGIC)
"""Bytes after the offset table."""

Shape = tuple[int, int, int]
"""Frames, height and width of a whole item."""


class DamagedError(Exception):
    """A pack does not hold what was written."""


class PackWriter:
    """Writes a pack: header and payload per item, then the offset table and its CRC-32.

    Resumes an unfinished file after its last intact item.
    """

    def __init__(self, file: BinaryIO, most: int) -> None:
        """`file` is open for reading and writing; `most` is the number of items in the finished pack."""
        self._file, self._offsets = file, [len(MAGIC)]
        size = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) == MAGIC:
            while self.count < most and (item := _item(file.read(PREFIX), file.read, size)) is not None:
                self._offsets.append(self._offsets[-1] + PREFIX + len(item[0]))
        file.seek(0)
        file.write(MAGIC)
        file.seek(self._offsets[-1])
        file.truncate()

    @property
    def count(self) -> int:
        """Items written so far."""
        return len(self._offsets) - 1

    def add(self, data: bytes, shape: Sequence[int]) -> None:
        """Append an item: its payload and (T, H, W)."""
        header = HEADER.pack(len(data), *shape)
        self._file.write(CHECKSUM.pack(zlib.crc32(data, zlib.crc32(header))) + header + data)
        self._offsets.append(self._offsets[-1] + PREFIX + len(data))

    def finish(self) -> None:
        """Write the offset table."""
        index = np.array(self._offsets, "<i8").tobytes()
        self._file.write(index + np.array([self.count, zlib.crc32(index)], "<i8").tobytes() + MAGIC)


def _item(prefix: bytes, read: Callable[[int], bytes], most: int) -> tuple[bytes, Shape] | None:
    """An item from its prefix and a function that reads on; None where it is corrupt, e.g. longer than `most`."""
    if len(prefix) != PREFIX:
        return None
    header = prefix[CHECKSUM.size :]
    length, count, height, width = HEADER.unpack(header)
    data = read(length) if 0 <= length <= most else b""
    intact = CHECKSUM.pack(zlib.crc32(data, zlib.crc32(header))) == prefix[: CHECKSUM.size]
    return (data, (count, height, width)) if intact else None


class Pack:
    """An open pack. Reads by position, not through a memory map: a truncated file then raises an error instead of crashing."""

    def __init__(self, path: Path, items: int) -> None:
        """Raises FileNotFoundError, and DamagedError where the offset table is corrupt or does not list `items` items."""
        self._file = os.open(path, os.O_RDONLY)
        self.close = weakref.finalize(self, os.close, self._file)  # also runs when the pack is garbage collected
        try:
            with suppress(FileNotFoundError):  # evicted between the two calls: the open file still reads
                os.utime(path)  # eviction removes what was opened longest ago
            self._offsets = self._index(items)
        except BaseException:
            self.close()
            raise

    def _index(self, items: int) -> npt.NDArray[np.int64]:
        length, size = os.fstat(self._file).st_size, 8 * (items + 1)
        trailer = os.pread(self._file, TRAILER, max(0, length - TRAILER))
        index = os.pread(self._file, size, max(0, length - TRAILER - size))
        if length < size + TRAILER or trailer[16:] != MAGIC:
            raise DamagedError("no offset table")
        count, checksum = np.frombuffer(trailer[:16], "<i8")
        if count != items or checksum != zlib.crc32(index):
            raise DamagedError("corrupt offset table")
        return np.frombuffer(index, "<i8")

    def intact(self, index: int) -> bool:
        """Whether an item's checksum matches."""
        try:
            self.read(index)
        except DamagedError:
            return False
        return True

    def read(self, index: int) -> tuple[bytes, Shape]:
        """Payload and (T, H, W) of an item. Raises DamagedError where the checksum does not match."""
        start, stop = int(self._offsets[index]), int(self._offsets[index + 1])
        both = os.pread(self._file, stop - start, start)
        item = _item(both[:PREFIX], lambda length: both[PREFIX : PREFIX + length], len(both))
        if item is None:
            raise DamagedError(f"corrupt item {index}")
        return item


def is_intact(path: Path, items: int, *, every: bool = False) -> bool:
    """Whether a pack exists with an intact offset table and, with `every`, intact items."""
    try:
        pack = Pack(path, items)
    except (FileNotFoundError, DamagedError):
        return False
    intact = all(map(pack.intact, range(items if every else 0)))
    pack.close()
    return intact
