"""Data sets of image files, each image with a ground truth.

A reader lists the tree. Where each image has an annotation file of its own, pass the pairs and a function that reads one to
`source_of_pairs`. Otherwise build `ImageSplit`s with a function from an item's index to its ground truth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from trainables.contracts import Frames, Source
from trainables.data.files import fingerprint, read_rgb
from trainables.data.splitting import blocks

FilePair = tuple[str, str]
"""An image and its annotation file, as paths relative to the data set."""


@dataclass(frozen=True, kw_only=True)
class ImageSplit:
    """Image files with one ground truth each. Its functions must be picklable, since loader workers receive them."""

    root: Path
    images: tuple[str, ...]
    """Paths relative to the data set, sorted."""
    truth: Callable[[int], Any]
    """Maps an item's index to its ground truth. Raises ValueError naming the annotation file where that is wrong."""
    annotations: tuple[str, ...] = ()
    """Annotation file of each image, relative to the data set; empty where one file annotates all images."""
    sequence: Callable[[str], str] | None = None
    """Maps an image's path to its sequence, within which ten frames in a row form a group. None: each image is its own group."""

    @cached_property
    def names(self) -> Sequence[str]:
        return list(self.images)

    @cached_property
    def groups(self) -> Sequence[str]:
        return self.names if self.sequence is None else blocks(self.names, self.sequence)

    def frames(self, index: int) -> Frames:
        return read_rgb(self.root / self.images[index])

    def target(self, index: int) -> Any:
        return self.truth(index)

    def files(self, index: int) -> tuple[Path, ...]:
        return tuple(self.root / name for name in (self.images[index], *self.annotations[index : index + 1]))


def pair_split(
    root: Path, pairs: Sequence[FilePair], *, read: Callable[[Path, Path], Any], sequence: Callable[[str], str] | None
) -> ImageSplit:
    """A split of images with one annotation file each; `read` maps (image path, annotation path) to the ground truth."""
    pairs = tuple(sorted(pairs))
    return ImageSplit(
        root=root,
        images=tuple(image for image, _ in pairs),
        truth=partial(_read_pair, root, pairs, read),
        annotations=tuple(annotation for _, annotation in pairs),
        sequence=sequence,
    )


def _read_pair(root: Path, pairs: Sequence[FilePair], read: Callable[[Path, Path], Any], index: int) -> Any:
    image, annotation = pairs[index]
    return read(root / image, root / annotation)


def source_of_pairs(
    name: str,
    classes: tuple[str, ...],
    root: Path,
    parts: Sequence[Sequence[FilePair]],
    *,
    read: Callable[[Path, Path], Any],
    sequence: Callable[[str], str] | None,
    slow: bool,
) -> Source:
    """A source of training, validation and test pairs (`parts`, in this order).

    `read` and `sequence` are those of `pair_split`, `slow` is that of `Source`. Raises ValueError where a part is empty, and
    MissingFilesError with every missing file.
    """
    for split, pairs in zip(("training", "validation", "test"), parts, strict=True):
        if not pairs:
            raise ValueError(f"{root}: no image for {split} ({sum(map(len, parts))} in all); check that the data set is complete")
    train, val, test = (pair_split(root, pairs, read=read, sequence=sequence) for pairs in parts)
    files = [file for pairs in parts for pair in pairs for file in pair]
    tree = fingerprint(root, files, [part.images for part in (train, val, test)])
    return Source(name=name, classes=classes, train=train, val=val, test=test, fingerprint=tree, slow=slow)
