"""Optical flow that is computed once per clip and condition, for extractors that are too slow to run on every sample.

Flow is computed on whole frames at native resolution, clipped to +-20 pixels, resized to the network's input size and quantised to
eight bits, as for the published network. The published code maps -20..20 to 0..255, where no integer stands for 0. This module maps
it to -127..127: no motion is exactly 0. A step is 20 / 127 = 0.157 pixels, and the error is at most half a step.

To store flow in another form, write another `Derived` and return it from `derive` of an `Inputs`.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.codecs import probe
from trainables.contracts import Derived, Frames
from trainables.tasks.action.flow import BOUND, STEPS, Extractor, extractor_of, flows
from trainables.tasks.action.sampling import resized

Quantised = npt.NDArray[np.int8]
FORMAT = b"1"
"""Version of the bytes that `StoredFlow.encode` returns; raise it when they change."""


@dataclass(frozen=True, kw_only=True)
class StoredFlow:
    """Flow from each frame of a clip to the next, (T, h, w, 2) int8 in -127..127; that of the last frame is zero."""

    extractor: Extractor
    size: tuple[int, int]
    """(h, w)."""

    @property
    def name(self) -> str:
        """Identifier `tvl1-224x224-<digest>`."""
        return f"{self.extractor.name}-{self.size[0]}x{self.size[1]}-{_identity(self)}"

    def derive(self, frames: Frames, wanted: Sequence[int]) -> Quantised:
        """Flow (N, h, w, 2) from each wanted frame, in the order given. Repeated frames are computed once."""
        found = {index: self._flow(frames[index : index + 2]) for index in set(wanted)}
        return np.stack([found[index] for index in wanted])

    def _flow(self, pair: Frames) -> Quantised:
        if len(pair) == 1:
            return np.zeros((*self.size, 2), np.int8)
        (flow,) = flows(pair, self.extractor)
        return np.rint(resized(np.clip(flow, -BOUND, BOUND), self.size) * np.float32(STEPS / BOUND)).astype(np.int8)

    def encode(self, values: npt.NDArray[Any]) -> bytes:
        """Serialise (T, h, w, 2): T + 1 offsets (uint32), then each flow as row differences, deflated on its own."""
        parts = [zlib.compress(np.diff(each, axis=0, prepend=np.int8(0)).tobytes(), 9) for each in values]
        offsets = np.cumsum([4 * (len(parts) + 1), *map(len, parts)])
        return offsets.astype("<u4").tobytes() + b"".join(parts)

    def decode(self, data: bytes, wanted: Sequence[int]) -> Quantised:
        """Read the wanted flows (N, h, w, 2), in the order given, and inflate no others. Raises IndexError outside the clip."""
        offsets = np.frombuffer(data, "<u4", int.from_bytes(data[:4], "little") // 4).tolist()
        found = {index: self._inflated(data[offsets[index] : offsets[index + 1]]) for index in set(wanted)}
        return np.stack([found[index] for index in wanted])

    def _inflated(self, part: bytes) -> Quantised:
        return np.cumsum(np.frombuffer(zlib.decompress(part), np.int8).reshape(*self.size, 2), axis=0, dtype=np.int8)


@lru_cache
def _identity(derived: StoredFlow) -> str:
    """Digest (16 hexadecimal digits) of the probe's flow.

    It covers values, not compressed bytes: another version of zlib must not discard days of computed flow.
    """
    return hashlib.sha256(FORMAT + derived.derive(probe(3), range(3)).tobytes()).hexdigest()[:16]


def stored_flow(hyper: Any) -> Derived | None:
    """Stored flow by the extractor in the hyper-parameters; None if that is not stored. Raises ValueError for an unknown one."""
    extractor = extractor_of(hyper)
    return StoredFlow(extractor=extractor, size=tuple(hyper.size)) if extractor.stored else None
