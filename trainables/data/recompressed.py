"""A source whose imagery, clean included, passes a codec before anything else: what a camera that compresses delivers."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trainables.codecs import find_codec, identity
from trainables.contracts import CLEAN, Codec, Condition, Frames, Source, Split


@dataclass(frozen=True)
class Recompressed:
    """A split whose frames were encoded and decoded once."""

    whole: Split
    codec: Codec
    level: int

    @property
    def names(self) -> Sequence[str]:
        return self.whole.names

    @property
    def groups(self) -> Sequence[str]:
        return self.whole.groups

    def frames(self, index: int) -> Frames:
        return self.codec.decode(self.codec.encode(self.whole.frames(index), self.level))

    def target(self, index: int) -> Any:
        return self.whole.target(index)

    def files(self, index: int) -> tuple[Path, ...]:
        return self.whole.files(index)


def recompressed(source: Source, condition: Condition) -> Source:
    """A source after a condition's codec; the source itself for clean.

    The fingerprint names the codec's output, so that trials, the store and everything else tell it from the original. Decoded
    frames count as slow to make.
    """
    if condition == CLEAN or condition.codec is None or condition.level is None:
        return source
    codec, level = find_codec(condition.codec), condition.level
    splits: dict[str, Any] = {name: Recompressed(source.split(name), codec, level) for name in ("train", "val", "test")}
    mark = f"{source.fingerprint} {codec.name}-{level}-{identity(codec, level)}"
    return replace(source, **splits, fingerprint=hashlib.sha256(mark.encode()).hexdigest()[:16], slow=True)
