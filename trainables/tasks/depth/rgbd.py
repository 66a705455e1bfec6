"""Frames of an RGB-D camera, recorded on one path: `NAME.color.jpg` beside `NAME.depth.png`.

Depth maps are 16-bit PNG in millimetres, as common sensors produce them; 0 and 65535 mean no measurement. The architecture clips
depths (`max_depth`). Frames are split into three blocks with gaps, in the order of their names, so numbers in names need leading
zeros.
"""

from functools import partial
from pathlib import Path

from trainables.contracts import Source
from trainables.data.image_files import source_of_pairs
from trainables.data.splitting import by_blocks
from trainables.tasks.depth.depth_maps import read_depth

MILLIMETRE = 0.001
INVALID = (0, 65535)
IMAGE, DEPTH = ".color.jpg", ".depth.png"


def rgbd(root: Path) -> Source:
    """Open a folder of pairs. Raises ValueError for fewer than ten frames, or naming the first file without its partner."""
    names = sorted({path.name.removesuffix(end) for end in (IMAGE, DEPTH) for path in root.glob(f"*{end}")})
    if not names:
        raise ValueError(f"{root}: no NAME{IMAGE} beside NAME{DEPTH}; --data rgbd=PATH must be the folder that contains them")
    try:
        split = by_blocks(names)
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error
    parts = [[(name + IMAGE, name + DEPTH) for name in part] for part in split]
    read = partial(read_depth, unit=MILLIMETRE, invalid=INVALID)
    return source_of_pairs("rgbd", (), root, parts, read=read, sequence=_one_sequence, slow=False)


def _one_sequence(image: str) -> str:  # noqa: ARG001
    return "path"
