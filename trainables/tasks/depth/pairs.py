"""Data sets of images and depth maps, file by file: what their readers share.

A reader lists its tree, splits it, and hands the pairs with the unit of their depth maps to `source_of_pairs`.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames, Source
from trainables.data.files import fingerprint, open_image, read_rgb
from trainables.data.splitting import blocks

Pair = tuple[str, str]
"""Image and depth map, as paths relative to the data set."""


@dataclass(frozen=True, kw_only=True)
class DepthSplit:
    """Items that are an image and a depth map of the same size."""

    root: Path
    pairs: tuple[Pair, ...]
    unit: float
    """Metres of a step of the depth maps' numbers."""
    invalid: tuple[int, ...]
    """Numbers that stand for an unknown depth."""
    sequence: Callable[[str], str] | None
    """The sequence that an image is from, by its name; None where images are independent."""

    @cached_property
    def names(self) -> Sequence[str]:
        """The images' relative paths."""
        return [image for image, _ in self.pairs]

    @cached_property
    def groups(self) -> Sequence[str]:
        """Ten frames in a row of a sequence, named by their first; an independent image is its own group."""
        return self.names if self.sequence is None else blocks(self.names, self.sequence)

    def frames(self, index: int) -> Frames:
        """(1, H, W, 3) at native resolution."""
        return read_rgb(self.root / self.pairs[index][0])

    def target(self, index: int) -> npt.NDArray[np.float32]:
        """(H, W) metres, 0 where unknown. Raises ValueError naming the depth map where it cannot be the image's."""
        image, path = self.files(index)
        depth = read_depth(path, unit=self.unit, invalid=self.invalid)
        with open_image(image) as opened:
            width, height = opened.size
        if depth.shape != (height, width):
            raise ValueError(
                f"{path}: {depth.shape[1]}x{depth.shape[0]} pixels for an image of {width}x{height} ({image}); mend the pair"
            )
        return depth

    def files(self, index: int) -> tuple[Path, Path]:
        """Image and depth map."""
        image, depth = self.pairs[index]
        return self.root / image, self.root / depth


def read_depth(path: Path, *, unit: float, invalid: Collection[int]) -> npt.NDArray[np.float32]:
    """A 16-bit PNG of one channel, or of three with the depth in the first, as (H, W) metres; 0 where a number is invalid.

    Raises ValueError naming the file where it is missing, damaged, of another bit depth, or knows no depth at all.
    """
    try:
        values = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", np.uint8), cv2.IMREAD_UNCHANGED)
    except OSError as error:
        raise ValueError(f"{path}: unreadable depth map ({error.strerror}); restore it") from error
    if values is None:
        raise ValueError(f"{path}: unreadable depth map (no whole PNG); restore the file or take the pair away")
    if values.dtype != np.uint16:
        raise ValueError(f"{path}: a depth map of type {values.dtype}, not 16 bits; is it the picture of one? take the original")
    # OpenCV hands colour channels out in reverse; Pillow would cut them to 8 bits.
    steps = values if values.ndim == 2 else values[..., 2]
    known = ~np.isin(steps, list(invalid))
    if not known.any():
        raise ValueError(f"{path}: no pixel of known depth (all are {', '.join(map(str, invalid))}); take the pair away")
    return np.where(known, steps * np.float32(unit), np.float32(0))


def source_of_pairs(
    name: str,
    root: Path,
    parts: tuple[Sequence[Pair], Sequence[Pair], Sequence[Pair]],
    *,
    unit: float,
    invalid: tuple[int, ...],
    sequence: Callable[[str], str] | None,
    slow: bool,
) -> Source:
    """A source of training, validation and test pairs; `slow` is the `Source`'s.

    Raises ValueError where a part has no item, and naming every file that is missing.
    """
    for part, pairs in zip(("train", "validation", "test"), parts, strict=True):
        if not pairs:
            raise ValueError(f"{root}: {sum(map(len, parts))} pairs leave no item for {part}; is the tree complete?")
    train, val, test = (
        DepthSplit(root=root, pairs=tuple(sorted(part)), unit=unit, invalid=invalid, sequence=sequence) for part in parts
    )
    files = [file for part in parts for pair in part for file in pair]
    tree = fingerprint(root, files, [[image for image, _ in part] for part in parts])
    return Source(name=name, classes=(), train=train, val=val, test=test, fingerprint=tree, slow=slow)
