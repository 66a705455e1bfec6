"""Splits and groups of data sets that have no lists of their own. To add a rule, write a function of the items' names.

Frames of a sequence look like their neighbours: they are resampled in blocks and split with gaps. Other items go by the hash of
their name, so that an item stays where it is when others come or go.
"""

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby

BLOCK = 10
"""Frames of a sequence that are resampled together, and the most that are left out between two splits."""
TRAIN, VAL = 0.7, 0.1
"""Shares of training and validation; the rest is for the test."""
HELD_OUT = 20
"""One training item in so many is for validation where a data set has test items but none for validation: 5 %."""

Parts = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Training, validation and test."""


def blocks(names: Sequence[str], sequence: Callable[[str], str]) -> list[str]:
    """The group of each name: ten in a row of a sequence, named by their first."""
    groups: list[str] = []
    for _, members in groupby(names, sequence):
        of_sequence = list(members)
        groups += [of_sequence[place - place % BLOCK] for place in range(len(of_sequence))]
    return groups


def by_blocks(names: Sequence[str]) -> Parts:
    """One sequence, in its order, as three blocks; between them `BLOCK` frames, or a tenth of a short sequence, are left out.

    Raises ValueError for fewer than ten frames.
    """
    if len(names) < 10:
        raise ValueError(f"{len(names)} frames cannot be split into three blocks with gaps; give at least 10")
    gap = min(BLOCK, len(names) // 10)
    kept = len(names) - 2 * gap
    train, val = round(TRAIN * kept), round(VAL * kept)
    after = train + gap + val + gap
    return tuple(names[:train]), tuple(names[train + gap : train + gap + val]), tuple(names[after:])


def by_hash(names: Sequence[str]) -> Parts:
    """Independent items, each by the SHA-256 of its name."""
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name in names:
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
        parts[0 if place < TRAIN else 1 if place < TRAIN + VAL else 2].append(name)
    train, val, test = map(tuple, parts)
    return train, val, test


def held_out(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Training names and the twentieth of them, at least one, whose hashes are lowest; both sorted."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = max(1, len(names) // HELD_OUT)
    return tuple(sorted(ranked[count:])), tuple(sorted(ranked[:count]))
