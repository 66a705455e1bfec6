"""Trunks: the convolutional part of a published classifier, without its classes, for other networks to build on.

To add one, write a function that returns the random trunk and one that loads its published weights. A network uses the outputs of
the blocks that it needs.
"""

from collections.abc import Callable

import torchvision
from torch import nn

from trainables.networks.initial import published

MOBILENET_V2_ENDS = (1, 3, 6, 13, 17)
"""MobileNetV2's last block at each of the strides 2, 4, 8, 16 and 32."""
MOBILENET_V2_CHANNELS = (16, 24, 32, 96, 320)
"""Channels of those blocks' outputs."""


def mobilenet_v2(norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    """Blocks 0 to 17 of torchvision's MobileNetV2 at width 1, with random weights.

    It leaves out the last convolution, to 1280 channels, and the classifier.
    """
    whole = torchvision.models.mobilenet_v2(weights=None, norm_layer=norm)
    trunk: nn.Sequential = whole.features[: MOBILENET_V2_ENDS[-1] + 1]
    return trunk


def take_mobilenet_v2(trunk: nn.Module) -> None:
    """Load torchvision's ImageNet weights of MobileNetV2 into a trunk made by `mobilenet_v2`, in place.

    Raises ValueError where they are not available.
    """
    weights = published(torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1)
    trunk.load_state_dict({name: weights[f"features.{name}"] for name in trunk.state_dict()})
