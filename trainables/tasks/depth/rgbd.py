"""Frames of a camera that sees colour and depth, on one path: `NAME.color.jpg` beside `NAME.depth.png`.

Depth maps are 16-bit PNG in millimetres, as the common sensors give them; 0 and 65535 stand for no measurement. What is clipped,
and where, the architecture's `max_depth` says. Frames are split by three blocks with gaps in the order of their names, so numbers
in names are padded with zeros.
"""

from pathlib import Path

from trainables.contracts import Source
from trainables.tasks.depth.pairs import source_of_pairs
from trainables.data.splitting import by_blocks

MILLIMETRE = 0.001
INVALID = (0, 65535)
IMAGE, DEPTH = ".color.jpg", ".depth.png"


def rgbd(root: Path) -> Source:
    """Open a folder of pairs. Raises ValueError where there are fewer than ten, and naming the first file without its partner."""
    names = sorted({path.name.removesuffix(end) for end in (IMAGE, DEPTH) for path in root.glob(f"*{end}")})
    if not names:
        raise ValueError(f"{root}: no NAME{IMAGE} beside NAME{DEPTH}; --data rgbd=PATH must be the folder that holds them")
    try:
        train, val, test = by_blocks(names)
    except ValueError as error:
        raise ValueError(f"{root}: {error}") from error
    parts = tuple([(name + IMAGE, name + DEPTH) for name in part] for part in (train, val, test))
    return source_of_pairs(
        "rgbd", root, (parts[0], parts[1], parts[2]), unit=MILLIMETRE, invalid=INVALID, sequence=_one, slow=False
    )


def _one(image: str) -> str:  # noqa: ARG001
    return "path"
