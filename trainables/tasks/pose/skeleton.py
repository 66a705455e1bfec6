"""What a person is made of: COCO's 17 key points, the 18 parts and 19 limbs of the published network, and what a truth holds.

To pose other bodies, change the tables: nothing else in this room counts or names a part.
"""

from typing import TypedDict

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""COCO's, in COCO's order. Left is the person's own."""

TOLERANCES: Floats = np.array(
    [.026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087, .089, .089], np.float32
)  # fmt: skip
"""Standard deviation of what annotators place, in square roots of a person's area: COCO's, from 5,000 doubly annotated images."""

PARTS = (*KEYPOINTS, "neck")
"""What the network finds: the key points, and the neck, which is the middle of the shoulders."""

LIMBS = (
    ("neck", "right_shoulder"), ("neck", "left_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("neck", "right_hip"), ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"), ("neck", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"), ("neck", "nose"),
    ("nose", "right_eye"), ("right_eye", "right_ear"), ("nose", "left_eye"), ("left_eye", "left_ear"),
    ("right_shoulder", "right_ear"), ("left_shoulder", "left_ear"),
)  # fmt: skip
"""From which part to which, in the order in which people are put together (Cao et al. 2017)."""
REDUNDANT = 2
"""So many limbs at the end join what others join too: no person begins with one of them."""

LIMB_ENDS: npt.NDArray[np.int64] = np.array([[PARTS.index(part) for part in limb] for limb in LIMBS])
"""(19, 2), indices into `PARTS`."""

SHOULDERS = [KEYPOINTS.index("left_shoulder"), KEYPOINTS.index("right_shoulder")]
MIRRORED = [
    KEYPOINTS.index(name.replace("left", "*").replace("right", "left").replace("*", "right")) for name in KEYPOINTS
]  # fmt: skip
"""Of each key point the one that it becomes in a mirror."""


class People(TypedDict):
    """The people of one image; N may be 0."""

    keypoints: Floats
    """(N, 17, 3): x and y in pixels (pixel i covers i to i + 1), and COCO's flag: 0 not labelled, 1 hidden, 2 visible."""
    boxes: Floats
    """(N, 4), x0 y0 x1 y1 in pixels."""
    areas: Floats
    """(N,), pixels that a person covers: what likeness and COCO's sizes go by."""
    crowd: npt.NDArray[np.bool_]
    """(N,), COCO's flag of a region of many people, of whom none is labelled."""
    unlabelled: npt.NDArray[np.bool_]
    """(H, W): where there are people whose key points nobody labelled. Nothing is learnt there."""


def asked_for(people: People) -> npt.NDArray[np.bool_]:
    """(N,): who has a labelled key point, and is no crowd."""
    return np.asarray((people["keypoints"][..., 2] > 0).any(axis=1) & ~people["crowd"])


def with_neck(keypoints: Floats) -> Floats:
    """(N, 17, 3) key points to the (N, 18, 3) `PARTS`; a neck is known where both shoulders are."""
    shoulders = keypoints[:, SHOULDERS]
    neck = shoulders.mean(axis=1)
    neck[:, 2] = shoulders[..., 2].min(axis=1)
    return np.concatenate([keypoints, np.where(neck[:, 2:] > 0, neck, 0)[:, None]], axis=1)


def moved(keypoints: Floats, move: npt.NDArray[np.float64], *, mirrored: bool = False) -> Floats:
    """(N, 17, 3) key points after an affine (2, 3) map; where that mirrors, left and right change names."""
    places = keypoints[..., :2].astype(np.float64) @ move[:, :2].T + move[:, 2]
    found = np.concatenate([places, keypoints[..., 2:]], axis=-1).astype(np.float32)
    return found[:, MIRRORED] if mirrored else found


def likeness(apart: npt.NDArray[np.float64], areas: Floats) -> npt.NDArray[np.float64]:
    """How near points are that lie `apart` (P, N, 17, 2) pixels from those of N people, (P, N, 17) in 0..1: COCO's terms.

    exp(-d^2 / (2 a k^2)) at a distance d, for a person of area a and twice a point's tolerance, k.
    """
    variance = (2 * TOLERANCES.astype(np.float64)) ** 2
    return np.asarray(np.exp(-np.square(apart).sum(axis=-1) / variance / (areas[:, None] + np.spacing(1.0)) / 2))
