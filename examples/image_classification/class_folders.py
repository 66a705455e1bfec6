"""Image classification in class folders: a task that the project does not know, with reader, learner and metric in one module.

`study run class_folders:STUDY --data folders=PATH`, from this folder; PATH holds a folder of images for each class.
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
from trainables import Architecture, Dataset, Frames, Source, by_hash, fingerprint, read_rgb


@dataclass(frozen=True)
class Images:
    """Some of the images; the folder is the class."""

    root: Path
    names: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def groups(self) -> Sequence[str]:
        return self.names

    def frames(self, index: int) -> Frames:
        return read_rgb(self.root / self.names[index])

    def target(self, index: int) -> int:
        return self.classes.index(self.names[index].partition("/")[0])

    def files(self, index: int) -> tuple[Path, ...]:
        return (self.root / self.names[index],)


def open_folders(root: Path) -> Source:
    """70 / 10 / 20 % of the images, by the hash of their names."""
    names = sorted(str(path.relative_to(root)) for path in root.glob("*/*.*"))
    classes = tuple(sorted({name.partition("/")[0] for name in names}))
    if len(classes) < 2:
        raise ValueError(f"{root}: holds fewer than two folders of images; --data folders=PATH must hold one for each class")
    parts = by_hash(names)
    train, val, test = (Images(root, part, classes) for part in parts)
    return Source(name="folders", classes=classes, train=train, val=val, test=test, fingerprint=fingerprint(root, names, parts))


@dataclass(frozen=True, kw_only=True)
class Hyper:
    batch_size: int = 16
    lr: float = 3e-3
    size: int = 64
    width: int = 16


def example(frames: Frames, target: int, hyper: Any, rng: np.random.Generator | None) -> Any:
    image = cv2.resize(frames[0], (hyper.size, hyper.size), interpolation=cv2.INTER_AREA)
    if rng is not None and rng.random() < 0.5:
        image = image[:, ::-1]
    return {"image": np.ascontiguousarray(image.transpose(2, 0, 1)), "label": target}


class Classifier:
    """Four convolutions, and what trains them."""

    def __init__(self, hyper: Hyper, classes: int, device: str) -> None:
        widths = [3, *(hyper.width * 2**stage for stage in range(4))]
        blocks = [
            nn.Sequential(nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()) for before, after in pairwise(widths)
        ]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))
        self.network: nn.Module = nn.Sequential(*blocks, *head).to(device)
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=hyper.lr)
        self.device = device

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        loss = nn.functional.cross_entropy(self.logits(batch), batch["label"].to(self.device))
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return {"loss": loss.detach()}

    def predict(self, batch: Mapping[str, Tensor]) -> Sequence[int]:
        return [int(label) for label in self.logits(batch).argmax(dim=1)]

    def logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.network(batch["image"].to(self.device, torch.float32) / 127.5 - 1)
        return logits

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])


def classifier(hyper: Any, source: Source, steps: int, device: str) -> Classifier:
    return Classifier(hyper, len(source.classes), device)


def right(predictions: Sequence[int], batch: Any, source: Source) -> Sequence[bool]:
    return [found == truth for found, truth in zip(predictions, batch["label"].tolist(), strict=True)]


def top1(statistics: Sequence[bool], weights: Any) -> Mapping[str, Any]:
    return {"top1": weights @ np.array(statistics, float) / weights.sum(axis=1)}


def picture(frames: Frames, prediction: int) -> Any:
    return cv2.putText(frames[0].copy(), str(prediction), (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255))


def present(target: int) -> Sequence[int]:
    return [target]


FOLDERS = Dataset(
    name="folders", task="classification", summary="a folder of images for each class", present=present, open=open_folders
)

CLASSIFIER = Architecture(
    name="classifier",
    task="classification",
    metric="top1",
    metrics={"top1": "max"},
    hyper=Hyper,
    example=example,
    learner=classifier,
    statistics=right,
    score=top1,
    picture=picture,
)

STUDY = Space(
    name="class_folders",
    summary="a small classifier on one's own folders",
    data={"classification": "class_folders:FOLDERS"},
    cells=("*/clean/*", "*/jpeg/constant-*", "*/jpeg/uniform"),
    budgets={"class_folders:CLASSIFIER": Budget(initial="none", epochs=5)},
)
