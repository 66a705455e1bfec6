"""The two-stream network (Simonyan and Zisserman 2014), the paper's (section III-E), with ResNet-101 in both streams.

Both streams are the same classifier of S inputs a clip, whose logits are summed; they differ in the channels that they see. Another
network is one more `nn.Module` that maps (N, C, H, W) to (N, K) logits, made in `_network`.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import ResNet, ResNet101_Weights, resnet101

from trainables.networks.initial import published
from trainables.networks.optimisation import Optimisation

RGB = 3
"""Channels."""
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""ImageNet's, of RGB in 0..255."""


def small(channels: int, classes: int, width: int) -> nn.Sequential:
    """The reduced network of the embedded study: five convolutions, the means over the picture, one linear layer."""
    widths = [channels, width, 2 * width, 4 * width, 4 * width, 4 * width]
    strides = (2, 2, 2, 1, 1)
    blocks = [
        nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True))
        for (before, after), stride in zip(pairwise(widths), strides, strict=True)
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], classes))


def _network(hyper: Any, channels: int, classes: int) -> nn.Module:
    if hyper.network == "small":
        return small(channels, classes, hyper.width)
    network: nn.Module = resnet101(weights=None, num_classes=classes)
    if channels != RGB:
        first = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")  # as torchvision does
        network.conv1 = first
    return network


def imagenet(network: nn.Module) -> None:
    """Give ResNet-101 its ImageNet weights; the classifier stays random.

    A first convolution that does not see RGB takes the mean over red, green and blue in every channel, as published. Raises
    ValueError where the weights cannot be had, or for another network.
    """
    if not isinstance(network, ResNet):
        raise ValueError("two_stream: the published weights fit network='resnet101' alone; a reduced network has `none`")
    weights = dict(published(ResNet101_Weights.IMAGENET1K_V1))
    channels = network.conv1.in_channels
    if channels != RGB:
        weights["conv1.weight"] = weights["conv1.weight"].mean(dim=1, keepdim=True).repeat(1, channels, 1, 1)
    own = network.fc.state_dict(prefix="fc.")
    network.load_state_dict({**weights, **own})


class StreamLearner:
    """One stream: a classifier with its loss (cross-entropy of the logits summed over a clip's inputs) and optimiser."""

    def __init__(
        self,
        network: nn.Module,
        hyper: Any,
        *,
        mean: Sequence[float],
        deviation: Sequence[float],
        steps: int,
        device: str,
    ) -> None:
        self.network = network.to(device)
        self.device = device
        self._mean = torch.tensor(mean, device=device).view(-1, 1, 1)
        self._deviation = torch.tensor(deviation, device=device).view(-1, 1, 1)
        self.optimisation = Optimisation(network.parameters(), hyper, steps=steps)

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step on clips (N, S, C, H, W) and labels (N,)."""
        loss = F.cross_entropy(self._logits(batch["clip"]), batch["label"].to(self.device))
        self.optimisation.step(loss)
        return {"loss": loss.detach()}

    def predict(self, batch: Mapping[str, Tensor]) -> Sequence[Any]:
        """Logits (K,) float32 of each clip."""
        return list(self._logits(batch["clip"]).cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        """Network, optimiser, learning-rate schedule."""
        return {"network": self.network.state_dict(), **self.optimisation.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimisation.load_state_dict(state)

    def _logits(self, clips: Tensor) -> Tensor:
        """(N, S, C, H, W) to (N, K): the sum over a clip's inputs, in float32 whatever the network computes in."""
        inputs = (clips.to(self.device, torch.float32) - self._mean) / self._deviation
        logits: Tensor = self.network(inputs.flatten(0, 1))
        return logits.float().view(*clips.shape[:2], -1).sum(dim=1)


def spatial(hyper: Any, classes: int, steps: int, device: str) -> StreamLearner:
    """The stream that sees stills, freshly initialised."""
    return StreamLearner(_network(hyper, RGB, classes), hyper, mean=MEAN, deviation=DEVIATION, steps=steps, device=device)


def motion(hyper: Any, classes: int, steps: int, device: str) -> StreamLearner:
    """The stream that sees stacks of optical flow, freshly initialised. Flow is scaled where it is made."""
    network = _network(hyper, 2 * hyper.pairs, classes)
    return StreamLearner(network, hyper, mean=(0.0,), deviation=(1.0,), steps=steps, device=device)
