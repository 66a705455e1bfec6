"""Pictures of predictions: a strip of the first test items for each condition, and the panel that sets strips side by side.

The panel is the paper's Figures 1 to 5: clean, then the levels that the codec names in `shown`.
"""

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Picture = npt.NDArray[np.uint8]
GAP, HEADING = 4, 14
"""Pixels between pictures, and above a column for its name."""
LEGIBLE = 320
"""Pixels of width up to which small pictures are enlarged, a whole number of times."""


def strip(pictures: Sequence[Picture]) -> bytes:
    """RGB pictures (H, W, 3) below one another, as a PNG file."""
    width = max(picture.shape[1] for picture in pictures)
    times = max(1, LEGIBLE // width)
    enlarged = [each.repeat(times, axis=0).repeat(times, axis=1) for each in pictures]
    padded = [np.pad(each, ((0, GAP), (0, times * width - each.shape[1]), (0, 0)), constant_values=255) for each in enlarged]
    return _png(Image.fromarray(np.concatenate(padded)))


def panel(strips: Mapping[str, bytes]) -> bytes:
    """Strips side by side under their names, as a PNG file."""
    columns = {name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in strips.items()}
    width = sum(column.width + GAP for column in columns.values()) - GAP
    image = Image.new("RGB", (width, HEADING + max(column.height for column in columns.values())), "white")
    draw, left = ImageDraw.Draw(image), 0
    for name, column in columns.items():
        draw.text((left + 2, 1), name, fill="black")
        image.paste(column, (left, HEADING))
        left += column.width + GAP
    return _png(image)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
