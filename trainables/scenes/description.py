"""Descriptions of streets, and functions that draw them at random.

To add a kind of thing, add its range to `Mix` and a line to `_draw_things`; to add a preset, write another `Mix`.
"""

import math
from dataclasses import dataclass

from numpy.random import Generator

from trainables.scenes.camera import Camera, Light, draw_light
from trainables.scenes.chance import chance, random_hsv
from trainables.scenes.facades import Facade, draw_facade
from trainables.scenes.ground import Ground, Sky, draw_ground
from trainables.scenes.people import draw_person
from trainables.scenes.roadside import draw_dog, draw_pole, draw_sign, draw_tree
from trainables.scenes.texture import random_texture
from trainables.scenes.things import Spot, Thing
from trainables.scenes.vehicles import draw_car, draw_truck
from trainables.scenes.vocabulary import Span


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Ranges from which a street is drawn. The names and values are part of the fingerprint of the embedded data sets.

    Fields:
        cars, trucks, people, signs, dogs, poles, trees: smallest and largest number per scene.
        distance: distances of things other than people, in metres.
        people_distance: distances of people, in metres.
        abreast: whether people stand side by side over the width of the image instead of anywhere on the street.
        horizon: row of the horizon, in image heights from the top.
        camera_height: height of the camera above the ground, in metres.
    """

    cars: tuple[int, int] = (1, 4)
    trucks: tuple[int, int] = (0, 1)
    people: tuple[int, int] = (1, 5)
    signs: tuple[int, int] = (0, 3)
    dogs: tuple[int, int] = (0, 0)
    poles: tuple[int, int] = (0, 4)
    trees: tuple[int, int] = (0, 3)
    distance: Span = (4.0, 26.0)
    people_distance: Span = (4.0, 26.0)
    abreast: bool = False
    horizon: Span = (0.38, 0.52)
    camera_height: Span = (1.3, 1.9)


STREET = Mix()
"""Traffic and pedestrians, for segmentation: every pixel has a class."""

STREET_WITH_DOGS = Mix(dogs=(0, 2))
"""`STREET` with dogs, for detection: all of `OBJECTS` occur, and pixels of dogs are `IGNORED` in the class map."""

PEOPLE = Mix(
    cars=(0, 1),
    trucks=(0, 0),
    people=(1, 5),
    signs=(0, 1),
    poles=(0, 0),
    trees=(0, 1),
    distance=(8.0, 16.0),
    people_distance=(2.6, 6.0),
    abreast=True,
)
"""One to five people near the camera, for pose estimation: 1/3 to 3/4 of the image height; some hide others."""

STREET_LEVEL = Mix(horizon=(0.44, 0.46), camera_height=(1.55, 1.65))
"""`STREET` with an almost fixed camera height, for depth: height and distance cannot be told apart from a single image."""


@dataclass(frozen=True, kw_only=True)
class Street:
    """The full input of `render`.

    Fields:
        camera, sky, ground, light: one of each.
        facades: left and right.
        things: in any order; instances are numbered in this order.
        noise_seed: seed of the sensor noise, at least 0.
    """

    camera: Camera
    sky: Sky
    ground: Ground
    facades: tuple[Facade, Facade]
    things: tuple[Thing, ...]
    light: Light
    noise_seed: int


def describe(rng: Generator, mix: Mix = STREET) -> Street:
    """Draw the description of a scene. It depends only on the state of `rng` and on `mix`."""
    camera = Camera(
        centre=0.5 + rng.uniform(-0.12, 0.12), horizon=rng.uniform(*mix.horizon), height=rng.uniform(*mix.camera_height)
    )
    sky = Sky(colour=random_hsv(rng, (0.52, 0.66), (0, 0.45), (0.6, 1)), texture=random_texture(rng))
    ground = draw_ground(rng)
    facades = (draw_facade(rng, -1, ground.sidewalk_edge), draw_facade(rng, 1, ground.sidewalk_edge))
    return Street(
        camera=camera,
        sky=sky,
        ground=ground,
        facades=facades,
        things=_draw_things(rng, mix, camera, facades),
        light=draw_light(rng),
        noise_seed=int(rng.integers(2**62)),
    )


@dataclass(frozen=True, kw_only=True)
class _Spots:
    """Draws spots for things, inside the view and in front of the facades."""

    rng: Generator
    camera: Camera
    facades: tuple[Facade, Facade]

    def anywhere(self, off_middle: Span, distance: Span) -> Spot:
        """Draw a spot left or right of the road's middle, from ranges in metres."""
        x = self._between_facades(self.rng.uniform(*off_middle) * (1 if chance(self.rng, 0.5) else -1))
        near, far = distance
        left, right = self.camera.view_ends(1.0)
        nearest_in_view = x / (0.95 * (left if x < 0 else right))
        return self._spot(x, self._draw_distance((min(max(near, nearest_in_view), far), far)))

    def abreast(self, place: float, distance: Span) -> Spot:
        """Draw a spot near image column `place`: 0 is the left edge, 1 the right edge."""
        metres = self._draw_distance(distance)
        left, right = self.camera.view_ends(metres)
        x = left + (right - left) * self.rng.normal(0.5 + 0.85 * (place - 0.5), 0.06)
        return self._spot(self._between_facades(x), metres)

    def _between_facades(self, x: float) -> float:
        # At least half a metre from a facade, so that nothing stands inside a house.
        left, right = self.facades
        return min(max(x, 0.5 - left.offset), right.offset - 0.5)

    def _draw_distance(self, distance: Span) -> float:
        # Uniform in the logarithm, so that sizes in the image are spread evenly over octaves.
        near, far = distance
        return math.exp(self.rng.uniform(math.log(near), math.log(far)))

    def _spot(self, x: float, distance: float) -> Spot:
        return Spot(x=x, distance=distance, texture=random_texture(self.rng))


def _draw_things(rng: Generator, mix: Mix, camera: Camera, facades: tuple[Facade, Facade]) -> tuple[Thing, ...]:
    spots = _Spots(rng=rng, camera=camera, facades=facades)

    def some(number: tuple[int, int], off_middle: Span) -> list[Spot]:
        return [spots.anywhere(off_middle, mix.distance) for _ in range(_draw_number(rng, number))]

    return (
        *[draw_car(rng, spot) for spot in some(mix.cars, (0.5, 5))],
        *[draw_truck(rng, spot) for spot in some(mix.trucks, (0.5, 5))],
        *[draw_person(rng, spot) for spot in _find_people_spots(rng, mix, spots)],
        *[draw_sign(rng, spot) for spot in some(mix.signs, (1.5, 6.5))],
        *[draw_dog(rng, spot) for spot in some(mix.dogs, (0, 5))],
        *[draw_pole(rng, spot) for spot in some(mix.poles, (3, 7))],
        *[draw_tree(rng, spot) for spot in some(mix.trees, (4, 9))],
    )


def _draw_number(rng: Generator, number: tuple[int, int]) -> int:
    least, most = number
    return int(rng.integers(least, most + 1))


def _find_people_spots(rng: Generator, mix: Mix, spots: _Spots) -> list[Spot]:
    number = _draw_number(rng, mix.people)
    if not mix.abreast:
        return [spots.anywhere((0, 6), mix.people_distance) for _ in range(number)]
    return [spots.abreast((slot + 0.5) / number, mix.people_distance) for slot in range(number)]
