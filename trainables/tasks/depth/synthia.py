"""SYNTHIA (Ros et al. 2016), the paper's depth data set (section III-B): rendered streets of 760x1280 with exact depth.

Depth maps are 16-bit PNG in centimetres, with one channel or three equal ones. 0 is unknown. The renderer sets the sky to 65535,
655 m, so it counts as the architecture's `max_depth`.

The paper does not name the part that it used. RAND-CITYSCAPES contains independent images, which are split by the hash of their
names. From video sequences the front view of the left camera is read, and each sequence is split into three blocks with gaps. The
seasons of one street are split at the same fractions of their length, so that a place is in the same split in all of them, as long
as they were driven alike.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from trainables.contracts import Source
from trainables.data.image_files import FilePair, source_of_pairs
from trainables.data.splitting import by_blocks, by_hash
from trainables.tasks.depth.depth_maps import read_depth

CENTIMETRE = 0.01
INVALID = (0,)
VIEW = "Stereo_Left/Omni_F"
"""The view of a sequence that is read: left camera, to the front."""


def synthia(root: Path) -> Source:
    """Open RAND-CITYSCAPES, a sequence, or a folder of sequences.

    RAND-CITYSCAPES has `RGB/*.png` and `Depth/Depth/*.png` or `Depth/*.png`; a sequence has `RGB/Stereo_Left/Omni_F/*.png` and
    `Depth/Stereo_Left/Omni_F/*.png`. An image and its depth map have the same name.

    Raises ValueError where the folder is none of these or a sequence is too short, or naming the first file without its partner.
    """
    if any((root / "RGB").glob("*.png")):
        depths = "Depth/Depth" if (root / "Depth" / "Depth").is_dir() else "Depth"
        independent = by_hash(_names(root, "RGB", depths))
        return _source(root, [_pairs(part, "RGB", depths) for part in independent], sequence=None)
    sequences = sorted(path.parents[2].relative_to(root) for path in (*root.glob(f"RGB/{VIEW}"), *root.glob(f"*/RGB/{VIEW}")))
    if not sequences:
        raise ValueError(
            f"{root}: contains neither RGB/*.png nor RGB/{VIEW}, and no subfolder contains RGB/{VIEW}; --data synthia=PATH must be "
            "the folder of RAND-CITYSCAPES, of a sequence, or of several sequences"
        )
    parts: tuple[list[FilePair], ...] = ([], [], [])
    for sequence in sequences:
        images, depths = (f"{sequence / kind / VIEW}" for kind in ("RGB", "Depth"))
        try:
            split = by_blocks(_names(root, images, depths))
        except ValueError as error:
            raise ValueError(f"{root / images}: {error}") from error
        for part, names in zip(parts, split, strict=True):
            part += _pairs(names, images, depths)
    return _source(root, parts, sequence=_folder)


def _names(root: Path, images: str, depths: str) -> list[str]:
    """File names in either folder, so that a file without its partner is reported as missing instead of ignored."""
    return sorted({path.name for folder in (images, depths) for path in (root / folder).glob("*.png")})


def _pairs(names: Sequence[str], images: str, depths: str) -> list[FilePair]:
    return [(f"{images}/{name}", f"{depths}/{name}") for name in names]


def _source(root: Path, parts: Sequence[Sequence[FilePair]], *, sequence: Callable[[str], str] | None) -> Source:
    read = partial(read_depth, unit=CENTIMETRE, invalid=INVALID)
    return source_of_pairs("synthia", (), root, parts, read=read, sequence=sequence, slow=True)


def _folder(image: str) -> str:
    return str(Path(image).parent)
