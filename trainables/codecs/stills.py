"""Codecs for still images: everything Pillow codes, and a faster JPEG by OpenCV."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from trainables.codecs.spacing import Spacing
from trainables.contracts import Frames, Size


@dataclass(frozen=True, kw_only=True)
class PillowStill:
    """A still-image format coded by Pillow, e.g. `PillowStill(name="webp", format="WEBP", levels=(95, 50, 10), shown=(10,))`."""

    name: str
    format: str
    """Pillow's name of the format: JPEG, WEBP, AVIF, JPEG2000."""
    levels: tuple[int, ...]
    shown: tuple[int, ...]
    allowed: tuple[int, int] = (1, 100)
    """Smallest and largest level."""
    parameter: str = "quality"
    """Argument of Pillow's `save` that takes the level, e.g. `quality`, or `quality_layers` for JPEG 2000."""
    listed: bool = False
    """Whether that argument expects a list of one level, as `quality_layers` does."""
    options: tuple[tuple[str, Any], ...] = ()
    """Further arguments of `save`, as (name, hashable value)."""
    clips: ClassVar[bool] = False
    spacing: ClassVar[Spacing] = "geometric"

    def encode(self, frames: Frames, level: int) -> bytes:
        """Compress one still (1, H, W, 3). Raises ValueError for a level outside `allowed` and for other frames."""
        from PIL import Image

        _check(self.name, self.parameter, level, self.allowed, frames)
        settings = {self.parameter: [level] if self.listed else level, **dict(self.options)}
        buffer = io.BytesIO()
        try:
            Image.fromarray(frames[0]).save(buffer, self.format, **settings)
        except KeyError as error:
            raise ValueError(f"{self.name}: the installed Pillow cannot write {self.format}") from error
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.name}: cannot encode {frames.shape} at {self.parameter} {level} ({error})") from error
        return buffer.getvalue()

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        """Decompress to (1, H, W, 3). Raises ValueError for corrupt data and for files of another format."""
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data), formats=[self.format]) as image:
                frames = np.asarray(image.convert("RGB"), np.uint8)[None]
        except Exception as error:  # Pillow's formats raise types of their own
            raise ValueError(_corrupt(self.name, data)) from error
        return frames if wanted is None else frames[list(wanted)]

    def size(self, data: bytes) -> Size:
        return Size(len(data))


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """Baseline JPEG, 4:2:0, standard tables, by OpenCV: the bytes and pixels of Pillow with `quality=level`.

    OpenCV wraps the same libjpeg-turbo with the same settings and is 1.2 to 1.9 times as fast as Pillow.
    """

    name: str = "jpeg"
    levels: tuple[int, ...] = (95, 75, 50, 15, 10, 5)
    shown: tuple[int, ...] = (15, 10)
    clips: ClassVar[bool] = False
    spacing: ClassVar[Spacing] = "geometric"

    def encode(self, frames: Frames, level: int) -> bytes:
        """Compress one still (1, H, W, 3). Raises ValueError for a quality outside 1..100 and for other frames."""
        import cv2

        _check(self.name, "quality", level, (1, 100), frames)
        ok, data = cv2.imencode(".jpg", cv2.cvtColor(frames[0], cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, level])
        if not ok:
            raise ValueError(f"{self.name}: cannot encode {frames.shape} at quality {level}")
        return data.tobytes()

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        """Decompress to (1, H, W, 3). Raises ValueError for corrupt data and for files of another format."""
        import cv2

        is_jpeg = data[:2] == b"\xff\xd8"  # OpenCV would decode other formats too
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if is_jpeg else None
        if image is None:
            raise ValueError(_corrupt(self.name, data))
        frames = np.asarray(image, np.uint8)[None]
        return frames if wanted is None else frames[list(wanted)]

    def size(self, data: bytes) -> Size:
        return Size(len(data))


def _check(name: str, parameter: str, level: int, allowed: tuple[int, int], frames: Frames) -> None:
    low, high = allowed
    if not low <= level <= high:
        raise ValueError(f"{name}: {parameter} {level} is outside {low}..{high}")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[0] != 1 or frames.shape[3] != 3 or not frames.size:
        raise ValueError(f"{name}: expected one uint8 RGB still (1, H, W, 3), got {frames.dtype} {frames.shape}")


def _corrupt(name: str, data: bytes) -> str:
    return f"{name}: corrupt data ({len(data)} bytes do not decode)"
