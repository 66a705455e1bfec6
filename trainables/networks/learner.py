"""The learner of every architecture that is one network with one optimiser.

A subclass says how a batch becomes outputs, losses and predictions; a learner with several optimisers (a GAN) implements the
`Learner` protocol directly.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainables.networks.optimisation import Optimisation


class OneNetworkLearner(ABC):
    """A network, its losses and its optimiser. Satisfies the `Learner` protocol."""

    network: nn.Module

    def __init__(
        self,
        network: nn.Module,
        hyper: Any,
        *,
        steps: int,
        device: str,
        trained: Iterable[nn.Parameter] | None = None,
        clip: float = 0.0,
    ) -> None:
        """`trained` are the parameters to optimise (default: all); `clip` is the largest gradient norm, 0 for no clipping."""
        self.network = network.to(device)
        self.device = device
        self.optimisation = Optimisation(network.parameters() if trained is None else trained, hyper, steps=steps, clip=clip)

    @abstractmethod
    def outputs(self, batch: Any) -> Any:
        """The network's differentiable outputs for a batch, before decoding."""

    @abstractmethod
    def losses(self, batch: Any) -> Mapping[str, Tensor]:
        """The losses of a training batch by name, as scalars; their sum is minimised."""

    @abstractmethod
    def decode(self, outputs: Any, batch: Any) -> Sequence[Any]:
        """Outputs to predictions, one per item, on the CPU."""

    def update(self, batch: Any) -> Mapping[str, Tensor]:
        """Take one optimisation step on a batch; returns the losses, detached."""
        losses = self.losses(batch)
        self.optimisation.step(torch.stack(list(losses.values())).sum())
        return {name: loss.detach() for name, loss in losses.items()}

    def predict(self, batch: Any) -> Sequence[Any]:
        """Predictions for an evaluation batch, one per item."""
        return self.decode(self.outputs(batch), batch)

    def state_dict(self) -> dict[str, Any]:
        """State of the network, the optimiser and the learning-rate schedule."""
        return {"network": self.network.state_dict(), **self.optimisation.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimisation.load_state_dict(state)
