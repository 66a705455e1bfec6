"""Your own task: image classification, with data set, network, metric and search space in one module.

Launch from this folder: `study run class_folders:STUDY --data folders=PATH`
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from search_spaces import Budget, Space
from trainables import Architecture, Dataset, Frames, Inputs, Source, Task, by_hash, fingerprint, read_rgb
from trainables.networks.learner import OneNetworkLearner

# The data set: one directory of images per class.


@dataclass(frozen=True)
class Images:
    """The images of one split."""

    root: Path
    names: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def groups(self) -> Sequence[str]:
        return self.names  # no two images belong together

    def frames(self, index: int) -> Frames:
        return read_rgb(self.root / self.names[index])

    def target(self, index: int) -> int:
        return self.classes.index(Path(self.names[index]).parent.name)

    def files(self, index: int) -> tuple[Path, ...]:
        return (self.root / self.names[index],)


def open_folders(root: Path) -> Source:
    names = sorted(str(path.relative_to(root)) for path in root.glob("*/*.*"))
    classes = tuple(sorted({Path(name).parent.name for name in names}))
    if len(classes) < 2:
        raise ValueError(f"{root}: found {len(classes)} directories of images; --data folders=PATH needs one per class")
    parts = by_hash(names)  # 70 % training, 10 % validation, 20 % test
    train, val, test = (Images(root, part, classes) for part in parts)
    return Source(name="folders", classes=classes, train=train, val=val, test=test, fingerprint=fingerprint(root, names, parts))


def present(target: int) -> Sequence[int]:
    return [target]


FOLDERS = Dataset(
    name="folders", task="classification", summary="one directory of images per class", present=present, open=open_folders
)

# The task: what is scored, and how.


def correct(predictions: Sequence[int], batch: Any, source: Source) -> Sequence[bool]:
    return [prediction == label for prediction, label in zip(predictions, batch["label"].tolist(), strict=True)]


def top1(statistics: Sequence[bool], weights: Any) -> Mapping[str, Any]:
    return {"top1": weights @ np.array(statistics, float) / weights.sum(axis=1)}


def picture(frames: Frames, prediction: int) -> Any:
    return cv2.putText(frames[0].copy(), str(prediction), (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))


CLASSIFICATION = Task(
    name="classification", metric="top1", metrics={"top1": "max"}, statistics=correct, score=top1, picture=picture
)

# The architecture: a network, its inputs and its hyper-parameters.


@dataclass(frozen=True, kw_only=True)
class Hyper:
    batch_size: int = 16
    optimiser: str = "adamw"
    lr: float = 3e-3
    lr_schedule: str = "constant"
    weight_decay: float = 0.01
    size: int = 64
    width: int = 16


def example(frames: Frames, target: int, hyper: Any, rng: np.random.Generator | None) -> Any:
    image = cv2.resize(frames[0], (hyper.size, hyper.size), interpolation=cv2.INTER_AREA)
    if rng is not None and rng.random() < 0.5:  # training: mirror half of the images
        image = image[:, ::-1]
    return {"image": np.ascontiguousarray(image.transpose(2, 0, 1)), "label": target}


class Classifier(OneNetworkLearner):
    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.network(batch["image"].to(self.device, torch.float32) / 127.5 - 1)
        return logits

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"loss": nn.functional.cross_entropy(self.outputs(batch), batch["label"].to(self.device))}

    def decode(self, outputs: Tensor, _batch: Mapping[str, Tensor]) -> Sequence[int]:
        return [int(label) for label in outputs.argmax(dim=1)]


def classifier(hyper: Any, source: Source, steps: int, device: str) -> Classifier:
    widths = [3, *(hyper.width * 2**block for block in range(4))]
    blocks = [
        nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()) for before, after in pairwise(widths)
    ]
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], len(source.classes)))
    return Classifier(nn.Sequential(*blocks, *head), hyper, steps=steps, device=device)


CLASSIFIER = Architecture(name="classifier", task=CLASSIFICATION, inputs=Inputs(example=example), hyper=Hyper(), learner=classifier)

# The study: which networks are trained on which data, under which codecs.

STUDY = Space(
    name="class_folders",
    summary="a small classifier on your own images",
    data={"classification": "class_folders:FOLDERS"},
    codecs=("jpeg",),
    cells=("*/clean/*", "*/jpeg/constant-*", "*/jpeg/uniform"),
    budgets={"class_folders:CLASSIFIER": Budget(initial="none", epochs=5)},
    validation={"jpeg": (15, 5)},
)
