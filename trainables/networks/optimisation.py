"""An optimiser with its learning-rate schedule, for learners that have exactly one.

To add an optimiser or a learning-rate schedule, add a branch here and its name to the `Literal` in the hyper-parameters.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ConstantLR, LRScheduler, OneCycleLR


class Optimisation:
    """An optimiser (sgd, adamw) and its learning-rate schedule (constant, one_cycle).

    Reads the hyper-parameters `optimiser`, `lr`, `lr_schedule`, `momentum` and `weight_decay`.
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
        else:
            self.lr_schedule = ConstantLR(self.optimiser, factor=1.0)

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
