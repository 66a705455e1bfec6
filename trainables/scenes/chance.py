"""Random draws that several modules share.

Move a function here when a second module needs it.
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
    """Draw a colour from ranges of hue, saturation and value, each within 0 to 1."""
    return hsv(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


def shifted(rng: Generator, grey: float, spread: float) -> Colour:
    """Return a grey with independent normal noise of standard deviation `spread` on each channel."""
    return rng.normal(grey, spread), rng.normal(grey, spread), rng.normal(grey, spread)


def draw_leaves(rng: Generator) -> Colour:
    """Draw a colour of leaves."""
    return random_hsv(rng, (0.16, 0.38), (0.2, 0.55), (0.22, 0.5))
