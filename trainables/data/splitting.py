"""Rules that split items and group frames, for data sets without split lists of their own.

Neighbouring frames of a sequence look alike, so sequences are split into blocks with gaps, and resampled in blocks. Independent
items are split by the hash of their names, so that an item keeps its split when other items are added or removed. To add a rule,
write a function of the items' names.
"""

import hashlib
from collections.abc import Callable, Sequence
from itertools import groupby

BLOCK = 10
"""Frames of a sequence that are resampled together; also the largest gap, in frames, between two splits of a sequence."""
TRAIN, VAL = 0.7, 0.1
"""Fractions of the items for training and validation; the rest is the test split."""
HELD_OUT = 20
"""One training item in 20 (5 %) becomes a validation item where a data set has a test split but no validation split."""

Parts = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
"""Names of the training, validation and test items."""


def blocks(names: Sequence[str], sequence: Callable[[str], str]) -> list[str]:
    """Group of each name: ten consecutive names of a sequence, called after the first of them."""
    groups: list[str] = []
    for _, members in groupby(names, sequence):
        frames = list(members)
        groups += [frames[index - index % BLOCK] for index in range(len(frames))]
    return groups


def by_blocks(names: Sequence[str]) -> Parts:
    """Split one sequence, in its order, into three blocks. A gap of `BLOCK` frames, or a tenth of a short sequence, separates them.

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
    """Split independent items, each by the SHA-256 of its name."""
    parts: tuple[list[str], list[str], list[str]] = ([], [], [])
    for name in names:
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
        parts[0 if place < TRAIN else 1 if place < TRAIN + VAL else 2].append(name)
    train, val, test = map(tuple, parts)
    return train, val, test


def withheld(groups: Sequence[str], share: float) -> tuple[int, ...]:
    """Indices of the items of whole groups that are withheld from training: that share of the groups, at least one, by hash.

    The choice depends on the groups' names alone, not on their order. None are withheld for a share of 0. Raises ValueError for a
    share outside 0..1, and where no group would remain.
    """
    if not 0 <= share < 1:
        raise ValueError(f"withheld is {share}: give a share of the training groups, at least 0 and below 1")
    if not share:
        return ()
    # The salt keeps the choice independent of a split by the hash of the same names.
    ranked = sorted(set(groups), key=lambda group: hashlib.sha256(f"withheld {group}".encode()).digest())
    count = max(1, round(share * len(ranked)))
    if count >= len(ranked):
        raise ValueError(f"withheld is {share}: of {len(ranked)} training groups none remains; lower it")
    chosen = set(ranked[:count])
    return tuple(index for index, group in enumerate(groups) if group in chosen)


def held_out(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split training names into training and validation, both sorted: the 5 % with the lowest hashes, at least one, validate."""
    ranked = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    count = max(1, len(names) // HELD_OUT)
    return tuple(sorted(ranked[count:])), tuple(sorted(ranked[:count]))
