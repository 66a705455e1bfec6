"""Data sets of images and annotations, file by file: what their readers share.

A reader lists its tree and hands the pairs, the table of labels and the way to tell a file's sequence to `PairSplit`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames, Source
from trainables.data.files import fingerprint, open_image, read_rgb
from trainables.data.splitting import blocks

Pair = tuple[str, str]
"""Image and annotation, as paths relative to the data set."""
REFUSED = 254
"""In a table of labels: no annotation has it."""


@dataclass(frozen=True, kw_only=True)
class PairSplit:
    """Items that are an image and an annotation of the same size."""

    root: Path
    pairs: tuple[Pair, ...]
    labels: tuple[int, ...]
    """The class of each of an annotation's 256 values: VOID counts nowhere, `REFUSED` is an error."""
    sequence: Callable[[str], str]
    """The sequence that an image is from, by its name."""

    @cached_property
    def names(self) -> Sequence[str]:
        """The images' relative paths."""
        return [image for image, _ in self.pairs]

    @cached_property
    def groups(self) -> Sequence[str]:
        """Ten frames in a row of a sequence, named by their first: neighbours look alike, so frames are no independent items."""
        return blocks(self.names, self.sequence)

    def frames(self, index: int) -> Frames:
        """(1, H, W, 3) at native resolution."""
        return read_rgb(self.root / self.pairs[index][0])

    def target(self, index: int) -> npt.NDArray[np.uint8]:
        """(H, W). Raises ValueError naming the file where it is no map of the labels that the data set has."""
        path = self.root / self.pairs[index][1]
        with open_image(path) as image:
            values = np.asarray(image, np.uint8)
        if values.ndim != 2:
            raise ValueError(f"{path}: not a map of labels but {values.shape}; is it the annotation?")
        classes = np.asarray(np.array(self.labels, np.uint8)[values])
        if REFUSED in classes:
            raise ValueError(f"{path}: label {values[classes == REFUSED][0]} is none of this data set's; is it the annotation?")
        return classes

    def files(self, index: int) -> tuple[Path, ...]:
        """Image and annotation."""
        image, annotation = self.pairs[index]
        return self.root / image, self.root / annotation


def source_of_pairs(
    name: str,
    classes: tuple[str, ...],
    root: Path,
    parts: tuple[Sequence[Pair], Sequence[Pair], Sequence[Pair]],
    *,
    labels: Sequence[int],
    sequence: Callable[[str], str],
) -> Source:
    """A source of training, validation and test pairs. Raises ValueError naming the first file that is missing."""
    train, val, test = (PairSplit(root=root, pairs=tuple(part), labels=tuple(labels), sequence=sequence) for part in parts)
    files = [file for part in parts for pair in part for file in pair]
    lists = [[image for image, _ in part] for part in parts]
    tree = fingerprint(root, files, lists)
    return Source(name=name, classes=classes, train=train, val=val, test=test, fingerprint=tree, slow=True)
