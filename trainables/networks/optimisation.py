"""An optimiser with its learning-rate schedule, for learners that have exactly one.

To add an optimiser or a learning-rate schedule, add a branch here and its name to the `Literal` in the hyper-parameters.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, LambdaLR, LRScheduler, OneCycleLR

WARMUP = 1 / 3
"""Fraction of the learning rate with which a warm-up starts (Detectron's)."""


class Optimisation:
    """An optimiser (sgd, adamw) and its learning-rate schedule (constant, one_cycle, steps, warmup_steps).

    Reads the hyper-parameters `optimiser`, `lr`, `lr_schedule`, `momentum` and `weight_decay`; for the last two schedules also
    `milestones`, fractions of the training at which the learning rate is multiplied by `decay`; for `warmup_steps` also `warmup`,
    the number of first steps over which it rises linearly.
    `steps` is the number of steps of the whole training. `clip` is the largest gradient norm; 0 disables clipping.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], hyper: Any, *, steps: int, clip: float = 0.0) -> None:
        self.parameters, self.clip = list(parameters), clip
        if hyper.optimiser == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                self.parameters, lr=hyper.lr, momentum=hyper.momentum, weight_decay=hyper.weight_decay
            )
        else:
            self.optimiser = torch.optim.AdamW(self.parameters, lr=hyper.lr, weight_decay=hyper.weight_decay)
        self.lr_schedule: LRScheduler
        if hyper.lr_schedule == "one_cycle":
            self.lr_schedule = OneCycleLR(self.optimiser, hyper.lr, total_steps=max(2, steps))
        elif hyper.lr_schedule in {"steps", "warmup_steps"}:
            warmup = hyper.warmup if hyper.lr_schedule == "warmup_steps" else 0
            drops = [round(fraction * steps) for fraction in hyper.milestones]
            self.lr_schedule = LambdaLR(self.optimiser, partial(_factor, warmup, drops, hyper.decay))
        else:
            self.lr_schedule = ConstantLR(self.optimiser, factor=1.0)

    @property
    def taken(self) -> int:
        """Number of steps taken since the start of the training, across interruptions."""
        return self.lr_schedule.last_epoch

    def step(self, loss: Tensor) -> None:
        """Backpropagate a scalar loss, step the optimiser and the learning-rate schedule."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.clip:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimiser.step()
        self.lr_schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """State of the optimiser and the learning-rate schedule."""
        return {"optimiser": self.optimiser.state_dict(), "lr_schedule": self.lr_schedule.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned; other keys in the state are ignored."""
        self.optimiser.load_state_dict(state["optimiser"])
        self.lr_schedule.load_state_dict(state["lr_schedule"])


def _factor(warmup: int, drops: Sequence[int], decay: float, step: int) -> float:
    """Factor on the learning rate in a step, counted from 0: `decay` per drop reached, and the warm-up until step `warmup`."""
    factor = float(decay ** sum(step >= drop for drop in drops))
    return factor * (WARMUP + (1 - WARMUP) * step / warmup) if step < warmup else factor
