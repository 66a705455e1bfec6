"""Image files with a ground truth each, for readers whose items are independent of one another.

A reader lists its tree and hands the images, and a function from an item's place to its truth, to `ImageSplit`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainables.contracts import Frames
from trainables.data.files import read_rgb


@dataclass(frozen=True, kw_only=True)
class ImageSplit:
    """Image files with their truths. Items are independent: each is its own group."""

    root: Path
    images: tuple[str, ...]
    """Paths relative to the data set, sorted."""
    truth: Callable[[int], Any]
    """The truth of an item. A method of a value or a function of a module, since loader workers unpickle it."""
    annotations: tuple[str, ...] = ()
    """Each image's own annotation, relative to the data set; none where all are in one file."""

    @cached_property
    def names(self) -> Sequence[str]:
        """The images' relative paths."""
        return list(self.images)

    @property
    def groups(self) -> Sequence[str]:
        """Each image by itself."""
        return self.names

    def frames(self, index: int) -> Frames:
        """(1, H, W, 3) at native resolution."""
        return read_rgb(self.root / self.images[index])

    def target(self, index: int) -> Any:
        """The truth of an item. Raises ValueError naming the annotation's file where that is wrong."""
        return self.truth(index)

    def files(self, index: int) -> tuple[Path, ...]:
        """Image and, where it has one of its own, annotation."""
        own = self.annotations[index : index + 1]
        return (self.root / self.images[index], *(self.root / name for name in own))
