"""SYNTHIA (Ros et al. 2016), the paper's depth data set (section III-B): rendered streets of 760x1280 with exact depth.

Depth maps are 16-bit PNG in centimetres, of three equal channels or of one. 0 is unknown; the sky, which the renderer puts at
65535, is known to be far: it counts as the architecture's `max_depth`.

The paper does not say which part it took. RAND-CITYSCAPES holds independent images: they are split by the hash of their names. Of
the video sequences the left camera's front view is read, each sequence split by three blocks with gaps; seasons of one street are
cut at the same shares of its length, so that a place is in one split for all of them, as far as they are driven alike.
"""

from collections.abc import Sequence
from pathlib import Path

from trainables.contracts import Source
from trainables.tasks.depth.pairs import Pair, source_of_pairs
from trainables.data.splitting import by_blocks, by_hash

CENTIMETRE = 0.01
INVALID = (0,)
VIEW = "Stereo_Left/Omni_F"
"""The view that is read of a sequence: of the left camera, to the front."""


def synthia(root: Path) -> Source:
    """Open RAND-CITYSCAPES, a sequence, or a folder of sequences.

    RAND-CITYSCAPES has `RGB/*.png` and `Depth/Depth/*.png` or `Depth/*.png`, a sequence `RGB/Stereo_Left/Omni_F/*.png` and
    `Depth/Stereo_Left/Omni_F/*.png`, image and depth map of one name.

    Raises ValueError where it is none of them or too short, and naming the first file without its partner.
    """
    if any((root / "RGB").glob("*.png")):
        depths = "Depth/Depth" if (root / "Depth" / "Depth").is_dir() else "Depth"
        parts = by_hash(_names(root, "RGB", depths))
        return _source(root, [_pairs(part, "RGB", depths) for part in parts], independent=True)
    sequences = sorted(path.parents[2].relative_to(root) for path in (*root.glob(f"RGB/{VIEW}"), *root.glob(f"*/RGB/{VIEW}")))
    if not sequences:
        raise ValueError(
            f"{root}: holds neither RGB/*.png nor RGB/{VIEW}, nor does a folder in it; --data synthia=PATH must be the folder of "
            "RAND-CITYSCAPES, of a sequence, or of sequences"
        )
    found: list[list[Pair]] = [[], [], []]
    for sequence in sequences:
        images, depths = (f"{sequence / kind / VIEW}" for kind in ("RGB", "Depth"))
        try:
            parts = by_blocks(_names(root, images, depths))
        except ValueError as error:
            raise ValueError(f"{root / images}: {error}") from error
        for pairs, part in zip(found, parts, strict=True):
            pairs += _pairs(part, images, depths)
    return _source(root, found, independent=False)


def _names(root: Path, images: str, depths: str) -> list[str]:
    """Of both folders, so that a file without its partner is missed rather than passed over."""
    return sorted({path.name for folder in (images, depths) for path in (root / folder).glob("*.png")})


def _pairs(names: Sequence[str], images: str, depths: str) -> list[Pair]:
    return [(f"{images}/{name}", f"{depths}/{name}") for name in names]


def _source(root: Path, parts: Sequence[Sequence[Pair]], *, independent: bool) -> Source:
    train, val, test = parts
    sequence = None if independent else _folder
    return source_of_pairs("synthia", root, (train, val, test), unit=CENTIMETRE, invalid=INVALID, sequence=sequence, slow=True)


def _folder(image: str) -> str:
    return str(Path(image).parent)
