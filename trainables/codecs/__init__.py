"""Lossy codecs as values. To add one, append an entry to `CODECS`; the conformance tests take it in.

A codec is applied to raw frames at native resolution, before every transform. What it is, is what it does: `identity` is a digest
of the bytes and pixels that it makes of a fixed probe, so that a library upgrade that changes nothing retrains nothing.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import av
import cv2
import numpy as np
import numpy.typing as npt

from trainables.contracts import Codec, Condition, Frames, Size


@dataclass(frozen=True, kw_only=True)
class Jpeg:
    """Baseline JPEG, 4:2:0, the standard tables: byte for byte and pixel for pixel what Pillow makes with `quality=level`.

    OpenCV does the work: it wraps the same libjpeg-turbo with the same settings and was measured 1.2 to 1.9 times as fast. The
    conformance tests hold it to Pillow at every quality.
    """

    name: str = "jpeg"
    levels: tuple[int, ...] = (95, 75, 50, 15, 10, 5)
    shown: tuple[int, ...] = (15, 10)
    clips: bool = False

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

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        """Decompress to (1, H, W, 3). Raises ValueError for what is no JPEG file."""
        is_jpeg = data[:2] == b"\xff\xd8"  # OpenCV would decode other formats too
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if is_jpeg else None
        if image is None:
            raise ValueError(f"jpeg: {len(data)} bytes that do not decode")
        frames = np.asarray(image, np.uint8)[None]
        return frames if wanted is None else frames[list(wanted)]

    def size(self, data: bytes) -> Size:
        """The file's."""
        return Size(len(data))


@dataclass(frozen=True, kw_only=True)
class H264:
    """H.264 by x264 at a constant rate factor, without a container: the same bytes in every run on x86-64 with AVX2.

    x264 with AVX-512 gives other bytes from run to run, and slices depend on the thread count: so the assembly level is pinned
    and a clip has one thread. Frames of odd size are padded by their edge, which 4:2:0 needs, and cropped after.
    """

    name: str = "h264"
    levels: tuple[int, ...] = (23, 25, 30, 40, 50)
    shown: tuple[int, ...] = (23, 30, 40)
    clips: bool = True
    preset: str = "medium"
    pixel_format: str = "yuv420p"
    gop: int = 250
    """Frames from one picture that stands alone to the next, at most."""
    b_frames: int = 3
    """Frames in a row that are predicted from both sides, at most."""

    def encode(self, frames: Frames, level: int) -> bytes:
        """Compress (T, H, W, 3) at CRF 1..51.

        Raises ValueError for another CRF (0 would be lossless) and for frames that are no RGB sequence.
        """
        if not 1 <= level <= 51:
            raise ValueError(f"{self.name}: CRF {level} is outside 1..51")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
            raise ValueError(f"{self.name}: takes uint8 RGB frames (T, H, W, 3), not {frames.dtype} {frames.shape}")
        count, height, width, _ = frames.shape
        even = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        try:
            packets = list(self._packets(even, level))
        except av.FFmpegError as error:
            raise ValueError(f"{self.name}: cannot encode {frames.shape} at CRF {level} ({error})") from error
        head = struct.pack(f"<4I{len(packets)}I", count, height, width, len(packets), *map(len, packets))
        body = head + b"".join(packets)
        return MAGIC + struct.pack("<I", zlib.crc32(body)) + body

    def _packets(self, frames: Frames, level: int) -> Iterator[bytes]:
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = frames.shape[2], frames.shape[1], self.pixel_format
        encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
        encoder.thread_count = 1
        settings = f"asm=AVX2:threads=1:keyint={self.gop}:bframes={self.b_frames}"
        encoder.options = {"crf": str(level), "preset": self.preset, "x264-params": settings}
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            yield from map(bytes, encoder.encode(picture))
        yield from map(bytes, encoder.encode(None))

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        """Decompress to (T, H, W, 3), or to the wanted frames; what comes after the last of them is not decoded.

        Raises ValueError for what `encode` did not make, and IndexError for a frame that there is not.
        """
        (count, height, width), packets = self._open(data)
        indices = range(count) if wanted is None else [range(count)[index] for index in wanted]
        missing, found = set(indices), dict[int, Frames]()
        decoder = av.CodecContext.create("h264", "r")
        decoder.thread_count = 1
        number = 0
        for packet in (*packets, None):
            for frame in decoder.decode(None if packet is None else av.Packet(packet)):
                if number in missing:
                    missing.remove(number)
                    found[number] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)[:height, :width]
                number += 1
            if not missing:
                break
        if missing:
            raise ValueError(f"{self.name}: {number} of {count} frames decode")
        return np.stack([found[index] for index in indices]) if found else np.empty((0, height, width, 3), np.uint8)

    def size(self, data: bytes) -> Size:
        """Of the packets: the first holds the picture that stands alone, with the stream's parameters."""
        _, packets = self._open(data)
        return Size(len(packets[0]), sum(map(len, packets[1:])))

    def _open(self, data: bytes) -> tuple[tuple[int, int, int], list[bytes]]:
        """Frames, height and width, and the packets in the order of decoding."""
        start = len(MAGIC) + 4
        if data[: len(MAGIC)] != MAGIC or struct.pack("<I", zlib.crc32(data[start:])) != data[len(MAGIC) : start]:
            raise ValueError(f"{self.name}: {len(data)} bytes that are not as they were written")
        count, height, width, packets = struct.unpack_from("<4I", data, start)
        lengths = struct.unpack_from(f"<{packets}I", data, start + 16)
        ends = np.cumsum((start + 16 + 4 * packets, *lengths)).tolist()
        return (count, height, width), [data[begin:end] for begin, end in pairwise(ends)]


MAGIC = b"CSH264\x00\x01"
"""Format 1 of what `H264.encode` makes: its sum, frames, height, width, the packets' lengths, the packets."""
RATE = 25
"""Frames a second. x264 spends bits by it, so it is the same for all clips: what they show at 25 and at 30 a second is alike."""

CODECS: dict[str, Codec] = {codec.name: codec for codec in (Jpeg(), H264())}


def probe(frames: int = 1) -> Frames:
    """Fixed frames of odd size with smooth, textured and noisy parts, which move: (T, 45, 67, 3)."""
    still = _probe()
    return np.stack([np.roll(still, 2 * number, axis=1) for number in range(frames)])


def _probe() -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:45, 0:67]
    smooth = np.stack([3 * x, 5 * y, 2 * x + 2 * y], axis=-1)
    texture = 40 * ((x // 2 + y // 3) % 2)[..., None]
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 50, (45, 67, 3)) * (x > 33)[..., None]
    still: npt.NDArray[np.uint8] = np.clip(smooth + texture + noise, 0, 255).astype(np.uint8)
    return still


def identity_of(condition: Condition) -> str | None:
    """The identity of a condition's codec at its level; None for clean."""
    return None if condition.codec is None or condition.level is None else identity(CODECS[condition.codec], condition.level)


@lru_cache
def identity(codec: Codec, level: int) -> str:
    """Digest, 16 hexadecimal digits, of the bytes and pixels that the codec makes of the probe at a level."""
    data = codec.encode(probe(9 if codec.clips else 1), level)
    return hashlib.sha256(data + codec.decode(data).tobytes()).hexdigest()[:16]
