"""OpenPose (Cao, Simon, Wei and Sheikh 2017), the paper's pose network (section III-D), and its training.

The backbone, its width and the length of the cascade are hyper-parameters. Another pose network is an `nn.Module` that maps images
(N, 3, H, W) to the list of its `Estimate`s; pass it to `PoseLearner` with its stride.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainables.networks.imagenet import normalised
from trainables.networks.initial import copy_convolutions, published
from trainables.networks.learner import OneNetworkLearner
from trainables.tasks.pose.grouping import Found, people
from trainables.tasks.pose.targets import FIELDS, MAPS

BORROWED = 10
"""Number of VGG19's convolutions in the backbone, up to conv4_2."""
DEVIATION = 0.01
"""Standard deviation of the published random weights."""
Estimate = tuple[Tensor, Tensor]
"""Fields (N, 38, h, w) and maps (N, 19, h, w)."""


def vgg19() -> nn.Sequential:
    """VGG19 up to conv4_2, with stride 8, and two convolutions that reduce it to 128 channels."""
    blocks = ((64, 64), (128, 128), (256, 256, 256, 256), (512, 512))
    layers: list[nn.Module] = []
    before = 3
    for number, block in enumerate(blocks):
        layers += [nn.MaxPool2d(2, 2)] if number else []
        for after in block:
            layers += _convolution(before, after, 3)
            before = after
    return nn.Sequential(*layers, *_convolution(512, 256, 3), *_convolution(256, 128, 3))


def small(width: int) -> nn.Sequential:
    """The reduced backbone of the embedded study, with stride 4, 4 x `width` output channels and batch norm."""
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
    """`depth` convolutions with `channels` channels, then 1x1 convolutions to `hidden` channels and to the output."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += _convolution(channels if number else before, channels, kernel)
    return nn.Sequential(*layers, *_convolution(channels, hidden, 1), nn.Conv2d(hidden, after, 1))


class OpenPose(nn.Module):
    """A backbone and a cascade of branch pairs, for fields and maps; each pair refines the estimate of the previous one."""

    def __init__(self, backbone: nn.Module, features: int, *, cascade: int, kernel: int, depth: int, hidden: int) -> None:
        super().__init__()
        self.trunk = backbone  # the attribute's name is part of the state_dict keys of existing weights
        shapes = [(features, {"channels": features, "hidden": hidden, "kernel": 3, "depth": 3})]
        shapes += [(features + FIELDS + MAPS, {"channels": features, "hidden": features, "kernel": kernel, "depth": depth})] * (
            cascade - 1
        )
        self.fields = nn.ModuleList(_branch(before, FIELDS, **shape) for before, shape in shapes)
        self.maps = nn.ModuleList(_branch(before, MAPS, **shape) for before, shape in shapes)

    def forward(self, images: Tensor) -> list[Estimate]:
        """Map normalised images (N, 3, H, W) to the estimates of the whole cascade, the best last."""
        features = seen = self.trunk(images)
        estimates: list[Estimate] = []
        for fields, maps in zip(self.fields, self.maps, strict=True):
            estimates.append((fields(seen), maps(seen)))
            seen = torch.cat([*estimates[-1], features], dim=1)
        return estimates


class PoseLearner(OneNetworkLearner):
    """A pose network with its optimiser; the loss is the squared error of fields and maps over the whole cascade."""

    def __init__(
        self,
        network: nn.Module,
        hyper: Any,
        *,
        stride: int,
        steps: int,
        device: str,
        frozen: Sequence[nn.Module] = (),
    ) -> None:
        """`frozen` are the modules whose weights do not change in the first `hyper.frozen_steps` steps."""
        super().__init__(network, hyper, steps=steps, device=device, clip=hyper.clip)
        self.stride = stride
        self.frozen, self.frozen_steps = frozen, hyper.frozen_steps

    def update(self, batch: Mapping[str, Any]) -> Mapping[str, Tensor]:
        """Take one optimisation step on a batch; returns the losses, detached."""
        for module in self.frozen:
            module.requires_grad_(self.optimisation.taken >= self.frozen_steps)
        return super().update(batch)

    def outputs(self, batch: Mapping[str, Any]) -> list[Estimate]:
        """Estimates for images (N, 3, H, W) uint8, in float32 even under mixed precision."""
        return [(fields.float(), maps.float()) for fields, maps in self.network(normalised(batch["image"], self.device))]

    def losses(self, batch: Mapping[str, Any]) -> Mapping[str, Tensor]:
        """Losses from fields (N, 38, h, w), maps (N, 19, h, w) and the mask of labelled cells, `known` (N, h, w).

        The squared error is summed over channels and over the cascade, and averaged over the known cells.
        """
        fields, maps, known = (batch[name].to(self.device) for name in ("fields", "maps", "known"))
        estimates = self.outputs(batch)
        cells = known.sum().clamp(min=1)
        of_fields, of_maps = (
            sum(((estimate[branch] - target).square().sum(dim=1) * known).sum() / cells for estimate in estimates)
            for branch, target in enumerate((fields, maps))
        )
        return {"fields": of_fields, "maps": of_maps}

    def decode(self, outputs: list[Estimate], batch: Mapping[str, Any]) -> Sequence[list[Found]]:
        """People found at each threshold, per image, in pixels of the original image."""
        fields, maps = (each.cpu().numpy() for each in outputs[-1])
        found = []
        for number, (height, width) in enumerate(batch["sizes"]):
            rows, columns = -(-height // self.stride), -(-width // self.stride)
            each = people(maps[number, :, :rows, :columns], fields[number, :, :rows, :columns])
            scale = np.array([self.stride / batch["scales"][number]] * 2 + [1], np.float32)
            found.append([Found(one.keypoints * scale, one.scores) for one in each])
        return found


def openpose(hyper: Any, stride: int, steps: int, device: str) -> PoseLearner:
    """A freshly initialised OpenPose with the backbone that the hyper-parameters name.

    Raises ValueError for `frozen_steps` with another backbone than VGG19.
    """
    if hyper.frozen_steps and hyper.backbone != "vgg19":
        raise ValueError(
            f"openpose: frozen_steps={hyper.frozen_steps} needs backbone='vgg19', got {hyper.backbone!r}; set frozen_steps to 0"
        )
    if hyper.backbone == "vgg19":
        network = OpenPose(vgg19(), 128, cascade=hyper.cascade, kernel=7, depth=5, hidden=512)
    else:
        features = 4 * hyper.width
        network = OpenPose(small(hyper.width), features, cascade=hyper.cascade, kernel=3, depth=3, hidden=features)
    if hyper.initialisation == "published":
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=DEVIATION)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    frozen = borrowed(network) if hyper.frozen_steps else []
    return PoseLearner(network, hyper, stride=stride, steps=steps, device=device, frozen=frozen)


def borrowed(network: OpenPose) -> list[nn.Conv2d]:
    """VGG19's own convolutions in the backbone, up to conv4_2; all of a smaller backbone's."""
    return [module for module in network.trunk.modules() if isinstance(module, nn.Conv2d)][:BORROWED]


def imagenet(network: OpenPose) -> None:
    """Copy VGG19's ImageNet weights into the backbone's first ten convolutions, as published; all other layers stay random.

    Raises ValueError where the weights are not available or the backbone is not VGG19.
    """
    from torchvision.models import VGG19_Weights

    ours = borrowed(network)
    if len(ours) < BORROWED or not copy_convolutions(published(VGG19_Weights.IMAGENET1K_V1), ours):
        raise ValueError("openpose: initial weights 'imagenet' fit only backbone='vgg19'; set the budget's `initial` to `none`")
