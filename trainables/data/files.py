"""Reading files that data sets share: images to RGB, and the fingerprint of a tree."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from trainables.contracts import Frames


def read_rgb(path: Path) -> Frames:
    """An image file as (1, H, W, 3); grey is expanded, a palette or alpha resolved.

    Raises ValueError naming the file where it is missing, damaged, or of a mode without an agreed RGB reading (CMYK, 16 bit).
    """
    with open_image(path) as image:
        # Pillow cuts colour of 16 bits to 8 under the mode "RGB"; the raw mode still tells.
        raw = str(image.tile[0].args) if image.tile else ""
        if image.mode not in {"RGB", "L", "P", "1", "RGBA", "LA"} or ";16" in raw:
            raise ValueError(f"{path}: image mode {image.mode} ({raw}) is not supported; convert it to 8-bit RGB")
        return np.asarray(image.convert("RGB"), np.uint8)[None]


@contextmanager
def open_image(path: Path) -> Iterator[ImageFile.ImageFile]:
    """An image file, opened. Whatever Pillow raises while it is read becomes a ValueError that names the file."""
    try:
        with Image.open(path) as image:
            yield image
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: unreadable image ({error}); restore the file or take it off its list") from error


class MissingFilesError(ValueError):
    """Files that a data set lists and that are not there."""

    def __init__(self, files: Sequence[Path]) -> None:
        more = f" (and {len(files) - 1} more)" if len(files) > 1 else ""
        super().__init__(f"{files[0]}: listed but missing{more}; is the data set complete?")
        self.files = tuple(files)


def fingerprint(root: Path, files: Iterable[str], lists: Sequence[Sequence[str]]) -> str:
    """Digest, 16 hexadecimal digits, of the sorted (relative name, size) of files and of the split lists.

    Contents are not read: that would cost minutes at every launch. Raises MissingFilesError with every file that is missing.
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
