"""A U-Net (Ronneberger et al. 2015) on MobileNetV2 (Sandler et al. 2018): a small network with published initial weights."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.contracts import Source
from trainables.networks.trunks import MOBILENET_V2_CHANNELS, MOBILENET_V2_ENDS, mobilenet_v2, take_mobilenet_v2
from trainables.tasks.segmentation.segnet import SegmentationLearner, weights_of_classes


class UNetMobileNetV2(nn.Module):
    """MobileNetV2 as encoder; the decoder climbs from stride 32 to stride 2 and joins the encoder's features at each stride.

    `decoder` are the decoder's channels at strides 16, 8, 4 and 2. Logits at stride 2 are enlarged bilinearly to the input's size.
    """

    def __init__(self, classes: int, *, decoder: Sequence[int]) -> None:
        super().__init__()
        skips = MOBILENET_V2_CHANNELS[-2::-1]
        if len(decoder) != len(skips) or min(decoder) < 1:
            raise ValueError(f"unet_mobilenet_v2: decoder {decoder} is not valid; give {len(skips)} channel counts of at least 1")
        self.encoder = mobilenet_v2()
        deep = (MOBILENET_V2_CHANNELS[-1], *decoder)
        self.decoder = nn.ModuleList(
            _join(before + skip, after) for (before, after), skip in zip(pairwise(deep), skips, strict=True)
        )
        self.last = nn.Conv2d(decoder[-1], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Maps normalised images (N, 3, H, W) to logits (N, K, H, W)."""
        features, skips = images, []
        for index, block in enumerate(self.encoder):
            features = block(features)
            if index in MOBILENET_V2_ENDS[:-1]:
                skips.append(features)
        for join in self.decoder:
            skip = skips.pop()
            features = join(torch.cat([_resized(features, skip.shape[-2:]), skip], dim=1))
        return _resized(self.last(features), images.shape[-2:])


def _join(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def _resized(features: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(features, list(size), mode="bilinear", align_corners=False)


def unet_mobilenet_v2(hyper: Any, source: Source, steps: int, device: str) -> SegmentationLearner:
    """A learner with a freshly initialised network for the classes of a source."""
    network = UNetMobileNetV2(len(source.classes), decoder=hyper.decoder)

    def class_weights() -> Tensor | None:
        return weights_of_classes(source, hyper.class_weights)

    return SegmentationLearner(network, hyper, class_weights=class_weights, steps=steps, device=device)


def imagenet(network: UNetMobileNetV2) -> None:
    """Load torchvision's ImageNet weights into the encoder; the decoder stays random. Raises ValueError where not available."""
    take_mobilenet_v2(network.encoder)
