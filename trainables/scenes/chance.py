"""Draws that several parts of a street share: coins and colours.

To add one, move it here from the module that has it when a second needs it.
"""

import colorsys

from numpy.random import Generator

from trainables.scenes.vocabulary import Colour, Span


def chance(rng: Generator, probability: float) -> bool:
    """Return True with this probability."""
    return bool(rng.random() < probability)


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return a colour from hue, saturation and value, each 0 to 1."""
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def random_hsv(rng: Generator, hue: Span, saturation: Span, value: Span) -> Colour:
    """Draw a colour whose hue, saturation and value, each 0 to 1, lie in these ranges."""
    return hsv(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


def shifted(rng: Generator, grey: float, spread: float) -> Colour:
    """Return a grey whose channels are each off by a normal deviate of the standard deviation `spread`."""
    return rng.normal(grey, spread), rng.normal(grey, spread), rng.normal(grey, spread)


def draw_leaves(rng: Generator) -> Colour:
    """Draw the colour of leaves."""
    return random_hsv(rng, (0.16, 0.38), (0.2, 0.55), (0.22, 0.5))
