"""The two-stream network (Simonyan and Zisserman 2014) as in the paper (section III-E), with ResNet-101 in both streams.

Both streams classify each of S inputs per clip and sum the logits; they differ in their input channels. To add a backbone, write an
`nn.Module` that maps (N, C, H, W) to logits (N, K) and build it in `_network`.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet, ResNet101_Weights, resnet101

from trainables.networks.imagenet import normalised
from trainables.networks.initial import published
from trainables.networks.learner import OneNetworkLearner

RGB = 3
"""Channels of a still."""


def small(channels: int, classes: int, width: int) -> nn.Sequential:
    """The reduced network of the embedded study: five convolutions, global average pooling, one linear layer."""
    widths = [channels, width, 2 * width, 4 * width, 4 * width, 4 * width]
    strides = (2, 2, 2, 1, 1)
    blocks = [
        nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True))
        for (before, after), stride in zip(pairwise(widths), strides, strict=True)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def _network(hyper: Any, channels: int, classes: int) -> nn.Module:
    if hyper.backbone == "small":
        return small(channels, classes, hyper.width)
    network: nn.Module = resnet101(weights=None, num_classes=classes)
    if channels != RGB:
        first = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
        network.conv1 = first
    return network


def imagenet(network: nn.Module) -> None:
    """Load ImageNet weights into a ResNet-101, except the classifier, in place.

    A first convolution with other than three channels gets the mean over red, green and blue in every channel, as published.
    Raises ValueError where the weights are not available, and for other backbones.
    """
    if not isinstance(network, ResNet):
        raise ValueError("two_stream: ImageNet weights exist for backbone='resnet101' only; set `initial` to `none` for others")
    weights = dict(published(ResNet101_Weights.IMAGENET1K_V1))
    channels = network.conv1.in_channels
    if channels != RGB:
        weights["conv1.weight"] = weights["conv1.weight"].mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)
    own = network.fc.state_dict(prefix="fc.")
    network.load_state_dict({**weights, **own})


class StreamLearner(OneNetworkLearner):
    """One stream, trained by the cross-entropy of the logits that are summed over a clip's S inputs."""

    def __init__(
        self, network: nn.Module, hyper: Any, *, normalise: Callable[[Tensor, str], Tensor], steps: int, device: str
    ) -> None:
        """`normalise` maps (clips (N, S, C, H, W), device) to float32 network inputs on that device."""
        super().__init__(network, hyper, steps=steps, device=device)
        self._normalise = normalise

    def outputs(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits (N, K) of clips (N, S, C, H, W), summed over S in float32 whatever the network's precision."""
        clips = batch["clip"]
        logits: Tensor = self.network(self._normalise(clips, self.device).flatten(0, 1))
        return logits.float().view(*clips.shape[:2], -1).sum(dim=1)

    def losses(self, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"loss": F.cross_entropy(self.outputs(batch), batch["label"].to(self.device))}

    def decode(self, outputs: Tensor, batch: Mapping[str, Tensor]) -> Sequence[Any]:  # noqa: ARG002
        """Logits (K,) float32 per clip."""
        return list(outputs.cpu().numpy())


def spatial(hyper: Any, classes: int, steps: int, device: str) -> StreamLearner:
    """The stream that sees stills, freshly initialised."""
    return StreamLearner(_network(hyper, RGB, classes), hyper, normalise=normalised, steps=steps, device=device)


def motion(hyper: Any, classes: int, steps: int, device: str) -> StreamLearner:
    """The stream that sees stacks of optical flow, freshly initialised. Flow arrives scaled to -1..1; see `flow_range`."""
    network = _network(hyper, 2 * hyper.pairs, classes)
    normalise = _zero_to_one if hyper.flow_range == "zero_to_one" else _as_float
    return StreamLearner(network, hyper, normalise=normalise, steps=steps, device=device)


def _zero_to_one(clips: Tensor, device: str) -> Tensor:
    return (_as_float(clips, device) + 1) / 2


def _as_float(clips: Tensor, device: str) -> Tensor:
    return clips.to(device, torch.float32)
