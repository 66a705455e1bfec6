"""OpenPose (Cao, Simon, Wei and Sheikh 2017), the paper's pose network (section III-D), and how it is trained.

Stages, their width and the trunk are hyper-parameters. Another pose network is one more `nn.Module` that maps (N, 3, H, W) to the
(fields, maps) of each of its stages, given to `PoseLearner` with its stride in `STRIDES`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.networks.initial import published
from trainables.networks.optimisation import Optimisation
from trainables.tasks.pose.grouping import Found, people
from trainables.tasks.pose.targets import FIELDS, MAPS

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, of RGB in 0..255, which VGG's weights expect."""
BORROWED = 10
"""Convolutions of VGG19 to conv4_2."""
Stage = tuple[Tensor, Tensor]
"""Fields (N, 38, h, w) and maps (N, 19, h, w)."""


def vgg19() -> nn.Sequential:
    """VGG19 to conv4_2, of stride 8, and the two convolutions that narrow it to 128 channels."""
    stages = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))
    layers: list[nn.Module] = []
    before = 3
    for number, stage in enumerate(stages):
        layers += [nn.MaxPool2d(2, 2)] if number else []
        for after in stage:
            layers += _convolution(before, after, 3)
            before = after
    return nn.Sequential(*layers, *_convolution(512, 256, 3), *_convolution(256, 128, 3))


def small(width: int) -> nn.Sequential:
    """The reduced trunk of the embedded study, of stride 4 and 4 x `width` channels, with batch norm."""
    widths = (3, width, 2 * width, 4 * width, 4 * width, 4 * width)
    return nn.Sequential(
        *(
            nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True))
            for (before, after), stride in zip(pairwise(widths), (2, 1, 2, 1, 1), strict=True)
        )
    )


def _convolution(before: int, after: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, kernel, padding=kernel // 2), nn.ReLU(inplace=True)]


def _branch(before: int, after: int, *, channels: int, hidden: int, kernel: int, depth: int) -> nn.Sequential:
    """`depth` convolutions of so many channels, one of 1x1 to `hidden` ones, and one of 1x1 to the output."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += _convolution(channels if number else before, channels, kernel)
    return nn.Sequential(*layers, *_convolution(channels, hidden, 1), nn.Conv2d(hidden, after, 1))


class OpenPose(nn.Module):
    """A trunk, and stages of two branches each that refine what the stage before put out."""

    def __init__(self, trunk: nn.Module, features: int, *, stages: int, kernel: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.trunk = trunk
        shapes = [(features, {"channels": features, "hidden": hidden, "kernel": 3, "depth": 3})]
        shapes += [(features + FIELDS + MAPS, {"channels": features, "hidden": features, "kernel": kernel, "depth": depth})] * (
            stages - 1
        )
        self.fields = nn.ModuleList(_branch(before, FIELDS, **shape) for before, shape in shapes)
        self.maps = nn.ModuleList(_branch(before, MAPS, **shape) for before, shape in shapes)

    def forward(self, images: Tensor) -> list[Stage]:
        """(N, 3, H, W) normalised images to the fields and maps of every stage, the last is the best."""
        features = seen = self.trunk(images)
        stages: list[Stage] = []
        for fields, maps in zip(self.fields, self.maps, strict=True):
            stages.append((fields(seen), maps(seen)))
            seen = torch.cat([*stages[-1], features], dim=1)
        return stages


class PoseLearner:
    """A pose network with its loss (squared error of fields and maps, of every stage) and optimiser."""

    def __init__(self, network: nn.Module, hyper: Any, *, stride: int, steps: int, device: str) -> None:
        self.network = network.to(device)
        self.device, self.stride = device, stride
        self._mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
        self._deviation = torch.tensor(DEVIATION, device=device).view(3, 1, 1)
        self.optimisation = Optimisation(network.parameters(), hyper, steps=steps, clip=hyper.clip)

    def update(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """One step on images (N, 3, H, W) uint8, fields (N, 38, h, w), maps (N, 19, h, w), and where they are known (N, h, w).

        The loss is the squared error of a cell, summed over channels and stages: means over the cells that are known.
        """
        fields, maps, known = (batch[name].to(self.device) for name in ("fields", "maps", "known"))
        stages = self._stages(batch["image"])
        cells = known.sum().clamp(min=1)
        of_fields, of_maps = (
            sum(((stage[branch] - wanted).square().sum(dim=1) * known).sum() / cells for stage in stages)
            for branch, wanted in enumerate((fields, maps))
        )
        self.optimisation.step(of_fields + of_maps)
        return {"fields": of_fields.detach(), "maps": of_maps.detach()}

    def predict(self, batch: Mapping[str, Any]) -> Sequence[Any]:
        """Of each image (its own part of (N, 3, H, W)) the people found at each threshold, in native pixels."""
        fields, maps = (each.cpu().numpy() for each in self._stages(batch["image"])[-1])
        found = []
        for number, (height, width) in enumerate(batch["sizes"]):
            rows, columns = -(-height // self.stride), -(-width // self.stride)
            each = people(maps[number, :, :rows, :columns], fields[number, :, :rows, :columns])
            scale = np.array([self.stride / batch["scales"][number]] * 2 + [1], np.float32)
            found.append([Found(one.keypoints * scale, one.scores) for one in each])
        return found

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser, learning-rate schedule."""
        return {"network": self.network.state_dict(), **self.optimisation.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimisation.load_state_dict(state)

    def _stages(self, images: Tensor) -> list[Stage]:
        """In float32, whatever the network computes in."""
        normalised = (images.to(self.device, torch.float32) - self._mean) / self._deviation
        return [(fields.float(), maps.float()) for fields, maps in self.network(normalised)]


def openpose(hyper: Any, stride: int, steps: int, device: str) -> PoseLearner:
    """A freshly initialised OpenPose of the trunk that the hyper-parameters name."""
    if hyper.trunk == "vgg19":
        network = OpenPose(vgg19(), 128, stages=hyper.stages, kernel=7, depth=5, hidden=512)
    else:
        features = 4 * hyper.width
        network = OpenPose(small(hyper.width), features, stages=hyper.stages, kernel=3, depth=3, hidden=features)
    return PoseLearner(network, hyper, stride=stride, steps=steps, device=device)


def imagenet(network: OpenPose) -> None:
    """Give the trunk's first ten convolutions the weights of VGG19's, in order, as published; what else there is stays random.

    Raises ValueError where they cannot be had, or where the trunk is not VGG19's.
    """
    from torchvision.models import VGG19_Weights

    ours = [module for module in network.trunk.modules() if isinstance(module, nn.Conv2d)][:BORROWED]
    if len(ours) < BORROWED:
        raise ValueError("openpose: VGG19's weights fit trunk='vgg19' alone; a reduced trunk has `none`")
    trained = published(VGG19_Weights.IMAGENET1K_V1)
    theirs = [name.removesuffix(".weight") for name in trained if name.startswith("features.") and name.endswith(".weight")]
    with torch.no_grad():
        for module, name in zip(ours, theirs, strict=False):
            module.weight.copy_(trained[f"{name}.weight"])
            if module.bias is not None:
                module.bias.copy_(trained[f"{name}.bias"])
