"""The body model (COCO's 17 key points, the published network's 18 parts and 19 limbs) and the ground truth of an image.

To support another body model, change the tables here: no other module of this room counts or names body parts.
"""

from typing import TypedDict

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
"""COCO's key points, in COCO's order. Left and right are the person's own."""

TOLERANCES: Floats = np.array(
    [.026, .025, .025, .035, .035, .079, .079, .072, .072, .062, .062, .107, .107, .087, .087, .089, .089], np.float32
)  # fmt: skip
"""Standard deviation of annotated positions per key point, in square roots of a person's area; COCO's values."""

PARTS = (*KEYPOINTS, "neck")
"""Parts that the network detects: the key points and the neck, which is the midpoint of the shoulders."""

LIMBS = (
    ("neck", "right_shoulder"), ("neck", "left_shoulder"), ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
    ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"), ("neck", "right_hip"), ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"), ("neck", "left_hip"), ("left_hip", "left_knee"), ("left_knee", "left_ankle"), ("neck", "nose"),
    ("nose", "right_eye"), ("right_eye", "right_ear"), ("nose", "left_eye"), ("left_eye", "left_ear"),
    ("right_shoulder", "right_ear"), ("left_shoulder", "left_ear"),
)  # fmt: skip
"""First and second part of each limb, in the order in which people are assembled (Cao et al. 2017)."""
REDUNDANT = 2
"""Number of limbs at the end of `LIMBS` whose parts other limbs also join; a person never starts with one of them."""

LIMB_ENDS: npt.NDArray[np.int64] = np.array([[PARTS.index(part) for part in limb] for limb in LIMBS])
"""(19, 2), indices into `PARTS`."""

SHOULDERS = [KEYPOINTS.index("left_shoulder"), KEYPOINTS.index("right_shoulder")]
MIRRORED = [
    KEYPOINTS.index(name.replace("left", "*").replace("right", "left").replace("*", "right")) for name in KEYPOINTS
]  # fmt: skip
"""Index of each key point's counterpart in a mirrored image."""


class People(TypedDict):
    """The N people of one image; N may be 0."""

    keypoints: Floats
    """(N, 17, 3): x and y in pixels (pixel i covers i to i + 1), and COCO's flag: 0 not labelled, 1 occluded, 2 visible."""
    boxes: Floats
    """(N, 4), x0 y0 x1 y1 in pixels."""
    areas: Floats
    """(N,), pixels that a person covers; key-point similarity and COCO's size ranges use them."""
    crowd: npt.NDArray[np.bool_]
    """(N,), COCO's flag for a region of many people without labels."""
    unlabelled: npt.NDArray[np.bool_]
    """(H, W): pixels of people without labelled key points, which are masked out of the training loss."""


def labelled(people: People) -> npt.NDArray[np.bool_]:
    """(N,): whether a person has a labelled key point and is not a crowd."""
    return np.asarray((people["keypoints"][..., 2] > 0).any(axis=1) & ~people["crowd"])


def with_neck(keypoints: Floats) -> Floats:
    """Parts (N, 18, 3) from key points (N, 17, 3). A neck exists where both shoulders are labelled."""
    shoulders = keypoints[:, SHOULDERS]
    neck = shoulders.mean(axis=1)
    neck[:, 2] = shoulders[..., 2].min(axis=1)
    return np.concatenate([keypoints, np.where(neck[:, 2:] > 0, neck, 0)[:, None]], axis=1)


def moved(keypoints: Floats, move: npt.NDArray[np.float64], *, mirrored: bool = False) -> Floats:
    """Key points (N, 17, 3) under an affine map (2, 3). With `mirrored`, left and right key points are exchanged."""
    places = keypoints[..., :2].astype(np.float64) @ move[:, :2].T + move[:, 2]
    found = np.concatenate([places, keypoints[..., 2:]], axis=-1).astype(np.float32)
    return found[:, MIRRORED] if mirrored else found


def keypoint_similarity(offsets: npt.NDArray[np.float64], areas: Floats) -> npt.NDArray[np.float64]:
    """Similarity of each key point, (P, N, 17) in 0..1, from offsets (P, N, 17, 2) in pixels and the areas of N people.

    COCO's definition: exp(-d^2 / (2 a k^2)) for distance d, area a, and k twice the key point's tolerance.
    """
    variance = (2 * TOLERANCES.astype(np.float64)) ** 2
    return np.asarray(np.exp(-np.square(offsets).sum(axis=-1) / variance / (areas[:, None] + np.spacing(1.0)) / 2))
