"""Levels between two levels of a codec, finer than its ladder.

A codec states in its field `spacing` on which scale its levels are even: `geometric` for JPEG's quality, where 10 to 5 changes as
much as 80 to 40, and `linear` for a CRF, which is logarithmic itself. A codec without the field is `linear`.
"""

import math
from functools import lru_cache
from typing import Literal, get_args

from trainables.contracts import Codec

Spacing = Literal["linear", "geometric"]


def spacing_of(codec: Codec) -> Spacing:
    """The scale on which a codec's levels are even. Raises ValueError for an unknown one."""
    found: Spacing = getattr(codec, "spacing", "linear")
    if found not in get_args(Spacing):
        raise ValueError(f"{codec.name}: spacing {found!r} is unknown; use one of {', '.join(get_args(Spacing))}")
    return found


@lru_cache  # a schedule asks for every sample
def spaced(first: int, last: int, count: int, spacing: Spacing) -> tuple[int, ...]:
    """`count` distinct levels from `first` to `last`, both included, evenly spaced; fewer where the range holds fewer integers.

    Raises ValueError for fewer than two levels, and for a geometric spacing that starts below 1.
    """
    low, high = sorted((first, last))
    if count < 2:
        raise ValueError(f"{count} levels between {first} and {last}: give at least 2")
    if spacing == "geometric" and low < 1:
        raise ValueError(f"levels {first} to {last} cannot be spaced geometrically: they start below 1")
    number = min(count, high - low + 1)
    levels: list[int] = []
    for place in range(number):
        share = place / max(1, number - 1)
        even = low * (high / low) ** share if spacing == "geometric" else low + (high - low) * share
        # Rounding lets neighbours collide where levels are dense: each leaves room for those below it and above it.
        least = levels[-1] + 1 if levels else low
        levels.append(min(max(math.floor(even + 0.5), least), high - (number - 1 - place)))
    return tuple(levels if first <= last else reversed(levels))
