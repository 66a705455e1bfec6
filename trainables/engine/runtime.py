"""The runtime of training and scoring: device, loader processes, store."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

from trainables.store.imagery import Store


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Affects speed only, except for the device, which changes figures in the last digits."""

    device: str = "cpu"
    workers: int = 0
    """Loader processes; 0 loads in the training process."""
    store: Store | None = None
    """Store of encoded imagery; None encodes on every read, to the same bytes."""


class Device(NamedTuple):
    """A GPU."""

    name: str
    memory: int
    """Bytes."""


def torch_devices() -> tuple[str, tuple[Device, ...]]:
    """The version of torch, and the GPUs it can compute on.

    Raises ImportError or OSError where torch does not load, RuntimeError where a GPU is present but unusable.
    """
    import torch

    with warnings.catch_warnings(record=True) as caught:  # torch only warns about a driver that is too old
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if caught and not count:
        raise RuntimeError(" ".join(str(caught[0].message).split()))
    devices = []
    for index in range(count):
        if torch.ones(8, device=f"cuda:{index}").sum().item() != 8:
            raise RuntimeError(f"cuda:{index} computes wrong sums")
        properties = torch.cuda.get_device_properties(index)
        devices.append(Device(properties.name, int(properties.total_memory)))
    return str(torch.__version__), tuple(devices)
