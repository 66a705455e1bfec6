"""Lossy codecs. To add one, append a value to `CODECS`; the conformance tests run over the table.

Anything that Pillow codes is a `PillowStill` (stills.py), anything that FFmpeg codes a `PyAVClip` (video.py). A codec is applied to
raw frames at native resolution, before every transform. Importing this package needs numpy alone: a codec imports its library
when it is used.
"""

from trainables.codecs.identity import identity
from trainables.codecs.probe import probe
from trainables.codecs.spacing import Spacing, spaced, spacing_of
from trainables.codecs.stills import Jpeg
from trainables.codecs.video import H264
from trainables.contracts import Codec, Condition
from trainables.lookup import find_named

CODECS: dict[str, Codec] = {codec.name: codec for codec in (Jpeg(), H264)}

__all__ = ["CODECS", "Spacing", "find_codec", "identity", "identity_of", "probe", "spaced", "spacing_of"]


def find_codec(name: str) -> Codec:
    """Codec by name, or a user's own as `package.module:NAME`. Raises ValueError in one line."""
    found: Codec = find_named(name, CODECS, Codec, "codec")
    return found


def identity_of(condition: Condition) -> str | None:
    """Identity of a condition's codec at its level; None for clean."""
    return None if condition.codec is None or condition.level is None else identity(find_codec(condition.codec), condition.level)
