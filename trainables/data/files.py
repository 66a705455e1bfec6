"""Reading image files, and the fingerprint of a data set's files."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from trainables.contracts import Frames


def read_rgb(path: Path) -> Frames:
    """Read an image file as (1, H, W, 3) RGB. Greyscale is expanded, a palette is resolved, an alpha channel is dropped.

    Raises ValueError naming the file where it is missing, damaged, or in a mode that is not converted (CMYK, 16 bits per channel).
    """
    with open_image(path) as image:
        # Pillow reads 16-bit colour as mode "RGB" and truncates it to 8 bits; only the raw mode reveals this.
        raw = str(image.tile[0].args) if image.tile else ""
        if image.mode not in {"RGB", "L", "P", "1", "RGBA", "LA"} or ";16" in raw:
            raise ValueError(f"{path}: image mode {image.mode} ({raw}) is not supported; convert the file to 8-bit RGB")
        return np.asarray(image.convert("RGB"), np.uint8)[None]


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image file. Errors that Pillow raises inside the `with` block become a ValueError that names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: unreadable image ({error}); restore the file or remove it from its list") from error


class MissingFilesError(ValueError):
    """Files that a data set lists do not exist. `files` holds all of them; the message names the first."""

    def __init__(self, files: Sequence[Path]) -> None:
        more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
        super().__init__(f"{files[0]}: listed but missing{more}; check that the data set is complete")
        self.files = tuple(files)


def fingerprint(root: Path, files: Iterable[str], lists: Sequence[Sequence[str]]) -> str:
    """Digest, 16 hexadecimal digits, of the sorted (relative name, size) of files and of the split lists.

    File contents are not read, since that would take minutes at every launch. Raises MissingFilesError with every missing file.
    """
    sizes, missing = [], []
    for name in sorted(set(files)):
        path = root / name
        try:
            sizes.append((name, path.stat().st_size))
        except OSError:
            missing.append(path)
    if missing:
        raise MissingFilesError(missing)
    return hashlib.sha256(json.dumps([sizes, [sorted(part) for part in lists]]).encode()).hexdigest()[:16]
