"""How networks are computed: precision, memory order, compilation. Chosen by the search space, and part of a trial's name.

Determinism is not optional: torch's deterministic algorithms are always on, so that a trial gives the same figures in every run on
the same type of processor. On a GPU this costs speed; operations without a deterministic implementation (listed in torch's
documentation of `use_deterministic_algorithms`) raise a warning.
"""

import os
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from trainables.contracts import Learner, Numerics


def deterministic() -> None:
    """Make torch reproducible per processor type and thread count."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # otherwise cuBLAS sums in any order
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory guards against reads of uninitialised values; it costs time and changes no figure of correct code.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False


def prepare(learner: Learner, numerics: Numerics) -> None:
    """Set memory order and compilation of a learner's network, in place. The members of a ModuleDict are compiled one by one."""
    network = learner.network
    if numerics.channels_last:
        network.to(memory_format=torch.channels_last)
    if numerics.compiled:
        for module in network.values() if isinstance(network, nn.ModuleDict) else (network,):
            module.compile()


def computing(numerics: Numerics, device: str) -> AbstractContextManager[object]:
    """The context of one training step or prediction.

    Casts are not cached: a learner with two optimisers changes weights within a step and would read stale casts.
    """
    if numerics.precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, dtype=torch.bfloat16, cache_enabled=False)
