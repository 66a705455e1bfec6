"""The camera: projection of metres to canvas pixels, and exposure of the canvas to an 8-bit image.

To add an effect of light, give `Light` a field, draw it in `draw_light` and apply it in `expose`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from trainables.scenes.chance import shifted
from trainables.scenes.things import Thing
from trainables.scenes.vocabulary import FAR, OVERSAMPLING, SKY, Colour, Floats, Point, Span


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A camera that looks horizontally along the street.

    Fields:
        focal: focal length in image widths.
        centre: column of the vanishing point, in image widths.
        horizon: row of the horizon, in image heights from the top.
        height: metres above the ground.
    """

    focal: float = 0.8
    centre: float
    horizon: float
    height: float

    def view_ends(self, distance: float) -> Span:
        """Return the left (negative) and right limit of the view at a distance, in metres."""
        return -self.centre / self.focal * distance, (1 - self.centre) / self.focal * distance


@dataclass(frozen=True, kw_only=True)
class Light:
    """Illumination, haze and sensor noise.

    Fields:
        gain: factors on red, green and blue.
        slope: relative increase of the light from the centre to the right edge and to the bottom edge.
        haze_distance: metres after which a share of 1/e of a colour remains.
        haze: grey value that replaces the rest, 0 to 255.
        noise: standard deviation of the sensor noise, in grey values.
    """

    gain: Colour
    slope: Point
    haze_distance: float
    haze: float
    noise: float


def draw_light(rng: Generator) -> Light:
    """Draw random brightness, tint, haze and sensor noise."""
    brightness = rng.uniform(0.75, 1.2)
    red, green, blue = shifted(rng, 1.0, 0.05)
    return Light(
        gain=(brightness * red, brightness * green, brightness * blue),
        slope=(rng.uniform(-0.25, 0.25), rng.uniform(-0.15, 0.15)),
        haze_distance=rng.uniform(90, 400),
        haze=rng.uniform(150, 215),
        noise=rng.uniform(1.5, 4),
    )


class Canvas:
    """The oversampled image that is painted on. `owners` holds 1 + the index of the thing whose object a pixel shows, else 0."""

    def __init__(self, height: int, width: int) -> None:
        rows, columns = height * OVERSAMPLING, width * OVERSAMPLING
        self.rgb: Floats = np.zeros((rows, columns, 3), np.float32)
        self.classes = np.full((rows, columns), SKY, np.uint8)
        self.depth = np.full((rows, columns), FAR, np.float32)
        self.owners = np.zeros((rows, columns), np.int16)
        self.rows = np.arange(rows)
        self.columns = np.arange(columns)


class View:
    """A camera in units of canvas pixels."""

    def __init__(self, camera: Camera, canvas: Canvas) -> None:
        self.camera = camera
        self.focal = camera.focal * len(canvas.columns)
        self.centre = camera.centre * len(canvas.columns)
        self.horizon = camera.horizon * len(canvas.rows)
        # Metres to the right and down per metre forward, for each column and row.
        self.rightwards: Floats = ((canvas.columns - self.centre) / self.focal).astype(np.float32)
        self.downwards: Floats = ((canvas.rows - self.horizon) / self.focal).astype(np.float32)

    def scale(self, distance: float) -> float:
        """Return the scale at a distance, in pixels per metre."""
        return self.focal / distance

    def foot(self, thing: Thing) -> Point:
        """Return (column, row) of the point on the ground under a thing."""
        scale = self.scale(thing.distance)
        return self.centre + thing.x * scale, self.horizon + self.camera.height * scale


def expose(canvas: Canvas, depth: NDArray[np.float32], light: Light, noise_seed: int) -> NDArray[np.uint8]:
    """Return the image (H, W, 3): the canvas after box filter, haze, uneven light and noise."""
    height, width = depth.shape
    fine = canvas.rgb
    rgb = fine.reshape(height, OVERSAMPLING, width, OVERSAMPLING, 3).mean(axis=(1, 3))
    clear = np.exp(-depth / light.haze_distance)[..., None]
    rgb = rgb * clear + light.haze * (1 - clear)
    across = np.linspace(-1, 1, width, dtype=np.float32)
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    fall_off = 1 + light.slope[0] * across + light.slope[1] * down
    rgb = rgb * fall_off[..., None] * np.array(light.gain, np.float32)
    rng = np.random.default_rng(noise_seed)
    coloured = rng.standard_normal((height, width, 3), dtype=np.float32)
    grey = rng.standard_normal((height, width, 1), dtype=np.float32)
    rgb = rgb + light.noise * (0.6 * coloured + 0.8 * grey)
    return np.asarray(np.clip(rgb + 0.5, 0, 255), np.uint8)
