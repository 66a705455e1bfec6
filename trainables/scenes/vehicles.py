"""Cars and trucks.

To add a vehicle, derive it from `_Vehicle`, sketch its outline and write a `draw_...` function; the package docstring lists the
other steps.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

from numpy.random import Generator

from trainables.scenes.chance import chance, random_hsv
from trainables.scenes.texture import Grain
from trainables.scenes.things import Material, Pen, Spot, Stripes, Thing
from trainables.scenes.vocabulary import CAR, OBJECTS, Colour

_FITTINGS = {
    "glass": Material(colour=(45.0, 55.0, 65.0), roughness=2, klass=CAR),
    "tyres": Material(colour=(25.0, 25.0, 28.0), roughness=3, klass=CAR),
    "lamps": Material(colour=(235.0, 225.0, 180.0), roughness=0, klass=CAR),
}


@dataclass(frozen=True, kw_only=True)
class _Vehicle(Thing):
    """A vehicle of `width` x `height` metres, seen from the side or from the front."""

    grain: ClassVar[Grain] = "middle"
    shadow: ClassVar[bool] = True

    width: float
    height: float
    from_side: bool

    @property
    def span(self) -> float:
        return self.width

    def _sketch_wheels(self, pen: Pen, *, radius: float) -> None:
        """Draw two wheels: round from the side, half as wide from the front."""
        from_middle, half_width = (0.3, radius) if self.from_side else (0.4, radius / 2)
        for x in (-from_middle * self.width, from_middle * self.width):
            pen.ellipse("tyres", (x - half_width, 0), (x + half_width, 2 * radius))


@dataclass(frozen=True, kw_only=True)
class Car(_Vehicle):
    """A car of `width` x `height` metres, seen from the side or from the front."""

    label: ClassVar[int | None] = OBJECTS.index("car")

    paint: Colour

    def materials(self) -> dict[str, Material]:
        return {"body": Material(colour=self.paint, roughness=2, klass=CAR), **_FITTINGS}

    def sketch(self, pen: Pen) -> None:
        frame = pen.frame(bottom=0, width=self.width, height=self.height)
        frame.rectangle("body", (0, 0.15), (1, 0.58))
        if self.from_side:
            frame.polygon("body", ((0.15, 0.55), (0.28, 1), (0.72, 1), (0.88, 0.55)))
            frame.polygon("glass", ((0.22, 0.58), (0.31, 0.92), (0.49, 0.92), (0.49, 0.58)))
            frame.polygon("glass", ((0.53, 0.58), (0.53, 0.92), (0.69, 0.92), (0.8, 0.58)))
        else:
            frame.polygon("body", ((0.05, 0.55), (0.2, 1), (0.8, 1), (0.95, 0.55)))
            frame.polygon("glass", ((0.13, 0.58), (0.24, 0.93), (0.76, 0.93), (0.87, 0.58)))
            frame.rectangle("lamps", (0.04, 0.38), (0.2, 0.5))
            frame.rectangle("lamps", (0.8, 0.38), (0.96, 0.5))
        self._sketch_wheels(pen, radius=0.19 * self.height)


@dataclass(frozen=True, kw_only=True)
class Truck(_Vehicle):
    """A truck of `width` x `height` metres with a corrugated box, seen from the side or from the front."""

    label: ClassVar[int | None] = OBJECTS.index("truck")

    cab: Colour
    box: Colour

    def materials(self) -> dict[str, Material]:
        corrugation = Stripes(amplitude=12, frequency=0.22)
        return {
            "body": Material(colour=self.cab, roughness=2, klass=CAR),
            "box": Material(colour=self.box, roughness=5, klass=CAR, stripes=corrugation),
            **_FITTINGS,
        }

    def sketch(self, pen: Pen) -> None:
        frame = pen.frame(bottom=0, width=self.width, height=self.height)
        if self.from_side:
            frame.rectangle("box", (0, 0.18), (0.72, 1))
            frame.rectangle("body", (0.75, 0.15), (1, 0.75))
            frame.rectangle("body", (0, 0.15), (1, 0.2))
            frame.rectangle("glass", (0.82, 0.48), (0.97, 0.68))
        else:
            frame.rectangle("box", (0, 0.12), (1, 1))
            frame.rectangle("body", (0, 0.12), (1, 0.5))
            frame.rectangle("glass", (0.1, 0.58), (0.9, 0.88))
            frame.rectangle("lamps", (0.05, 0.28), (0.2, 0.38))
            frame.rectangle("lamps", (0.8, 0.28), (0.95, 0.38))
        self._sketch_wheels(pen, radius=0.28)


def draw_car(rng: Generator, spot: Spot) -> Car:
    """Draw a car of random view, size and colour."""
    from_side = chance(rng, 0.55)
    return Car(
        **dataclasses.asdict(spot),
        width=rng.uniform(3.6, 4.4) if from_side else rng.uniform(1.7, 2),
        height=rng.uniform(1.35, 1.7),
        from_side=from_side,
        paint=_draw_paint(rng),
    )


def draw_truck(rng: Generator, spot: Spot) -> Truck:
    """Draw a truck of random view, size and colours."""
    from_side = chance(rng, 0.55)
    return Truck(
        **dataclasses.asdict(spot),
        width=rng.uniform(4.5, 6) if from_side else rng.uniform(2.2, 2.6),
        height=rng.uniform(2.3, 3.1),
        from_side=from_side,
        cab=_draw_paint(rng),
        box=random_hsv(rng, (0, 1), (0, 0.4), (0.4, 0.95)),
    )


def _draw_paint(rng: Generator) -> Colour:
    return random_hsv(rng, (0, 1), (0, 0.15) if chance(rng, 0.5) else (0.3, 0.8), (0.25, 0.95))
