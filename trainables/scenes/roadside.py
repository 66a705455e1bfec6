"""Signs, poles, trees and dogs.

To add a thing, derive it from `Thing` and write a `draw_...` function; the package docstring lists the other steps.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from numpy.random import Generator

from trainables.scenes.chance import chance, draw_leaves, hsv, random_hsv
from trainables.scenes.texture import Grain
from trainables.scenes.things import Material, Pen, Spot, Thing
from trainables.scenes.vocabulary import IGNORED, OBJECTS, POLE, SIGN, VEGETATION, Colour


@dataclass(frozen=True, kw_only=True)
class Sign(Thing):
    """A traffic sign: a board of `size` metres centred at `height` metres, on a post, which has class pole."""

    label: ClassVar[int | None] = OBJECTS.index("sign")

    shape: Literal["disc", "triangle", "square"]
    size: float
    height: float
    post_width: float
    post: Colour
    rim: Colour
    face: Colour

    @property
    def span(self) -> float:
        """Width of the board in metres."""
        return self.size

    def materials(self) -> dict[str, Material]:
        return {
            "post": Material(colour=self.post, roughness=3, klass=POLE, counted=False),
            "rim": Material(colour=self.rim, roughness=2, klass=SIGN),
            "face": Material(colour=self.face, roughness=2, klass=SIGN),
            "mark": Material(colour=(20.0, 20.0, 20.0), roughness=0, klass=SIGN),
        }

    def sketch(self, pen: Pen) -> None:
        pen.rectangle("post", (-self.post_width / 2, 0), (self.post_width / 2, self.height))
        board = pen.frame(bottom=self.height - self.size / 2, width=self.size, height=self.size)
        if self.shape == "disc":
            board.disc("rim", (0.5, 0.5), 0.5)
            board.disc("face", (0.5, 0.5), 0.32)
        elif self.shape == "triangle":
            board.polygon("rim", ((0.5, 1), (1, 0), (0, 0)))
            board.polygon("face", ((0.5, 0.7), (0.8, 0.12), (0.2, 0.12)))
        else:
            board.rectangle("rim", (0, 0), (1, 1))
            board.rectangle("face", (0.12, 0.12), (0.88, 0.88))
        board.stroke("mark", (0.35, 0.38), (0.65, 0.38), 0.12)


@dataclass(frozen=True, kw_only=True)
class Pole(Thing):
    """A pole of `height` x `width` metres."""

    height: float
    width: float
    paint: Colour

    @property
    def span(self) -> float:
        """Width in metres."""
        return self.width

    def materials(self) -> dict[str, Material]:
        return {"post": Material(colour=self.paint, roughness=3, klass=POLE)}

    def sketch(self, pen: Pen) -> None:
        pen.rectangle("post", (-self.width / 2, 0), (self.width / 2, self.height))


@dataclass(frozen=True, kw_only=True)
class Tree(Thing):
    """A tree. The crown has `radius` metres, is centred at `height` metres, and consists of discs (x, y, radius) in crown radii."""

    grain: ClassVar[Grain] = "middle"

    height: float
    radius: float
    discs: tuple[tuple[float, float, float], ...]
    bark: Colour
    leaves: Colour

    @property
    def span(self) -> float:
        """Width of the crown in metres."""
        return 2 * self.radius

    def materials(self) -> dict[str, Material]:
        return {
            "bark": Material(colour=self.bark, roughness=8, klass=VEGETATION),
            "leaves": Material(colour=self.leaves, roughness=22, klass=VEGETATION),
        }

    def sketch(self, pen: Pen) -> None:
        pen.rectangle("bark", (-0.11, 0), (0.11, self.height))
        for x, y, radius in self.discs:
            pen.disc("leaves", (x * self.radius, self.height + y * self.radius), radius * self.radius)


@dataclass(frozen=True, kw_only=True)
class Dog(Thing):
    """A dog of 1 m length, from the side. `strides` shifts the paws, as shares of the length."""

    label: ClassVar[int | None] = OBJECTS.index("dog")
    grain: ClassVar[Grain] = "middle"
    shadow: ClassVar[bool] = True

    facing_left: bool
    strides: tuple[float, float, float, float]
    coat: Colour

    @property
    def span(self) -> float:
        """Length in metres."""
        return 1.0

    def materials(self) -> dict[str, Material]:
        red, green, blue = self.coat
        return {
            "coat": Material(colour=self.coat, roughness=13, klass=IGNORED),
            "dark": Material(colour=(0.6 * red, 0.6 * green, 0.6 * blue), roughness=6, klass=IGNORED),
        }

    def sketch(self, pen: Pen) -> None:
        frame = pen.frame(bottom=0, width=self.span, height=0.75, mirrored=self.facing_left)
        frame.ellipse("coat", (0.12, 0.32), (0.8, 0.7))
        frame.ellipse("coat", (0.7, 0.58), (1, 0.92))
        frame.polygon("dark", ((0.74, 0.85), (0.78, 1), (0.84, 0.88)))
        for x, stride in zip((0.18, 0.3, 0.62, 0.74), self.strides, strict=True):
            frame.stroke("coat", (x, 0.45), (x + stride, 0), 0.07)
        frame.stroke("dark", (0.16, 0.6), (0, 0.85), 0.05)


def draw_sign(rng: Generator, spot: Spot) -> Sign:
    """Draw a sign with random shape, size and colours."""
    shapes: tuple[Literal["disc", "triangle", "square"], ...] = ("disc", "triangle", "square")
    grey = rng.uniform(50, 150)
    return Sign(
        **dataclasses.asdict(spot),
        shape=shapes[rng.integers(len(shapes))],
        size=rng.uniform(0.6, 1),
        height=rng.uniform(2.3, 3.2),
        post_width=rng.uniform(0.1, 0.22),
        post=(grey, grey, grey + 5),
        rim=hsv(rng.choice((0, 0.6, 0.12)), rng.uniform(0.5, 0.9), rng.uniform(0.5, 0.9)),
        face=hsv(rng.choice((0, 0.6, 0.12, 0.3)), rng.uniform(0, 0.6), rng.uniform(0.6, 1)),
    )


def draw_pole(rng: Generator, spot: Spot) -> Pole:
    """Draw a pole with random size and grey."""
    grey = rng.uniform(50, 150)
    return Pole(
        **dataclasses.asdict(spot),
        height=rng.uniform(4, 7),
        width=rng.uniform(0.12, 0.3),
        paint=(grey, grey, grey + 5),
    )


def draw_tree(rng: Generator, spot: Spot) -> Tree:
    """Draw a tree with random crown, size and colours."""
    discs: list[tuple[float, float, float]] = []
    for _ in range(9):
        angle, out = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.55)
        discs.append((out * math.cos(angle), out * math.sin(angle), rng.uniform(0.3, 0.5)))
    return Tree(
        **dataclasses.asdict(spot),
        height=rng.uniform(3.5, 6.5),
        radius=rng.uniform(1.1, 2.1),
        discs=tuple(discs),
        bark=random_hsv(rng, (0.05, 0.1), (0.35, 0.35), (0.2, 0.45)),
        leaves=draw_leaves(rng),
    )


def draw_dog(rng: Generator, spot: Spot) -> Dog:
    """Draw a dog with random gait and coat."""
    first, second, third, fourth = rng.uniform(-0.06, 0.06, 4).tolist()
    return Dog(
        **dataclasses.asdict(spot),
        facing_left=chance(rng, 0.5),
        strides=(first, second, third, fourth),
        coat=random_hsv(rng, (0.04, 0.13), (0.1, 0.6), (0.15, 0.9)),
    )
