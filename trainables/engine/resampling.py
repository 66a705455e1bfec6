"""Bootstrap resamples of a split: the same in every run on the same data, hence paired between networks.

Groups are resampled whole; to change the unit of resampling, change the split's groups.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

REPLICATES = 400


def resamples(fingerprint: str, groups: Sequence[str], replicates: int = REPLICATES) -> npt.NDArray[np.int64]:
    """How often each of N items counts in each of R resamples: (R, N) multinomial counts over the sorted groups."""
    names, membership = np.unique(np.asarray(groups), return_inverse=True)
    even = np.full(len(names), 1 / len(names))
    counts = np.empty((replicates, len(names)), np.int64)
    for replicate in range(replicates):
        digest = hashlib.sha256(f"{fingerprint}/{replicate}".encode()).digest()
        counts[replicate] = np.random.default_rng(int.from_bytes(digest[:16], "big")).multinomial(len(names), even)
    return counts[:, membership]
