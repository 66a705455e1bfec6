"""Which frames of a clip a network sees, and as what: the published protocol of the two streams.

Training looks at random places, evaluation (`rng` None) at `positions` evenly spaced ones of the whole frames. To sample otherwise,
write another window and example and give them to an `Architecture`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trainables.tasks.action.flow import BOUND, STEPS, extractor_of, flows
from trainables.contracts import Frames

ASPECT = 4 / 3
"""How much wider or narrower than the frame a random crop may be."""


def stills(frames: int, hyper: Any, rng: np.random.Generator | None) -> Sequence[int]:
    """The spatial stream's frames: one random one of each of the equal `segments`, or `positions` from the first to the last."""
    if rng is None:
        return _spread(frames - 1, hyper.positions)
    ends = [frames * part // hyper.segments for part in range(hyper.segments + 1)]
    return [int(rng.integers(start, max(start + 1, end))) for start, end in pairwise(ends)]


def runs(frames: int, hyper: Any, rng: np.random.Generator | None) -> Sequence[int]:
    """The motion stream's frames: `pairs` + 1 in a row from one random start, or from `positions` starts, one run after the other.

    Of stored flow it is `pairs`, the flow from each of these frames. Of a clip that is shorter than a run, the last frame is
    repeated: it then stands still.
    """
    length = hyper.pairs + (not extractor_of(hyper).stored)
    latest = max(0, frames - 1 - hyper.pairs)
    starts = _spread(latest, hyper.positions) if rng is None else [int(rng.integers(latest + 1))]
    return [min(start + step, frames - 1) for start in starts for step in range(length)]


def _spread(last: int, count: int) -> list[int]:
    """So many places from 0 to the last, evenly; the middle for one."""
    return [round(last * (place + 0.5) / count) if count == 1 else round(last * place / (count - 1)) for place in range(count)]


def pictures(frames: Frames, hyper: Any, rng: np.random.Generator | None) -> npt.NDArray[np.uint8]:
    """(S, H, W, 3) frames to (S, 3, H, W) of the network's size: one crop and one mirroring for all."""
    cropped, mirrored = _cropped(frames, hyper, rng)
    sized = np.stack([resized(each, hyper.size) for each in cropped])
    return np.ascontiguousarray((sized[:, :, ::-1] if mirrored else sized).transpose(0, 3, 1, 2))


def flow_stacks(frames: npt.NDArray[Any], hyper: Any, rng: np.random.Generator | None) -> npt.NDArray[np.float16]:
    """Runs of frames (S x (pairs + 1), H, W, 3) to stacks of flow (S, 2 x pairs, H, W) of the network's size: right, down, right.

    Flow is computed on whole frames at native resolution, then cropped and resized. Stored flow, (S x pairs, h, w, 2) in place of
    frames, was brought to the network's size when it was computed: crops of it are enlarged. Values stay pixels of native frames a
    frame, cut off at +-`BOUND` and divided by it: 0 is still, 1 is `BOUND` right or down. Mirroring turns right into left. Half
    precision (0.01 pixels at worst) halves what an evaluation batch takes.
    """
    extractor = extractor_of(hyper)
    if extractor.stored:
        motion = frames.reshape(-1, hyper.pairs, *frames.shape[1:])
    else:
        length = hyper.pairs + 1
        found = np.stack([flows(frames[start : start + length], extractor) for start in range(0, len(frames), length)])
        motion = np.clip(found, -BOUND, BOUND)
    cropped, mirrored = _cropped(motion, hyper, rng)
    scaled = cropped / np.float32(STEPS if extractor.stored else BOUND)
    sized = np.stack([[resized(each, hyper.size) for each in run] for run in scaled])
    if mirrored:
        sized = sized[..., ::-1, :] * np.array([-1, 1], np.float32)
    runs, pairs, height, width, _ = sized.shape
    return sized.transpose(0, 1, 4, 2, 3).reshape(runs, 2 * pairs, height, width).astype(np.float16)


def _cropped(clip: npt.NDArray[Any], hyper: Any, rng: np.random.Generator | None) -> tuple[npt.NDArray[Any], bool]:
    """A random part of (..., H, W, C), or all of it in evaluation; and whether it is to be mirrored."""
    if rng is None:
        return clip, False
    height, width = clip.shape[-3:-1]
    rows, columns = slice(None), slice(None)
    if hyper.crop < 1:
        share, stretch = rng.uniform(hyper.crop, 1), ASPECT ** rng.uniform(-1, 1)
        tall = min(height, max(1, round(height * (share / stretch) ** 0.5)))
        wide = min(width, max(1, round(width * (share * stretch) ** 0.5)))
        top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
        rows, columns = slice(top, top + tall), slice(left, left + wide)
    return clip[..., rows, columns, :], hyper.flip and bool(rng.random() < 0.5)


def resized(picture: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """(H, W, C) at a size (H, W): by the means over areas where it shrinks."""
    height, width = size
    if picture.shape[:2] == size:
        return picture
    shrinks = height * width < picture.shape[0] * picture.shape[1]
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))
