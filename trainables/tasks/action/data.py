"""Data sets of action recognition: readers of video files, and the embedded street actions. A target is a class number.

To add one, write a function that opens its tree as a `Source` and append a `Dataset` to `DATASETS` in `__init__.py`.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath

from trainables.contracts import Frames, Source
from trainables.data.embedded import DrawnSplit
from trainables.scenes import clips as scenes
from trainables.tasks.action.clips import class_of, source_of_clips

COUNTS = (280, 120, 128)
"""Numbers of embedded clips for training, validation and test."""


@lru_cache(maxsize=64)
def _clip(seed: int, index: int) -> Frames:
    """A clip of 0.6 MB. The cache is small, since the store keeps every clip."""
    return scenes.clip(seed, index)


def _action(_seed: int, index: int) -> int:
    return scenes.action_of(index)


def street_clips(seed: int, count: int) -> DrawnSplit:
    """The first `count` embedded clips (16, 96, 128, 3) of a seed, and their actions."""
    return DrawnSplit(seed=seed, count=count, imagery=_clip, truth=_action)


def street_actions() -> Source:
    """The embedded data set: 280 / 120 / 128 clips of 16 frames at 96x128, from seeds 0, 1, 2.

    The fingerprint is a digest of pixels that the generator draws, not a version number.
    """
    train, val, test = (street_clips(seed, count) for seed, count in enumerate(COUNTS))
    digest = hashlib.sha256(repr((scenes.ACTIONS, COUNTS)).encode())
    for split in (train, val, test):
        digest.update(split.frames(0).tobytes())
    fingerprint = digest.hexdigest()[:16]
    return Source(
        name="street_actions", classes=scenes.ACTIONS, train=train, val=val, test=test, fingerprint=fingerprint, slow=True
    )


LISTS = "ucfTrainTestlist"


def ucf101(root: Path) -> Source:
    """Open UCF101 (Soomro et al. 2012): class folders in `UCF-101`, the official lists in `ucfTrainTestlist` beside or inside it.

    The test split is testlist01. The validation split is the last group (`g25`) of each class in trainlist01, for classes with
    several groups; clips of one group are cut from the same recording. Raises ValueError naming the first list, line or clip that
    is missing or wrong.
    """
    folder = root / "UCF-101" if (root / "UCF-101").is_dir() else root
    places = [place / LISTS for place in (root, folder, folder.parent)]
    lists = next((place for place in places if place.is_dir()), None)
    if lists is None:
        raise ValueError(f"{root}: no folder {LISTS}; --data ucf101=PATH must be the folder that holds UCF-101 and {LISTS}")
    classes = _ucf_classes(lists / "classInd.txt")
    official, test = (_ucf_list(lists / f"{part}list01.txt", classes) for part in ("train", "test"))
    held_out = _last_groups(official)
    val = [clip for clip in official if _ucf_group(clip) in held_out]
    train = [clip for clip in official if _ucf_group(clip) not in held_out]
    if not val:
        raise ValueError(
            f"{lists / 'trainlist01.txt'}: no class has two groups, so there are no validation clips; use the full list"
        )
    return source_of_clips("ucf101", classes, folder, (train, val, test), group=_ucf_group)


def _ucf_classes(path: Path) -> tuple[str, ...]:
    """Class names in order of their numbers, from lines like `1 ApplyEyeMakeup`."""
    lines = [line.split() for line in _lines(path)]
    for number, line in enumerate(lines, start=1):
        if len(line) != 2 or line[0] != str(number):
            raise ValueError(f"{path}, line {number}: expected the number {number} and a class, got {' '.join(line)!r}")
    return tuple(name for _, name in lines)


def _ucf_list(path: Path, classes: Sequence[str]) -> list[str]:
    """Clips from lines like `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`; test lists omit the number."""
    clips: dict[str, None] = {}
    for number, line in enumerate(_lines(path), start=1):
        clip, *label = line.split()
        if len(PurePosixPath(clip).parts) != 2 or class_of(clip) not in classes or len(label) > 1:
            raise ValueError(f"{path}, line {number}: expected CLASS/CLIP.avi with a class of classInd.txt, got {line!r}")
        if label and label[0] != str(classes.index(class_of(clip)) + 1):
            raise ValueError(f"{path}, line {number}: the number in {line!r} differs from classInd.txt")
        if clip in clips:
            raise ValueError(f"{path}, line {number}: {clip} is listed twice; remove one line")
        clips[clip] = None
    return list(clips)


def _lines(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text().splitlines() if line.strip()]
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}; {LISTS} must hold classInd.txt, trainlist01.txt and testlist01.txt") from error
    if not lines:
        raise ValueError(f"{path}: the list is empty")
    return lines


def _ucf_group(clip: str) -> str:
    """Group of a clip, e.g. `v_ApplyEyeMakeup_g08` for `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi`."""
    return PurePosixPath(clip).stem.rpartition("_c")[0]


def _last_groups(clips: Sequence[str]) -> set[str]:
    """The last group of each class that has several."""
    of_class: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        of_class[class_of(clip)].add(_ucf_group(clip))
    return {max(groups) for groups in of_class.values() if len(groups) > 1}


SUFFIXES = frozenset({".avi", ".mp4", ".mkv", ".webm", ".mov"})
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1


def class_folders(root: Path) -> Source:
    """Open any tree with one folder of clips per class. Each clip is its own group.

    The clips of a class are ordered by the hash of their name. The first fifth is test and the next tenth validation (at least one
    clip each); the rest is training. Raises ValueError for fewer than two classes, and for a class with fewer than three clips.
    """
    of_class: dict[str, list[str]] = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        clips = [path.relative_to(root).as_posix() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
        if clips:
            of_class[folder.name] = sorted(clips, key=lambda clip: hashlib.sha256(clip.encode()).hexdigest())
    if len(of_class) < 2:
        raise ValueError(f"{root}: {len(of_class)} class folders with clips ({', '.join(sorted(SUFFIXES))}); at least 2 are needed")
    train, val, test = list[str](), list[str](), list[str]()
    for name, clips in of_class.items():
        if len(clips) < 3:
            raise ValueError(f"{root / name}: {len(clips)} clips; a class needs at least 3, for training, validation and test")
        tested, validated = (max(1, round(share * len(clips))) for share in (TEST_SHARE, VALIDATION_SHARE))
        test += clips[:tested]
        val += clips[tested : tested + validated]
        train += clips[tested + validated :]
    return source_of_clips("clips", tuple(of_class), root, (train, val, test), group=str)
