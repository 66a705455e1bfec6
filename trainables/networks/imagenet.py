"""The input normalisation that networks with ImageNet weights expect."""

import torch
from torch import Tensor

MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
"""Mean and standard deviation of ImageNet's RGB values in 0..255."""


def normalised(images: Tensor, device: str) -> Tensor:
    """RGB images (..., 3, H, W) in 0..255 as float32 on a device, less ImageNet's mean, over its deviation."""
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1)
    deviation = torch.tensor(DEVIATION, device=device).view(3, 1, 1)
    return (images.to(device, torch.float32) - mean) / deviation
