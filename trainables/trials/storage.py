"""Folders by URI: local disk, a shared folder or S3, the same code. What is written is whole and durable, or not there.

Local and shared folders take a plain path or `file://`; S3 takes `s3://bucket/path`, with pyarrow's options as a query
(`?region=...&endpoint_override=...`) and credentials from the environment. Another file system that pyarrow knows needs no change.
"""

import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pyarrow import ArrowException, fs


@dataclass(frozen=True)
class Folder:
    """A folder; it need not exist yet."""

    uri: str

    @classmethod
    def at(cls, place: str) -> "Folder":
        """From a path or a URI. Raises ValueError for a URI that pyarrow does not know."""
        folder = cls(place if "://" in place else Path(place).resolve().as_uri())
        _ = folder._place
        return folder

    @property
    def _place(self) -> tuple[Any, str]:
        return _file_system(self.uri)

    @property
    def local(self) -> Path | None:
        """The path on this machine; None elsewhere."""
        file_system, path = self._place
        return Path(path) if isinstance(file_system, fs.LocalFileSystem) else None

    def child(self, name: str) -> "Folder":
        """A folder below this one."""
        parts = urlsplit(self.uri)
        return Folder(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def names(self) -> frozenset[str]:
        """The files below, relative, at any depth; temporary ones left out."""
        file_system, path = self._place
        found = file_system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        names = (info.path.removeprefix(path).lstrip("/") for info in found if info.type == fs.FileType.File)
        return frozenset(name for name in names if not name.rpartition("/")[2].startswith("."))

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises FileNotFoundError."""
        file_system, path = self._place
        with file_system.open_input_stream(f"{path}/{name}", compression=None) as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole. Raises OSError naming the file, for a full disk say, and leaves what was there before."""
        local = self.local
        if local is not None:
            _write_local(local / name, data)
            return
        file_system, path = self._place  # an object appears when its upload is complete
        with file_system.open_output_stream(f"{path}/{name}", compression=None) as stream:
            stream.write(data)

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        file_system, path = self._place
        if file_system.get_file_info(f"{path}/{name}").type == fs.FileType.File:
            file_system.delete_file(f"{path}/{name}")


def _write_local(target: Path, data: bytes) -> None:
    """A temporary file beside the target, fsync, rename, fsync of the folder: a crash leaves the old file or the new one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OSError(error.errno, f"cannot write {target}: {error.strerror}") from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@lru_cache(maxsize=4096)
def _file_system(uri: str) -> tuple[Any, str]:
    try:
        file_system, path = fs.FileSystem.from_uri(uri)
    except (ArrowException, ValueError) as error:
        raise ValueError(f"storage {uri!r}: {error}") from error
    return file_system, str(path).rstrip("/")
