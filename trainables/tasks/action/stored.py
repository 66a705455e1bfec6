"""Flow that is computed once for a clip at a level, by an extractor that is too slow for every sample.

It is computed on whole frames at native resolution, cut off at +-20 pixels, brought to the size that the network sees, and kept in
eight bits, as the published network's was. There 0..255 stood for -20..20, and no whole number for 0; here it is -127..127, so that
what is still is exactly 0 and mirrored flow is negated flow. A step is 20 / 127 = 0.157 pixels, the error half of it at most.

To store flow otherwise, write another `Derived` and return it from the architecture's `derive`.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.tasks.action.flow import BOUND, STEPS, Extractor, extractor_of, flows
from trainables.tasks.action.sampling import resized
from trainables.codecs import probe
from trainables.contracts import Derived, Frames

Codes = npt.NDArray[np.int8]
FORMAT = b"1"
"""Of what `encode` makes; raise it with every change there."""


@dataclass(frozen=True, kw_only=True)
class StoredFlow:
    """The flow from each frame of a clip to the next, (T, h, w, 2) int8 in -127..127; from the last frame nothing moves."""

    extractor: Extractor
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """`tvl1-224x224-<digest>`."""
        return f"{self.extractor.name}-{self.size[0]}x{self.size[1]}-{_identity(self)}"

    def derive(self, frames: Frames, wanted: Sequence[int]) -> Codes:
        """The flow from each wanted frame, (N, h, w, 2), in the order asked for, each computed once."""
        found = {index: self._flow(frames[index : index + 2]) for index in set(wanted)}
        return np.stack([found[index] for index in wanted])

    def _flow(self, pair: Frames) -> Codes:
        if len(pair) == 1:
            return np.zeros((*self.size, 2), np.int8)
        (flow,) = flows(pair, self.extractor)
        return np.rint(resized(np.clip(flow, -BOUND, BOUND), self.size) * np.float32(STEPS / BOUND)).astype(np.int8)

    def encode(self, values: npt.NDArray[Any]) -> bytes:
        """Where each flow starts and the last ends, uint32, then each flow, deflated by itself as differences from row to row."""
        parts = [zlib.compress(np.diff(each, axis=0, prepend=np.int8(0)).tobytes(), 9) for each in values]
        offsets = np.cumsum([4 * (len(parts) + 1), *map(len, parts)])
        return offsets.astype("<u4").tobytes() + b"".join(parts)

    def decode(self, data: bytes, wanted: Sequence[int]) -> Codes:
        """The wanted flows (N, h, w, 2), in the order asked for; no other is inflated. Raises IndexError for one there is not."""
        offsets = np.frombuffer(data, "<u4", int.from_bytes(data[:4], "little") // 4).tolist()
        found = {index: self._inflated(data[offsets[index] : offsets[index + 1]]) for index in set(wanted)}
        return np.stack([found[index] for index in wanted])

    def _inflated(self, part: bytes) -> Codes:
        return np.cumsum(np.frombuffer(zlib.decompress(part), np.int8).reshape(*self.size, 2), axis=0, dtype=np.int8)


@lru_cache
def _identity(derived: StoredFlow) -> str:
    """Digest, 16 hexadecimal digits, of the probe's flow: of its values, since another zlib's bytes must not cost days of work."""
    return hashlib.sha256(FORMAT + derived.derive(probe(3), range(3)).tobytes()).hexdigest()[:16]


def stored_flow(hyper: Any) -> Derived | None:
    """Flow, where that of the hyper-parameters' extractor is to be stored. Raises ValueError for an unknown extractor."""
    extractor = extractor_of(hyper)
    return StoredFlow(extractor=extractor, size=tuple(hyper.size)) if extractor.stored else None
