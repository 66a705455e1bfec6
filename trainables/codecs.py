"""Lossy codecs as values. To add one, append an entry to `CODECS`; the conformance tests take it in.

A codec is applied to raw frames at native resolution, before every transform. What it is, is what it does: `identity` is a digest
of the bytes and pixels that it makes of a fixed probe, so that a library upgrade that changes nothing retrains nothing.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from trainables.contracts import Codec, Condition, Frames


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """Baseline JPEG, 4:2:0, the standard tables: byte for byte and pixel for pixel what Pillow makes with `quality=level`.

    OpenCV does the work: it wraps the same libjpeg-turbo with the same settings and was measured 1.2 to 1.9 times as fast. The
    conformance tests hold it to Pillow at every quality.
    """

    name: str = "jpeg"
    levels: tuple[int, ...] = (95, 75, 50, 15, 10, 5)
    shown: tuple[int, ...] = (15, 10)

    def encode(self, frames: Frames, level: int) -> bytes:
        """Compress one still, (1, H, W, 3), at quality 1..100.

        Raises ValueError for another quality (Pillow would silently take 0 as 75) and for frames that are no RGB still.
        """
        if not 1 <= level <= 100:
            raise ValueError(f"jpeg: quality {level} is outside 1..100")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[0] != 1 or frames.shape[3] != 3 or not frames.size:
            raise ValueError(f"jpeg: takes one uint8 RGB still (1, H, W, 3), not {frames.dtype} {frames.shape}")
        ok, data = cv2.imencode(".jpg", cv2.cvtColor(frames[0], cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, level])
        if not ok:
            raise ValueError(f"jpeg: cannot encode {frames.shape} at quality {level}")
        return data.tobytes()

    def decode(self, data: bytes) -> Frames:
        """Decompress to (1, H, W, 3). Raises ValueError for what is no JPEG file."""
        is_jpeg = data[:2] == b"\xff\xd8"  # OpenCV would decode other formats too
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if is_jpeg else None
        if image is None:
            raise ValueError(f"jpeg: {len(data)} bytes that do not decode")
        return np.asarray(image, np.uint8)[None]


CODECS: dict[str, Codec] = {codec.name: codec for codec in (Jpeg(),)}


def probe() -> Frames:
    """A fixed still of odd size with smooth, textured and noisy parts: (1, 45, 67, 3)."""
    y, x = np.mgrid[0:45, 0:67]
    smooth = np.stack([3 * x, 5 * y, 2 * x + 2 * y], axis=-1)
    texture = 40 * ((x // 2 + y // 3) % 2)[..., None]
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 50, (45, 67, 3)) * (x > 33)[..., None]
    frames: Frames = np.clip(smooth + texture + noise, 0, 255).astype(np.uint8)[None]
    return frames


def identity_of(condition: Condition) -> str | None:
    """The identity of a condition's codec at its level; None for clean."""
    return None if condition.codec is None or condition.level is None else identity(CODECS[condition.codec], condition.level)


@lru_cache
def identity(codec: Codec, level: int) -> str:
    """Digest, 16 hexadecimal digits, of the bytes and pixels that the codec makes of the probe at a level."""
    data = codec.encode(probe(), level)
    return hashlib.sha256(data + codec.decode(data).tobytes()).hexdigest()[:16]
