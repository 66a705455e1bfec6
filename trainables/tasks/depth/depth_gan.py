"""A conditional GAN that maps an image to its depth, and how it is trained (paper section III-B; its reference 13).

Generator and discriminator are pix2pix's (Isola et al. 2017): a U-Net of eight levels and a PatchGAN that sees image and depth
together, trained by least squares (Mao et al. 2017) and L1. pix2pix's dropout is left out: there it is the noise of a generator of
many pictures, here the answer is one. Batch norm predicts by its running statistics, so that no prediction hangs on its batch.

To add a network, write an `nn.Module` that maps (N, 3, H, W) images in -1..1 to (N, 1, H, W) depths in -1..1 and give it to
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
    """A U-Net: 4x4 convolutions of stride 2 down to the bottleneck and transposed ones up, joined at each size by concatenation.

    Batch norm follows every convolution but the first, the last and the innermost one down; a convolution that it follows has no
    bias, nor has any other but the last.
    """

    def __init__(self, *, width: int, levels: int) -> None:
        super().__init__()
        channels = [3, *(width * min(2**level, 8) for level in range(levels))]
        down, up = [], []
        for level, (before, after) in enumerate(pairwise(channels)):
            outermost, innermost = level == 0, level == levels - 1
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
        """(N, 3, H, W) images in -1..1 to (N, 1, H, W) depths in -1..1; H and W are multiples of 2 ** levels."""
        skips = []
        for stage in self.down:
            images = stage(images)
            skips.append(images)
        depths = skips.pop()
        for stage in self.up:
            depths = stage(depths)
            if skips:
                depths = torch.cat([skips.pop(), depths], dim=1)
        return depths


class Discriminator(nn.Module):
    """A PatchGAN: whether each patch of 70x70 pixels of image and depth looks real. Batch norm but on the first and the last."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        channels = [4, width, 2 * width, 4 * width, 8 * width]
        stages: list[nn.Module] = []
        for level, (before, after) in enumerate(pairwise(channels)):
            stages.append(nn.Conv2d(before, after, 4, stride=2 if level < 3 else 1, padding=1, bias=level == 0))
            stages += [nn.BatchNorm2d(after)] if level else []
            stages.append(nn.LeakyReLU(0.2))
        self.stages = nn.Sequential(*stages, nn.Conv2d(channels[-1], 1, 4, padding=1))
        self.apply(_initialised)

    def forward(self, images: Tensor, depths: Tensor) -> Tensor:
        """(N, 3, H, W) and (N, 1, H, W), both in -1..1, to (N, 1, H / 8 - 2, W / 8 - 2): about 1 where real, 0 where not."""
        verdicts: Tensor = self.stages(torch.cat([images, depths], dim=1))
        return verdicts


def _initialised(module: nn.Module) -> None:
    """pix2pix's: normal of deviation 0.02 about 0 for convolutions, about 1 for the gains of batch norm; no bias."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def encoded(depths: Tensor, hyper: Any) -> Tensor:
    """Metres in min_depth..max_depth as the -1..1 that the generator regresses."""
    if hyper.representation == "log":
        return 2 * torch.log(depths / hyper.min_depth) / math.log(hyper.max_depth / hyper.min_depth) - 1
    return 2 * depths / float(hyper.max_depth) - 1


def decoded(values: Tensor, hyper: Any) -> Tensor:
    """The inverse of `encoded`, kept within min_depth..max_depth."""
    share = (values + 1) / 2
    if hyper.representation == "log":
        depths = hyper.min_depth * torch.exp(share * math.log(hyper.max_depth / hyper.min_depth))
    else:
        depths = hyper.max_depth * share
    return torch.clamp(depths, hyper.min_depth, hyper.max_depth)


class DepthGANLearner:
    """Both networks, their losses and their optimisers."""

    def __init__(self, hyper: Any, *, steps: int, device: str, generator: nn.Module | None = None) -> None:
        self.hyper, self.device = hyper, device
        self.generator = generator or Generator(width=hyper.width, levels=hyper.levels)
        self.discriminator = Discriminator(width=hyper.width)
        self.network: nn.Module = nn.ModuleDict({"generator": self.generator, "discriminator": self.discriminator}).to(device)
        self.optimisers = {
            name: torch.optim.Adam(module.parameters(), lr=hyper.lr, betas=hyper.betas)
            for name, module in self.network.named_children()
        }
        self.lr_schedules = {name: _lr_schedule(optimiser, hyper, steps) for name, optimiser in self.optimisers.items()}

    def update(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """One step on images (N, 3, H, W) uint8 and depths (N, H, W) float32 metres, 0 where unknown.

        The discriminator goes first, on the generator's depths of this step, as in pix2pix. Where the truth is unknown, true
        and generated depths are the same 0 (the middle of the range): L1 is taken over the known pixels, and the discriminator
        cannot tell real from generated by the holes.
        """
        images, depths = self._normalised(batch["image"]), batch["depth"].to(self.device)[:, None]
        known = depths > 0
        real = torch.where(known, encoded(depths.clamp(min=self.hyper.min_depth), self.hyper), 0.0)
        made = torch.where(known, self.generator(images).float(), 0.0)

        self.discriminator.requires_grad_(True)
        discriminator = (self._verdict(images, real, 1.0) + self._verdict(images, made.detach(), 0.0)) / 2
        self._step("discriminator", discriminator)

        self.discriminator.requires_grad_(False)  # spares its gradients
        adversarial = self._verdict(images, made, 1.0)
        l1 = (made - real).abs().sum() / known.sum().clamp(min=1)
        self._step("generator", self.hyper.adversarial_weight * adversarial + self.hyper.l1_weight * l1)
        return {"l1": l1.detach(), "adversarial": adversarial.detach(), "discriminator": discriminator.detach()}

    def predict(self, batch: Mapping[str, Tensor]) -> Sequence[Any]:
        """Depth maps in metres, (H, W) float32 arrays in min_depth..max_depth."""
        values = self.generator(self._normalised(batch["image"])).float()
        return list(decoded(values, self.hyper)[:, 0].cpu().numpy())

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimisers, learning-rate schedules."""
        return {
            "network": self.network.state_dict(),
            "optimisers": {name: each.state_dict() for name, each in self.optimisers.items()},
            "lr_schedules": {name: each.state_dict() for name, each in self.lr_schedules.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        for name in self.optimisers:
            self.optimisers[name].load_state_dict(state["optimisers"][name])
            self.lr_schedules[name].load_state_dict(state["lr_schedules"][name])

    def _verdict(self, images: Tensor, depths: Tensor, wanted: float) -> Tensor:
        """How far the discriminator is from saying what is wanted of it: mean squared error."""
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
        # Left alone, the momentum stays what `betas` says: a GAN wants it low.
        return torch.optim.lr_scheduler.OneCycleLR(optimiser, hyper.lr, total_steps=max(2, steps), cycle_momentum=False)
    return torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
