"""The frames of a clip that a network sees, and their form: the published protocol of the two streams.

Training samples at random; evaluation (`rng` None) samples whole frames at `positions` evenly spaced places. To sample differently,
write another window and another example and pass them to an `Inputs`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from trainables.contracts import Frames
from trainables.tasks.action.flow import BOUND, STEPS, extractor_of, flows


def stills(frames: int, hyper: Any, rng: np.random.Generator | None) -> Sequence[int]:
    """Frame numbers for the spatial stream: a random one per `segments` equal parts, or `positions` over the whole clip."""
    if rng is None:
        return _spread(frames - 1, hyper.positions)
    ends = [frames * part // hyper.segments for part in range(hyper.segments + 1)]
    return [int(rng.integers(start, max(start + 1, end))) for start, end in pairwise(ends)]


def runs(frames: int, hyper: Any, rng: np.random.Generator | None) -> Sequence[int]:
    """Frame numbers for the motion stream: `pairs` + 1 consecutive ones, from one random start or from each of `positions` starts.

    For stored flow, a run has `pairs` numbers, one for the first frame of each pair. A clip shorter than a run is extended by its
    last frame, so that motion stops there.
    """
    length = hyper.pairs + (not extractor_of(hyper).stored)
    latest = max(0, frames - 1 - hyper.pairs)
    starts = _spread(latest, hyper.positions) if rng is None else [int(rng.integers(latest + 1))]
    return [min(start + step, frames - 1) for start in starts for step in range(length)]


def _spread(last: int, count: int) -> list[int]:
    """`count` evenly spaced numbers from 0 to `last`; the middle one if `count` is 1."""
    return [round(last * (place + 0.5) / count) if count == 1 else round(last * place / (count - 1)) for place in range(count)]


def pictures(frames: Frames, hyper: Any, rng: np.random.Generator | None) -> npt.NDArray[np.uint8]:
    """Bring frames (S, H, W, 3) to the network's input, (S, 3, H, W).

    Training cuts a random window out of each frame (`crop`) and mirrors half of them (`flip`), each frame on its own, as published.
    A frame smaller than the window is enlarged. Evaluation resizes whole frames.
    """
    seen = list(frames) if rng is None else [_augmented(frame, hyper, rng) for frame in frames]
    return np.ascontiguousarray(np.stack([resized(each, hyper.size) for each in seen]).transpose(0, 3, 1, 2))


def _augmented(frame: npt.NDArray[np.uint8], hyper: Any, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A random window of a frame (H, W, 3) at native resolution, mirrored at random."""
    if hyper.crop == "window":
        tall, wide = (min(side, most) for side, most in zip(frame.shape, hyper.size, strict=False))
        top, left = int(rng.integers(frame.shape[0] - tall + 1)), int(rng.integers(frame.shape[1] - wide + 1))
        frame = frame[top : top + tall, left : left + wide]
    return frame[:, ::-1] if hyper.flip and rng.random() < 0.5 else frame


def flow_stacks(frames: npt.NDArray[Any], hyper: Any) -> npt.NDArray[np.float16]:
    """Turn runs of frames (S x (pairs + 1), H, W, 3) into stacks of flow (S, 2 x pairs, H, W) of the network's input size.

    Channels alternate between motion to the right and motion down. Values are pixels per frame at native resolution, clipped to
    +-`BOUND` and divided by it: 0 is no motion, 1 is `BOUND` pixels to the right or down. Flow is computed on whole frames at
    native resolution, then resized. Stored flow (S x pairs, h, w, 2) may be given in place of frames; it already has the network's
    input size. Half precision (error up to 0.01 pixels) halves the memory of an evaluation batch.
    """
    extractor = extractor_of(hyper)
    if extractor.stored:
        motion = frames.reshape(-1, hyper.pairs, *frames.shape[1:])
    else:
        length = hyper.pairs + 1
        found = np.stack([flows(frames[start : start + length], extractor) for start in range(0, len(frames), length)])
        motion = np.clip(found, -BOUND, BOUND)
    scaled = motion / np.float32(STEPS if extractor.stored else BOUND)
    sized = np.stack([[resized(each, hyper.size) for each in run] for run in scaled])
    runs, pairs, height, width, _ = sized.shape
    return sized.transpose(0, 1, 4, 2, 3).reshape(runs, 2 * pairs, height, width).astype(np.float16)


def resized(picture: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """Resize (H, W, C) to a size (H, W): by area averaging where the area shrinks, else bilinearly."""
    height, width = size
    if picture.shape[:2] == size:
        return picture
    shrinks = height * width < picture.shape[0] * picture.shape[1]
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR))
