"""Codecs for clips: every encoder of PyAV's FFmpeg that has a constant rate factor (CRF), as a stream of packets.

Settings must make the output deterministic: one thread per clip, since slices depend on the number of threads, and a fixed
instruction set where the output depends on it. Frames of odd size are padded at their edge, as 4:2:0 chroma requires, and cropped
after decoding.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from trainables.codecs.spacing import Spacing
from trainables.contracts import Frames, Size

if TYPE_CHECKING:
    from av import VideoCodecContext

MAGIC = b"CSCLIP\x00\x01"
"""First bytes of an encoded clip, format 1. Then: CRC-32 of the rest, (T, H, W), number and lengths of the packets, the packets."""
RATE = 25
"""Frames per second, passed to the encoder. It affects rate control, so every clip uses the same value."""


@dataclass(frozen=True, kw_only=True)
class PyAVClip:
    """A video codec of FFmpeg, e.g. `PyAVClip(name="h265", encoder="libx265", decoder="hevc", ...)`."""

    name: str
    encoder: str
    """FFmpeg's name of the encoder, e.g. `libx264`."""
    decoder: str
    """FFmpeg's name of the decoder, e.g. `h264`."""
    levels: tuple[int, ...]
    shown: tuple[int, ...]
    allowed: tuple[int, int]
    """Smallest and largest CRF."""
    preset: str
    pixel_format: str = "yuv420p"
    gop: int = 250
    """Largest number of frames from one keyframe to the next."""
    option: str
    """FFmpeg option that takes the encoding library's own parameters, e.g. `x264-params`."""
    parameters: tuple[tuple[str, str | int], ...] = ()
    """The library's own parameters, as (name, value). FFmpeg ignores names that the library does not know."""
    clips: ClassVar[bool] = True
    spacing: ClassVar[Spacing] = "linear"

    def encode(self, frames: Frames, level: int) -> bytes:
        """Compress (T, H, W, 3). Raises ValueError for a CRF outside `allowed` and for other frames."""
        import av

        low, high = self.allowed
        if not low <= level <= high:
            raise ValueError(f"{self.name}: CRF {level} is outside {low}..{high}")
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
            raise ValueError(f"{self.name}: expected uint8 RGB frames (T, H, W, 3), got {frames.dtype} {frames.shape}")
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
        import av

        encoder = self._context(self.encoder, "w")
        encoder.width, encoder.height, encoder.pix_fmt = frames.shape[2], frames.shape[1], self.pixel_format
        encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
        encoder.gop_size = self.gop
        settings = ":".join(f"{name}={value}" for name, value in self.parameters)
        encoder.options = {"crf": str(level), "preset": self.preset, self.option: settings}
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            yield from map(bytes, encoder.encode(picture))
        yield from map(bytes, encoder.encode(None))

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        """Decompress to (T, H, W, 3), or to the wanted frames; frames after the last wanted one are not decoded.

        Raises ValueError for corrupt data and IndexError for a frame outside the clip.
        """
        import av

        (count, height, width), packets = self._open(data)
        indices = range(count) if wanted is None else [range(count)[index] for index in wanted]
        missing, found = set(indices), dict[int, Frames]()
        decoder = self._context(self.decoder, "r")
        number = 0
        try:
            for packet in (*packets, None):
                for frame in decoder.decode(None if packet is None else av.Packet(packet)):
                    if number in missing:
                        missing.remove(number)
                        found[number] = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)[:height, :width]
                    number += 1
                if not missing:
                    break
        except av.FFmpegError as error:
            raise ValueError(f"{self.name}: corrupt data ({self.decoder}: {error})") from error
        if missing:
            raise ValueError(f"{self.name}: corrupt data ({number} of {count} frames decode)")
        return np.stack([found[index] for index in indices]) if found else np.empty((0, height, width, 3), np.uint8)

    def size(self, data: bytes) -> Size:
        """Bytes of the first packet, which holds the leading keyframe and the stream's parameters, and of all others."""
        _, packets = self._open(data)
        return Size(len(packets[0]), sum(map(len, packets[1:])))

    def _open(self, data: bytes) -> tuple[tuple[int, int, int], list[bytes]]:
        """(T, H, W), and the packets in decoding order."""
        start = len(MAGIC) + 4
        if data[: len(MAGIC)] != MAGIC or struct.pack("<I", zlib.crc32(data[start:])) != data[len(MAGIC) : start]:
            raise ValueError(f"{self.name}: corrupt data (checksum mismatch, {len(data)} bytes)")
        count, height, width, packets = struct.unpack_from("<4I", data, start)
        lengths = struct.unpack_from(f"<{packets}I", data, start + 16)
        ends = np.cumsum((start + 16 + 4 * packets, *lengths)).tolist()
        return (count, height, width), [data[begin:end] for begin, end in pairwise(ends)]

    def _context(self, library: str, mode: Literal["r", "w"]) -> "VideoCodecContext":
        """A single-threaded encoder or decoder. Raises ValueError where PyAV's FFmpeg lacks it."""
        import av
        from av.codec.codec import UnknownCodecError

        try:
            context: av.CodecContext | None = av.CodecContext.create(library, mode)
        except UnknownCodecError:
            context = None
        if not isinstance(context, av.VideoCodecContext):
            kind = "encoder" if mode == "w" else "decoder"
            raise ValueError(f"{self.name}: the FFmpeg of PyAV {av.__version__} has no video {kind} {library!r}")
        context.thread_count = 1
        return context


H264 = PyAVClip(
    name="h264",
    encoder="libx264",
    decoder="h264",
    levels=(23, 25, 30, 40, 50),
    shown=(23, 30, 40),
    allowed=(1, 51),  # CRF 0 is lossless
    preset="medium",
    option="x264-params",
    parameters=(("asm", "AVX2"), ("threads", 1), ("bframes", 3)),
)
"""H.264 by x264: the same bytes in every run on x86-64 with AVX2. With AVX-512, x264's output differs from run to run."""
