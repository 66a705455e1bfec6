"""Optical flow: how each pixel of a frame moves to the next.

The motion stream sees the flow of what the codec left, by the same extractor at every level, the source included: two extractors
would tell clean from compressed by themselves. A flow is (H, W, 2) float32: pixels to the right, pixels down. A fast extractor
computes it for just the frames of a sample. TV-L1, by which the published network was trained, takes a second a pair: its flow is
computed once for every clip and level and stored, see stored.py.

To add an extractor, write a frozen dataclass with a `name`, `stored` and `flow`, and append it to `EXTRACTORS`.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames

Flow = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]

BOUND = 20.0
"""Pixels a frame beyond which motion is cut off, at native resolution: the published network's."""
STEPS = 127
"""The whole number by which stored flow says `BOUND`; 0 is still."""


class Extractor(Protocol):
    """A way to compute optical flow. A frozen value."""

    @property
    def name(self) -> str:
        """The name in hyper-parameters: `dis_fast`."""

    @property
    def stored(self) -> bool:
        """Whether its flow is stored; otherwise it is computed for each sample."""

    def flow(self, previous: Grey, following: Grey) -> Flow:
        """(H, W, 2) from one (H, W) uint8 frame to the next."""

    def __hash__(self) -> int:
        """An extractor is a value."""


@dataclass(frozen=True, kw_only=True)
class Dis:
    """Dense inverse search (Kroeger et al. 2016), OpenCV's: some 800 (fast) or 160 (medium) pairs of 320x240 a second on a core."""

    name: str
    preset: Literal["fast", "medium"]
    stored: bool = False

    def flow(self, previous: Grey, following: Grey) -> Flow:
        """(H, W, 2) from one (H, W) uint8 frame to the next."""
        presets = {"fast": cv2.DISOPTICAL_FLOW_PRESET_FAST, "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
        empty = np.zeros((*previous.shape, 2), np.float32)
        return np.asarray(cv2.DISOpticalFlow.create(presets[self.preset]).calc(previous, following, empty), np.float32)


@dataclass(frozen=True, kw_only=True)
class TvL1:
    """Duality-based TV-L1 (Zach, Pock and Bischof 2007), with the parameters of Sanchez, Meinhardt-Llopis and Facciolo (2013).

    Some 1.2 seconds for a pair of 320x240 on a core.
    """

    name: str = "tvl1"
    stored: bool = True
    step: float = 0.25
    """Of the dual variables."""
    attachment: float = 0.15
    """Weight of the data term, for grey levels of 0..255."""
    tightness: float = 0.3
    scales: int = 5
    """Levels of the pyramid, each of half the size; fewer where the coarsest would be under 16 pixels."""
    warps: int = 5
    """Linearisations at each scale."""
    accuracy: float = 0.01
    """Iterations at a warp end when the flow changes by less, in pixels (root mean square)."""
    most: int = 100
    """Iterations at a warp."""

    def flow(self, previous: Grey, following: Grey) -> Flow:
        """(H, W, 2) from one (H, W) uint8 frame to the next."""
        frames = np.stack([previous, following], axis=-1).astype(np.float32)
        pyramid = [np.asarray(cv2.GaussianBlur(frames, (0, 0), 0.8), np.float32)]
        while len(pyramid) < self.scales and min(pyramid[-1].shape[:2]) >= 32:
            pyramid.append(np.asarray(cv2.pyrDown(pyramid[-1]), np.float32))
        found: Flow = np.zeros((*pyramid[-1].shape[:2], 2), np.float32)
        for scale in reversed(pyramid):
            height, width, _ = scale.shape
            growth = np.array([width / found.shape[1], height / found.shape[0]], np.float32)
            found = np.asarray(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) * growth, np.float32)
            found = self._refined(scale[..., 0], scale[..., 1], found)
        return found

    def _refined(self, previous: Flow, following: Flow, found: Flow) -> Flow:
        """The flow of one scale, from a first guess."""
        height, width = previous.shape
        across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        slopes = np.stack([np.gradient(following, axis=axis) for axis in (1, 0)], axis=-1)
        dual = np.zeros((height, width, 2, 2), np.float32)
        reach = self.attachment * self.tightness
        for _ in range(self.warps):
            places = across + found[..., 0], down + found[..., 1]
            warped, slope = (_warped(each, *places) for each in (following, slopes))
            steepness = (slope**2).sum(axis=-1)
            constant = warped - previous - (slope * found).sum(axis=-1)
            for _ in range(self.most):
                residual = constant + (slope * found).sum(axis=-1)
                # Thresholding: the minimum of |residual| plus the distance to the flow, in closed form for each pixel.
                share = np.divide(-residual, steepness, out=np.zeros_like(residual), where=steepness > 1e-9)
                auxiliary = found + np.clip(share, -reach, reach)[..., None] * slope
                before, found = found, auxiliary + self.tightness * _divergence(dual)
                climb = _gradient(found)
                ratio = self.step / self.tightness
                dual = (dual + ratio * climb) / (1 + ratio * np.sqrt((climb**2).sum(axis=-1, keepdims=True)))
                if np.square(found - before).sum(axis=-1).mean() < self.accuracy**2:
                    break
        return found


