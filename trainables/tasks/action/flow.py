"""Optical flow: the motion of each pixel from one frame to the next, (H, W, 2) float32, in pixels to the right and pixels down.

Flow is computed on frames after the codec, by the same extractor at every compression level and on clean clips: with two
extractors, the network could tell clean from compressed clips by the extractor. A fast extractor runs on the frames of each sample.
TV-L1, on which the published network was trained, takes a second per pair of frames, so its flow is computed once per clip and
condition and stored (stored.py).

To add an extractor, write a frozen dataclass with `name`, `stored` and `flow`, and append a value to `EXTRACTORS`.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames
from trainables.lookup import find_in

Flow = npt.NDArray[np.float32]
Grey = npt.NDArray[np.uint8]

BOUND = 20.0
"""Motion is clipped to +-`BOUND` pixels per frame at native resolution, as for the published network."""
STEPS = 127
"""The integer that stands for `BOUND` in stored flow; 0 is no motion."""


class Extractor(Protocol):
    """A way to compute optical flow. A frozen value."""

    @property
    def name(self) -> str:
        """Name in hyper-parameters, e.g. `dis_fast`."""

    @property
    def stored(self) -> bool:
        """True: flow is computed once per clip and stored; False: it is computed for each sample."""

    def flow(self, previous: Grey, following: Grey) -> Flow:
        """Flow (H, W, 2) from one greyscale frame (H, W) to the next."""

    def __hash__(self) -> int: ...


@dataclass(frozen=True, kw_only=True)
class Dis:
    """Dense inverse search (Kroeger et al. 2016) by OpenCV: about 800 (fast) or 160 (medium) pairs of 320x240 per core-second."""

    name: str
    preset: Literal["fast", "medium"]
    stored: bool = False

    def flow(self, previous: Grey, following: Grey) -> Flow:
        presets = {"fast": cv2.DISOPTICAL_FLOW_PRESET_FAST, "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM}
        empty = np.zeros((*previous.shape, 2), np.float32)
        return np.asarray(cv2.DISOpticalFlow.create(presets[self.preset]).calc(previous, following, empty), np.float32)


@dataclass(frozen=True, kw_only=True)
class TvL1:
    """Duality-based TV-L1 (Zach, Pock and Bischof 2007), with the parameters of Sanchez, Meinhardt-Llopis and Facciolo (2013).

    It takes about 1.2 seconds per pair of 320x240 on one core.
    """

    name: str = "tvl1"
    stored: bool = True
    step: float = 0.25
    """Time step of the dual variables."""
    attachment: float = 0.15
    """Weight of the data term (lambda in the papers), for grey values in 0..255."""
    tightness: float = 0.3
    """Coupling of the flow to its auxiliary variable (theta in the papers)."""
    scales: int = 5
    """Images in the pyramid, each half the size of the one before; fewer where the coarsest would be smaller than 16 pixels."""
    warps: int = 5
    """Linearisations per scale."""
    accuracy: float = 0.01
    """Stop iterating when the flow changes by less than this, in pixels (root mean square)."""
    most: int = 100
    """Largest number of iterations per warp."""

    def flow(self, previous: Grey, following: Grey) -> Flow:
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
        """Flow at one scale, starting from `found`."""
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
                # Thresholding step: minimises |residual| plus the squared distance to the flow, in closed form per pixel.
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
    """Sample (H, W) or (H, W, C) at other coordinates; outside, at the nearest edge."""
    return np.asarray(cv2.remap(surface, across, down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _gradient(field: Flow) -> Flow:
    """Forward differences of (H, W, 2), as (H, W, 2, 2); the last axis is (right, down)."""
    climb = np.zeros((*field.shape, 2), np.float32)
    climb[:, :-1, :, 0] = field[:, 1:] - field[:, :-1]
    climb[:-1, :, :, 1] = field[1:] - field[:-1]
    return climb


def _divergence(dual: Flow) -> Flow:
    """Divergence (H, W, 2) of (H, W, 2, 2): the negative adjoint of `_gradient`."""
    found = np.zeros(dual.shape[:3], np.float32)
    found[:, :-1] += dual[:, :-1, :, 0]
    found[:, 1:] -= dual[:, :-1, :, 0]
    found[:-1] += dual[:-1, :, :, 1]
    found[1:] -= dual[:-1, :, :, 1]
    return found


DIS_FAST, DIS_MEDIUM = Dis(name="dis_fast", preset="fast"), Dis(name="dis_medium", preset="medium")

EXTRACTORS: dict[str, Extractor] = {extractor.name: extractor for extractor in (DIS_FAST, DIS_MEDIUM, TvL1())}


def extractor_of(hyper: Any) -> Extractor:
    """The extractor named in the hyper-parameters. Raises ValueError for a name that is not in `EXTRACTORS`."""
    return find_in(EXTRACTORS, hyper.flow, "optical flow")


def flows(frames: Frames, extractor: Extractor) -> Flow:
    """Flow (T - 1, H, W, 2) between consecutive frames of (T, H, W, 3), in pixels of these frames."""
    grey = [np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8) for frame in frames]
    return np.stack([extractor.flow(one, other) for one, other in pairwise(grey)])


def colours(flow: Flow) -> npt.NDArray[np.uint8]:
    """Flow (H, W, 2) as an RGB image: hue is direction, saturation is speed (full at 1/32 of the width), white is no motion."""
    right, down = flow[..., 0], flow[..., 1]
    speed = np.hypot(right, down) * 32 / flow.shape[1]
    hue = np.arctan2(-down, right) % (2 * np.pi) * 90 / np.pi
    wheel = np.stack([hue % 180, 255 * np.clip(speed, 0, 1), np.full_like(hue, 255)], axis=-1).astype(np.uint8)
    return np.asarray(cv2.cvtColor(wheel, cv2.COLOR_HSV2RGB), np.uint8)
