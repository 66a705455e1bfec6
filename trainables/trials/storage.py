"""Folders by URI: local disk, a shared file system or S3, through the same code. Writes are atomic and durable.

Local and shared folders are a plain path or `file://`; S3 is `s3://bucket/path`, with pyarrow's options as a query
(`?region=...&endpoint_override=...`) and credentials from the environment. Any other file system that pyarrow supports works as it
is.
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
    """A folder, which need not exist yet."""

    uri: str

    @classmethod
    def at(cls, place: str) -> "Folder":
        """The folder at a path or URI. Raises ValueError for a URI that pyarrow does not support."""
        folder = cls(place if "://" in place else Path(place).resolve().as_uri())
        _ = folder._place
        return folder

    @property
    def _place(self) -> tuple[Any, str]:
        return _file_system(self.uri)

    @property
    def local(self) -> Path | None:
        """The path on this machine; None for remote storage."""
        file_system, path = self._place
        return Path(path) if isinstance(file_system, fs.LocalFileSystem) else None

    def child(self, name: str) -> "Folder":
        """A folder below this one."""
        parts = urlsplit(self.uri)
        return Folder(urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}")))

    def sizes(self) -> dict[str, int]:
        """Sizes in bytes of the files below, by relative name, at any depth; temporary files are left out."""
        file_system, path = self._place
        found = file_system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
        sizes = {info.path.removeprefix(path).lstrip("/"): int(info.size) for info in found if info.type == fs.FileType.File}
        return {name: size for name, size in sizes.items() if not name.rpartition("/")[2].startswith(".")}

    def names(self) -> frozenset[str]:
        """The files below, by relative name, at any depth; temporary files are left out."""
        return frozenset(self.sizes())

    def read(self, name: str) -> bytes:
        """Contents of a file. Raises FileNotFoundError."""
        file_system, path = self._place
        with file_system.open_input_stream(f"{path}/{name}", compression=None) as stream:
            return bytes(stream.read())

    def write(self, name: str, data: bytes) -> None:
        """Write a file atomically. Raises OSError naming the file, e.g. for a full disk, and keeps the previous version."""
        local = self.local
        if local is not None:
            _write_local(local / name, data)
            return
        file_system, path = self._place  # an object appears when its upload is complete
        with file_system.open_output_stream(f"{path}/{name}", compression=None) as stream:
            stream.write(data)

    def remove(self, name: str) -> None:
        """Remove a file, where it exists."""
        file_system, path = self._place
        if file_system.get_file_info(f"{path}/{name}").type == fs.FileType.File:
            file_system.delete_file(f"{path}/{name}")


def _write_local(target: Path, data: bytes) -> None:
    """Temporary file beside the target, fsync, rename, fsync of the folder: a crash leaves the old file or the new one."""
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
