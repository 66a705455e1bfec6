"""The identity of a codec: a digest of its output, so that a library upgrade that changes no byte retrains nothing."""

import hashlib
from functools import lru_cache

from trainables.codecs.probe import probe
from trainables.contracts import Codec


@lru_cache
def identity(codec: Codec, level: int) -> str:
    """Digest (16 hexadecimal digits) of the codec's output on the probe at a level: the encoded bytes and the decoded pixels."""
    data = codec.encode(probe(9 if codec.clips else 1), level)
    return hashlib.sha256(data + codec.decode(data).tobytes()).hexdigest()[:16]
