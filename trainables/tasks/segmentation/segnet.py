"""SegNet (Badrinarayanan, Kendall and Cipolla 2017), the paper's segmentation network (section III-A), and how it is trained.

Width and convolutions per stage are hyper-parameters: the published network is width 1 and (2, 2, 3, 3, 3), the reduced one of
the embedded study width 0.25 and one convolution a stage. Another segmentation network is one more `nn.Module` that maps
(N, 3, H, W) to (N, K, H, W) logits, given to `SegmentationLearner`.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trainables.contracts import Source
from trainables.networks.initial import published
from trainables.networks.optimisation import Optimisation
from trainables.tasks.segmentation.metrics import VOID

STAGES = (64, 128, 256, 512, 512)
"""Channels of the encoder's five stages at width 1: VGG16's."""

# 2x2 pooling windows do not overlap, so every index occurs once and unpooling is deterministic whatever the order of its writes;
# torch warns of the general case.
warnings.filterwarnings("ignore", message="max_unpooling2d_forward_out does not have a deterministic implementation")


class SegNet(nn.Module):
    """Encoder and mirrored decoder.

    The decoder up-samples by the encoder's pooling indices, as published, or with `indices` False bilinearly: the same network
    without what the paper holds to be the source of its resilience (section IV-A).
    """

    def __init__(self, classes: int, *, width: float, convolutions: Sequence[int], indices: bool = True) -> None:
        super().__init__()
        self.indices = indices
        if len(convolutions) != len(STAGES) or min(convolutions) < 1 or width <= 0:
            raise ValueError(
                f"segnet: needs a positive width and {len(STAGES)} counts of convolutions, not {width}, {convolutions}"
            )
        channels = [3, *(max(1, round(width * stage)) for stage in STAGES)]
        self.encoder = nn.ModuleList(
            nn.Sequential(*(_block(before if i == 0 else after, after) for i in range(count)))
            for (before, after), count in zip(pairwise(channels), convolutions, strict=True)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(*(_block(after, after if i < count - 1 else before) for i in range(count)))
            for (before, after), count in reversed(list(zip(pairwise(channels), convolutions, strict=True))[1:])
        )
        # The last stage narrows to the classes by a bare convolution: batch norm and ReLU on logits would forbid negative ones.
        first = channels[1]
        self.last = nn.Sequential(
            *(_block(first, first) for _ in range(convolutions[0] - 1)), nn.Conv2d(first, classes, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) normalised images to (N, K, H, W) logits."""
        pooled = []
        for stage in self.encoder:
            images = stage(images)
            size = images.shape[-2:]
            images, indices = F.max_pool2d(images, 2, 2, return_indices=True)
            pooled.append((indices, size))
        for stage in [*self.decoder, self.last]:
            indices, size = pooled.pop()
            if self.indices:
                images = F.max_unpool2d(images, indices, [2, 2], [2, 2], output_size=list(size))
            else:
                images = F.interpolate(images, size, mode="bilinear", align_corners=False)
            images = stage(images)
        return images


def _block(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(inplace=True))


class SegmentationLearner:
    """A segmentation network with its loss (cross-entropy, void ignored) and optimiser."""

    def __init__(
        self, network: nn.Module, hyper: Any, *, class_weights: Callable[[], Tensor | None], steps: int, device: str
    ) -> None:
        self.network = network.to(device)
        self.device = device
        self._class_weights = class_weights
        self._weights: Tensor | None = None
        self._counted = False
        self.optimisation = Optimisation(network.parameters(), hyper, steps=steps)

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step on images (N, 3, H, W) uint8 and masks (N, H, W) uint8."""
        if not self._counted:  # counting the classes reads every training mask: only training pays for it
            weights = self._class_weights()
            self._weights = None if weights is None else weights.to(self.device)
            self._counted = True
        logits = self.network(self._normalised(batch["image"]))
        target = batch["mask"].to(self.device, torch.long)
        loss = F.cross_entropy(logits, target, weight=self._weights, ignore_index=VOID)
        self.optimisation.step(loss)
        return {"loss": loss.detach()}

    def predict(self, batch: Mapping[str, Tensor]) -> Sequence[Any]:
        """Class maps, (H, W) uint8 arrays."""
        return list(self.network(self._normalised(batch["image"])).argmax(dim=1).to(torch.uint8).cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser, learning-rate schedule."""
        return {"network": self.network.state_dict(), **self.optimisation.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimisation.load_state_dict(state)

    def _normalised(self, images: Tensor) -> Tensor:
        """ImageNet's mean and deviation, which VGG's weights expect."""
        mean = torch.tensor((123.675, 116.28, 103.53), device=self.device).view(3, 1, 1)
        deviation = torch.tensor((58.395, 57.12, 57.375), device=self.device).view(3, 1, 1)
        return (images.to(self.device, torch.float32) - mean) / deviation


def segnet(hyper: Any, source: Source, steps: int, device: str, *, indices: bool) -> SegmentationLearner:
    """A freshly initialised SegNet for the classes of a source."""
    network = SegNet(len(source.classes), width=hyper.width, convolutions=hyper.convolutions, indices=indices)

    def class_weights() -> Tensor | None:
        return weights_of_classes(source, hyper.class_weights)

    return SegmentationLearner(network, hyper, class_weights=class_weights, steps=steps, device=device)


def vgg16(network: SegNet) -> None:
    """Give the encoder's 13 convolutions the weights of VGG16's, in order, as published; what else there is stays random.

    Raises ValueError where they cannot be had, or where the network is not of the published width and depth.
    """
    from torchvision.models import VGG16_Weights

    trained = published(VGG16_Weights.IMAGENET1K_V1)
    theirs = [name.removesuffix(".weight") for name in trained if name.startswith("features.") and name.endswith(".weight")]
    ours = [module for module in network.encoder.modules() if isinstance(module, nn.Conv2d)]
    if [module.weight.shape for module in ours] != [trained[f"{name}.weight"].shape for name in theirs]:
        raise ValueError("segnet: VGG16's weights fit width 1 and convolutions (2, 2, 3, 3, 3) alone; a reduced network has `none`")
    with torch.no_grad():
        for module, name in zip(ours, theirs, strict=True):
            module.weight.copy_(trained[f"{name}.weight"])
            if module.bias is not None:
                module.bias.copy_(trained[f"{name}.bias"])


def weights_of_classes(source: Source, rule: str) -> Tensor | None:
    """(K,) weights of the loss from class frequencies in the training masks, or None for rule `none`.

    `inverse_sqrt` is 1 / sqrt(f) scaled to mean 1, f being a class's share of all pixels. `median_frequency` is median(f) / f, f
    being its share of the pixels of those images that hold it (Eigen and Fergus 2015, as SegNet uses it for CamVid). A class that
    never occurs weighs nothing.
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
