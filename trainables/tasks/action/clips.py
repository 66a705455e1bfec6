"""Clips in files, a folder for each class: what the readers of data sets share.

A reader lists its tree and hands each split's clips, relative to the root, to `source_of_clips`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import av
import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames, Source
from trainables.data.files import fingerprint


def read_clip(path: Path) -> Frames:
    """All frames of a video file, (T, H, W, 3), upright as its container says; what sound there is is left out.

    Raises ValueError naming the file where it is missing, has no frames, changes its size, or does not decode whole.
    """
    frames, turns = list[npt.NDArray[np.uint8]](), 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # loader workers are what runs side by side
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise _unreadable(path, f"frame {len(frames)} is damaged")
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
                turns = round(frame.rotation / 90)
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise _unreadable(path, "no video in it" if isinstance(error, IndexError) else str(error)) from error
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) != 1:
        raise _unreadable(path, f"frames of {len(sizes)} sizes" if sizes else "no frame in it")
    return np.ascontiguousarray(np.rot90(np.stack(frames), turns, axes=(1, 2)))


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path}: unreadable clip ({reason}); restore the file or take it off its list")


@dataclass(frozen=True, kw_only=True)
class ClipSplit:
    """Clips whose folder is their class."""

    root: Path
    clips: tuple[str, ...]
    classes: tuple[str, ...]
    group: Callable[[str], str]
    """What a clip shares its people and place with others under, by its name."""

    @cached_property
    def names(self) -> Sequence[str]:
        """The clips' relative paths."""
        return list(self.clips)

    @cached_property
    def groups(self) -> Sequence[str]:
        """The group of each clip."""
        return [self.group(clip) for clip in self.clips]

    def frames(self, index: int) -> Frames:
        """(T, H, W, 3), the whole clip at native resolution."""
        return read_clip(self.root / self.clips[index])

    def target(self, index: int) -> int:
        """The class."""
        return self.classes.index(class_of(self.clips[index]))

    def files(self, index: int) -> tuple[Path, ...]:
        """The clip."""
        return (self.root / self.clips[index],)


def class_of(clip: str) -> str:
    """The class of a clip: the first folder of its relative path."""
    return PurePosixPath(clip).parts[0]


def source_of_clips(
    name: str,
    classes: tuple[str, ...],
    root: Path,
    parts: tuple[Sequence[str], Sequence[str], Sequence[str]],
    *,
    group: Callable[[str], str],
) -> Source:
    """A source of training, validation and test clips. Raises ValueError naming the first file that is missing."""
    train, val, test = (ClipSplit(root=root, clips=tuple(sorted(part)), classes=classes, group=group) for part in parts)
    tree = fingerprint(root, [clip for part in parts for clip in part], parts)
    return Source(name=name, classes=classes, train=train, val=val, test=test, fingerprint=tree)
