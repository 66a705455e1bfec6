"""SegNet (Badrinarayanan, Kendall and Cipolla 2017), the paper's segmentation network (section III-A), and its training.

Width and convolutions per block are hyper-parameters: the published network has width 1 and (2, 2, 3, 3, 3) convolutions, the
reduced network of the embedded study has width 0.25 and one convolution per block. To add another segmentation network, write an
`nn.Module` that maps (N, 3, H, W) images to (N, K, H, W) logits, and pass it to `SegmentationLearner`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.contracts import Source
from trainables.networks.imagenet import normalised
from trainables.networks.initial import copy_convolutions, published
from trainables.networks.learner import OneNetworkLearner
from trainables.tasks.segmentation.metrics import VOID

BLOCKS = (64, 128, 256, 512, 512)
"""Channels of the encoder's five blocks at width 1, the same as VGG16's."""
VGG16_CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions in each of VGG16's blocks."""

# 2x2 pooling windows do not overlap, so each index occurs once and unpooling is deterministic in any order of writes. torch's
# warning is about the general case.
warnings.filterwarnings("ignore", message="max_unpooling2d_forward_out does not have a deterministic implementation")


class SegNet(nn.Module):
    """An encoder and a decoder that mirrors it.

    The decoder up-samples with the encoder's pooling indices, as published. With `indices=False` it up-samples bilinearly: the same
    network without the part to which the paper attributes its resilience (section IV-A).
    """

    def __init__(self, classes: int, *, width: float, convolutions: Sequence[int], indices: bool = True) -> None:
        super().__init__()
        self.indices = indices
        if len(convolutions) != len(BLOCKS) or min(convolutions) < 1 or width <= 0:
            raise ValueError(
                f"segnet: width {width} and convolutions {convolutions} are not valid; "
                f"give a width above 0 and {len(BLOCKS)} counts of at least 1"
            )
        channels = [3, *(max(1, round(width * full)) for full in BLOCKS)]
        self.encoder = nn.ModuleList(
            nn.Sequential(*(_layer(before if i == 0 else after, after) for i in range(count)))
            for (before, after), count in zip(pairwise(channels), convolutions, strict=True)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(*(_layer(after, after if i < count - 1 else before) for i in range(count)))
            for (before, after), count in reversed(list(zip(pairwise(channels), convolutions, strict=True))[1:])
        )
        # The last block ends in a plain convolution: batch norm and ReLU would make all logits non-negative.
        first = channels[1]
        self.last = nn.Sequential(
            *(_layer(first, first) for _ in range(convolutions[0] - 1)), nn.Conv2d(first, classes, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps normalised images (N, 3, H, W) to logits (N, K, H, W)."""
        pooled = []
        for block in self.encoder:
            images = block(images)
            size = images.shape[-2:]
            images, indices = F.max_pool2d(images, 2, 2, return_indices=True)
            pooled.append((indices, size))
        for block in [*self.decoder, self.last]:
            indices, size = pooled.pop()
            if self.indices:
                images = F.max_unpool2d(images, indices, [2, 2], [2, 2], output_size=list(size))
            else:
                images = F.interpolate(images, size, mode="bilinear", align_corners=False)
            images = block(images)
        return images


def _layer(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class SegmentationLearner(OneNetworkLearner):
    """Trains a segmentation network with cross-entropy; void pixels are ignored.

    Batches hold `image` (N, 3, H, W) uint8 and `mask` (N, H, W) uint8; a prediction is a class map (H, W) uint8 in which 255 is
    void.
    """

    def __init__(
        self,
        network: nn.Module,
        hyper: Any,
        *,
        class_weights: Callable[[], Tensor | None],
        steps: int,
        device: str,
        void_output: int | None = None,
    ) -> None:
        """`void_output` is the index of a network output that stands for void; the other outputs are the classes, in order."""
        super().__init__(network, hyper, steps=steps, device=device)
        self._class_weights = class_weights
        self.void_output = void_output

    @cached_property
    def _weights(self) -> Tensor | None:
        """Computed at the first training step: counting classes reads every training mask, and evaluation does not need it."""
        weights = self._class_weights()
        if weights is not None and self.void_output is not None:
            weights = torch.cat([weights[: self.void_output], torch.zeros(1), weights[self.void_output :]])
        return None if weights is None else weights.to(self.device)

    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        logits: Tensor = self.network(normalised(batch["image"], self.device))
        return logits

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        target = batch["mask"].to(self.device, torch.long)
        if self.void_output is not None:
            target = torch.where((target >= self.void_output) & (target != VOID), target + 1, target)
        return {"loss": F.cross_entropy(self.outputs(batch), target, weight=self._weights, ignore_index=VOID)}

    def decode(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> Sequence[Any]:  # noqa: ARG002
        found = outputs.argmax(dim=1)
        if self.void_output is not None:
            found = torch.where(found == self.void_output, VOID, found - (found > self.void_output).long())
        return list(found.to(torch.uint8).cpu().numpy())


def segnet(hyper: Any, source: Source, steps: int, device: str, *, indices: bool) -> SegmentationLearner:
    """A learner with a freshly initialised SegNet for the classes of a source, and void where the hyper-parameters say so.

    Raises ValueError for a void output that the network does not have.
    """
    classes = len(source.classes)
    if hyper.void_output is not None and not 0 <= hyper.void_output <= classes:
        raise ValueError(
            f"segnet: void_output {hyper.void_output} does not exist in a network for the {classes} classes of {source.name} and "
            f"void; give 0..{classes}"
        )
    outputs = classes + (hyper.void_output is not None)
    network = SegNet(outputs, width=hyper.width, convolutions=hyper.convolutions, indices=indices)

    def class_weights() -> Tensor | None:
        return weights_of_classes(source, hyper.class_weights)

    return SegmentationLearner(
        network, hyper, class_weights=class_weights, steps=steps, device=device, void_output=hyper.void_output
    )


def vgg16(network: SegNet) -> None:
    """Copy VGG16's ImageNet weights into the encoder's 13 convolutions, in order, as published; all other weights stay random.

    Raises ValueError where the weights are not available, or do not fit the network's width or convolutions.
    """
    from torchvision.models import VGG16_Weights

    weights = published(VGG16_Weights.IMAGENET1K_V1)
    convolutions = [module for module in network.encoder.modules() if isinstance(module, nn.Conv2d)]
    if len(convolutions) != sum(VGG16_CONVOLUTIONS) or not copy_convolutions(weights, convolutions):
        raise ValueError(
            f"segnet: VGG16's weights do not fit this network, they fit width 1 and convolutions {VGG16_CONVOLUTIONS} only; "
            "set the budget's `initial` to `none` or to a weights file"
        )


def weights_of_classes(source: Source, rule: str) -> Tensor | None:
    """Loss weight of each class (K,), computed from class frequencies in the training masks; None for the rule `none`.

    `inverse_sqrt`: 1 / sqrt(f), scaled to mean 1, where f is the class's share of all pixels. `median_frequency`: median(f) / f,
    where f is the class's share of the pixels in those images that contain it (Eigen and Fergus 2015; used by SegNet for CamVid).
    A class that never occurs has weight 0.
    """
    if rule == "none":
        return None
    classes = len(source.classes)
    pixels, where_present = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for index in range(len(source.train.names)):
        counts = np.bincount(source.train.target(index).ravel(), minlength=256)[:classes]
        pixels += counts
        where_present += np.where(counts > 0, counts.sum(), 0)
    occurs = pixels > 0
    weights = np.zeros(classes)
    if rule == "median_frequency":
        frequency = pixels[occurs] / where_present[occurs]
        weights[occurs] = np.median(frequency) / frequency
    else:
        inverse = 1 / np.sqrt(pixels[occurs] / pixels.sum())
        weights[occurs] = inverse / inverse.mean()
    return torch.tensor(weights, dtype=torch.float32)
