"""A conditional GAN that maps an image to its depth, and its training (paper section III-B, its reference 13).

Generator and discriminator are pix2pix's (Isola et al. 2017): a U-Net that halves the size eight times, and a PatchGAN that sees
image and depth together. Losses are least squares (Mao et al. 2017) and L1. pix2pix's dropout is left out: it serves as noise for
generating different pictures, whereas depth has one answer. In evaluation, batch norm uses its running statistics, so a prediction
does not depend on the other items of its batch.

To add a network, write an `nn.Module` that maps (N, 3, H, W) images in -1..1 to (N, 1, H, W) depths in -1..1, and pass it to
`DepthGANLearner` as the generator.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Generator(nn.Module):
    """A U-Net: 4x4 convolutions of stride 2 down to the bottleneck, and transposed ones up, joined by concatenation at each size.

    Batch norm follows every convolution except the first, the last and the one into the bottleneck. Only the last has a bias.
    """

    def __init__(self, *, width: int, downsamplings: int) -> None:
        super().__init__()
        channels = [3, *(width * min(2**index, 8) for index in range(downsamplings))]
        down, up = [], []
        for index, (before, after) in enumerate(pairwise(channels)):
            outermost, innermost = index == 0, index == downsamplings - 1
            convolution = nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)
            first = [] if outermost else [nn.LeakyReLU(0.2)]
            down.append(nn.Sequential(*first, convolution, *([] if outermost or innermost else [nn.BatchNorm2d(after)])))
            joined = after if innermost else 2 * after
            to = 1 if outermost else before
            transposed = nn.ConvTranspose2d(joined, to, 4, stride=2, padding=1, bias=outermost)
            up.append(nn.Sequential(nn.ReLU(), transposed, nn.Tanh() if outermost else nn.BatchNorm2d(to)))
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(reversed(up))
        self.apply(_initialised)

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) in -1..1 to depths (N, 1, H, W) in -1..1; H and W are multiples of 2 ** downsamplings."""
        skips = []
        for block in self.down:
            images = block(images)
            skips.append(images)
        depths = skips.pop()
        for block in self.up:
            depths = block(depths)
            if skips:
                depths = torch.cat([skips.pop(), depths], dim=1)
        return depths