def _warped(surface: Flow, across: Flow, down: Flow) -> Flow:
    """(H, W) or (H, W, C) as it is found at other places, which outside are those of the nearest edge."""
    return np.asarray(cv2.remap(surface, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _gradient(field: Flow) -> Flow:
    """Forward differences of (H, W, 2): (H, W, 2, 2), the last axis right and down."""
    climb = np.zeros((*field.shape, 2), np.float32)
    climb[:, :-1, :, 0] = field[:, 1:] - field[:, :-1]
    climb[:-1, :, :, 1] = field[1:] - field[:-1]
    return climb


def _divergence(dual: Flow) -> Flow:
    """The negative adjoint of `_gradient`: (H, W, 2, 2) to (H, W, 2)."""
    found = np.zeros(dual.shape[:3], np.float32)
    found[:, :-1] += dual[:, :-1, :, 0]
    found[:, 1:] -= dual[:, :-1, :, 0]
    found[:-1] += dual[:-1, :, :, 1]
    found[1:] -= dual[:-1, :, :, 1]
    return found


DIS_FAST, DIS_MEDIUM = Dis(name="dis_fast", preset="fast"), Dis(name="dis_medium", preset="medium")

EXTRACTORS: dict[str, Extractor] = {extractor.name: extractor for extractor in (DIS_FAST, DIS_MEDIUM, TvL1())}


def extractor_of(hyper: Any) -> Extractor:
    """The extractor that hyper-parameters name. Raises ValueError for one that is not in `EXTRACTORS`."""
    if hyper.flow not in EXTRACTORS:
        raise ValueError(f"unknown flow {hyper.flow!r}: known are {', '.join(EXTRACTORS)}")
    return EXTRACTORS[hyper.flow]


def flows(frames: Frames, extractor: Extractor) -> Flow:
    """(T - 1, H, W, 2): the flow between each two frames in a row of (T, H, W, 3), in pixels of these frames."""
    grey = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]
    return np.stack([extractor.flow(one, other) for one, other in pairwise(grey)])


def colours(flow: Flow) -> npt.NDArray[np.uint8]:
    """A flow (H, W, 2) as a picture: hue is the direction, saturation the speed, up to a 32nd of the width; white is still."""
    right, down = flow[..., 0], flow[..., 1]
    speed = np.hypot(right, down) * 32 / flow.shape[1]
    hue = np.arctan2(-down, right) % (2 * np.pi) * 90 / np.pi
    wheel = np.stack([hue % 180, 255 * np.clip(speed, 0, 1), np.full_like(hue, 255)], axis=-1).astype(np.uint8)
    return np.asarray(cv2.cvtColor(wheel, cv2.COLOR_HSV2RGB), np.uint8)
