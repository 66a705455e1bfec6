"""The fixed frames on which codecs and optical flows are identified. Changing a pixel retrains every study."""

import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames


def probe(frames: int = 1) -> Frames:
    """Moving frames (T, 45, 67, 3) of odd size with smooth, textured and noisy parts; the same in every process."""
    still = _still()
    return np.stack([np.roll(still, 2 * number, axis=1) for number in range(frames)])


def _still() -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:45, 0:67]
    smooth = np.stack([3 * x, 5 * y, 2 * x + 2 * y], axis=-1)
    texture = 40 * ((x // 2 + y // 3) % 2)[..., None]
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 50, (45, 67, 3)) * (x > 33)[..., None]
    still: npt.NDArray[np.uint8] = np.clip(smooth + texture + noise, 0, 255).astype(np.uint8)
    return still
