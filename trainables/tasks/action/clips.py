"""Video files in one folder per class: the part that readers of data sets share.

A reader lists its tree and passes the clips of each split, relative to the root, to `source_of_clips`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames, Source
from trainables.data.files import fingerprint


def read_clip(path: Path) -> Frames:
    """All frames of a video file, (T, H, W, 3), rotated upright by the container's metadata; sound is ignored.

    Raises ValueError naming the file where it is missing, has no frames, changes its frame size, or does not decode to the end.
    """
    import av  # here, so that importing `trainables` does not need it

    frames, turns = list[npt.NDArray[np.uint8]](), 0
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # parallelism comes from the loader's workers
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise _unreadable(path, f"frame {len(frames)} is damaged")
                frames.append(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8))
                turns = round(frame.rotation / 90)
    except (OSError, IndexError, av.error.FFmpegError) as error:
        raise _unreadable(path, "it has no video stream" if isinstance(error, IndexError) else str(error)) from error
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) != 1:
        raise _unreadable(path, f"its frames have {len(sizes)} sizes" if sizes else "it has no frames")
    return np.ascontiguousarray(np.rot90(np.stack(frames), turns, axes=(1, 2)))


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path}: unreadable clip ({reason}); restore the file or take it off its list")


@dataclass(frozen=True, kw_only=True)
class ClipSplit:
    """A split of clips, each in the folder of its class."""

    root: Path
    clips: tuple[str, ...]
    """Paths relative to the root, sorted."""
    classes: tuple[str, ...]
    group: Callable[[str], str]
    """Maps a clip's path to its group: clips of one group share people and place."""

    @cached_property
    def names(self) -> Sequence[str]:
        return list(self.clips)

    @cached_property
    def groups(self) -> Sequence[str]:
        return [self.group(clip) for clip in self.clips]

    def frames(self, index: int) -> Frames:
        return read_clip(self.root / self.clips[index])

    def target(self, index: int) -> int:
        """Number of the clip's class."""
        return self.classes.index(class_of(self.clips[index]))

    def files(self, index: int) -> tuple[Path, ...]:
        return (self.root / self.clips[index],)


def class_of(clip: str) -> str:
    """Class of a clip: the first folder of its relative path."""
    return PurePosixPath(clip).parts[0]


def source_of_clips(
    name: str,
    classes: tuple[str, ...],
    root: Path,
    parts: tuple[Sequence[str], Sequence[str], Sequence[str]],
    *,
    group: Callable[[str], str],
) -> Source:
    """A source of training, validation and test clips. Raises ValueError naming the first missing file."""
    train, val, test = (ClipSplit(root=root, clips=tuple(sorted(part)), classes=classes, group=group) for part in parts)
    tree = fingerprint(root, [clip for part in parts for clip in part], parts)
    return Source(name=name, classes=classes, train=train, val=val, test=test, fingerprint=tree)