class Discriminator(nn.Module):
    """A PatchGAN: judges whether each 70x70 patch of image and depth looks real.

    Batch norm follows every convolution except the first and the last.
    """

    def __init__(self, *, width: int) -> None:
        super().__init__()
        channels = [4, width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = []
        for index, (before, after) in enumerate(pairwise(channels)):
            layers.append(nn.Conv2d(before, after, 4, stride=2 if index < 3 else 1, padding=1, bias=index == 0))
            layers += [nn.BatchNorm2d(after)] if index else []
            layers.append(nn.LeakyReLU(0.2))
        self.stages = nn.Sequential(*layers, nn.Conv2d(channels[-1], 1, 4, padding=1))  # the name is part of saved weights
        self.apply(_initialised)

    def forward(self, images: Tensor, depths: Tensor) -> Tensor:
        """Maps images (N, 3, H, W) and depths (N, 1, H, W), both in -1..1, to verdicts (N, 1, H / 8 - 2, W / 8 - 2).

        A verdict is trained towards 1 for true depths and 0 for generated ones.
        """
        verdicts: Tensor = self.stages(torch.cat([images, depths], dim=1))
        return verdicts


def _initialised(module: nn.Module) -> None:
    """Initialises as pix2pix: normal with deviation 0.02, mean 0 for convolutions and 1 for batch-norm gains; biases are 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def encoded(depths: Tensor, hyper: Any) -> Tensor:
    """Depths in metres, min_depth..max_depth, as the values in -1..1 that the generator predicts."""
    if hyper.representation == "log":
        return 2 * torch.log(depths / hyper.min_depth) / math.log(hyper.max_depth / hyper.min_depth) - 1
    return 2 * depths / float(hyper.max_depth) - 1


def decoded(values: Tensor, hyper: Any) -> Tensor:
    """Values of the generator as depths in metres, clipped to min_depth..max_depth: the inverse of `encoded`."""
    share = (values + 1) / 2
    if hyper.representation == "log":
        depths = hyper.min_depth * torch.exp(share * math.log(hyper.max_depth / hyper.min_depth))
    else:
        depths = hyper.max_depth * share
    return torch.clamp(depths, hyper.min_depth, hyper.max_depth)


class DepthGANLearner:
    """Trains generator and discriminator, each with its own optimiser. Satisfies the `Learner` protocol.

    Batches hold `image` (N, 3, H, W) uint8 and `depth` (N, H, W) float32 in metres, 0 where unknown. A prediction is a depth map
    (H, W), float32, in min_depth..max_depth metres.
    """

    def __init__(self, hyper: Any, *, steps: int, device: str, generator: nn.Module | None = None) -> None:
        self.hyper, self.device = hyper, device
        self.generator = generator or Generator(width=hyper.width, downsamplings=hyper.downsamplings)
        self.discriminator = Discriminator(width=hyper.width)
        self.network: nn.Module = nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator}).to(device)
        self.optimisers = {
            name: torch.optim.Adam(module.parameters(), lr=hyper.lr, betas=hyper.betas)
            for name, module in self.network.named_children()
        }
        self.lr_schedules = {name: _lr_schedule(optimiser, hyper, steps) for name, optimiser in self.optimisers.items()}

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take one step of the discriminator, then one of the generator; both use the depths generated first, as in pix2pix.

        Where the truth is unknown, true and generated depths are both set to 0, the middle of the range. So L1 covers only known
        pixels, and the discriminator cannot recognise true depths by their holes.
        """
        images, depths = self._normalised(batch["image"]), batch["depth"].to(self.device)[:, None]
        known = depths > 0
        real = torch.where(known, encoded(depths.clamp(min=self.hyper.min_depth), self.hyper), 0.0)
        made = torch.where(known, self.generator(images).float(), 0.0)

        self.discriminator.requires_grad_(True)
        discriminator = (self._verdict(images, real, 1.0) + self._verdict(images, made.detach(), 0.0)) / 2
        self._step("discriminator", discriminator)

        self.discriminator.requires_grad_(False)  # the generator's step needs no gradients of the discriminator's weights
        adversarial = self._verdict(images, made, 1.0)
        l1 = (made - real).abs().sum() / known.sum().clamp(min=1)
        self._step("generator", self.hyper.adversarial_weight * adversarial + self.hyper.l1_weight * l1)
        return {"l1": l1.detach(), "adversarial": adversarial.detach(), "discriminator": discriminator.detach()}

    def predict(self, batch: Mapping[str, Tensor]) -> Sequence[Any]:
        values = self.generator(self._normalised(batch["image"])).float()
        return list(decoded(values, self.hyper)[:, 0].cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimisers": {name: each.state_dict() for name, each in self.optimisers.items()},
            "lr_schedules": {name: each.state_dict() for name, each in self.lr_schedules.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        for name in self.optimisers:
            self.optimisers[name].load_state_dict(state["optimisers"][name])
            self.lr_schedules[name].load_state_dict(state["lr_schedules"][name])

    def _verdict(self, images: Tensor, depths: Tensor, wanted: float) -> Tensor:
        """Mean squared error between the discriminator's verdicts and the wanted one."""
        verdicts = self.discriminator(images, depths).float()
        return F.mse_loss(verdicts, torch.full_like(verdicts, wanted))

    def _step(self, name: str, loss: Tensor) -> None:
        self.optimisers[name].zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimisers[name].step()
        self.lr_schedules[name].step()

    def _normalised(self, images: Tensor) -> Tensor:
        return images.to(self.device, torch.float32) / 127.5 - 1


def _lr_schedule(optimiser: torch.optim.Optimizer, hyper: Any, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    if hyper.lr_schedule == "one_cycle":
        # By default OneCycleLR also cycles the momentum; a GAN needs the low value in `betas`.
        return torch.optim.lr_scheduler.OneCycleLR(optimiser, hyper.lr, total_steps=max(2, steps), cycle_momentum=False)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
