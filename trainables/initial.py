"""Initial weights: an explicit choice, never a silent fallback. What cannot be had is an error that says what to do.

`none` leaves a network as it was made, at random. A name asks the architecture for published weights (`imagenet`). A file is one
that torch wrote: a `state_dict`, alone or under a usual key. To offer other published weights, write a function like
`segmentation.segnet.vgg16` and add it to the architecture's `initial`.
"""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.contracts import Architecture, Source, Weights

if TYPE_CHECKING:
    from torch import nn

RANDOM = "none"
PREFIX = "sha256:"
KEYS = ("weights", "state_dict", "model_state_dict", "model", "network")
"""Where training programs keep a network's weights within a checkpoint."""
WRAPPERS = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""


def digest_of(path: Path) -> str:
    """A weights file by its contents. Raises ValueError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"weights {path}: {error.strerror}") from error


def is_digest(initial: str) -> bool:
    """Whether initial weights are a file's."""
    return initial.startswith(PREFIX)


def file_of(digest: str) -> str:
    """The name that a weights file is kept under."""
    return f"{digest.removeprefix(PREFIX)}.pt"


def read_weights(data: bytes, name: str) -> Weights:
    """The tensors of a file that `torch.save` wrote, read with `weights_only`: no code in it runs.

    Raises ValueError, naming the file, where torch cannot read it so, or where it holds no weights.
    """
    import torch

    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle's, zip's and torch's own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"weights {name}: not readable as plain tensors ({reason}); save them by torch.save(state_dict)"
        ) from error
    weights = _tensors(found)
    if weights is None:
        raise ValueError(f"weights {name}: holds no state_dict, neither alone nor under {', '.join(KEYS)}")
    for wrapper in WRAPPERS:
        if all(key.startswith(wrapper) for key in weights):
            weights = {key.removeprefix(wrapper): value for key, value in weights.items()}
    return weights


def _tensors(found: Any) -> Weights | None:
    """A mapping of names to tensors, alone or under one of the usual keys."""
    import torch

    if not isinstance(found, Mapping) or not found:
        return None
    if all(isinstance(value, torch.Tensor) for value in found.values()):
        return {str(key): value for key, value in found.items()}
    return next((weights for key in KEYS if (weights := _tensors(found.get(key))) is not None), None)


def load(architecture: Architecture, network: "nn.Module", weights: Weights) -> None:
    """Load a network's own weights, all of them, in place. Raises ValueError that says in one line why they do not fit."""
    wanted = network.state_dict()
    parts = [
        _some("it lacks", [name for name in wanted if name not in weights]),
        _some("it has", [name for name in weights if name not in wanted]),
        _some(
            "of other shapes are",
            [
                f"{name} {tuple(weights[name].shape)} for {tuple(value.shape)}"
                for name, value in wanted.items()
                if name in weights and weights[name].shape != value.shape
            ],
        ),
    ]
    if any(parts):
        raise ValueError(f"the weights do not fit {architecture.name}: {'; '.join(part for part in parts if part)}")
    network.load_state_dict(dict(weights))


def _some(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{what} {', '.join(names[:2])}{more}" if names else ""


def initialise(architecture: Architecture, network: "nn.Module", initial: str | Weights) -> tuple[str, ...]:
    """Load initial weights into a fresh network, in place; the names of tensors that stay random.

    Of a file all names must be the network's. A tensor that differs in its first dimension alone belongs to a layer that the
    classes shape: it stays random where the file was trained for other classes. Raises ValueError where weights cannot be had or do
    not fit.
    """
    if isinstance(initial, str):
        if initial != RANDOM:
            architecture.initial[initial](network)
        return ()
    wanted = network.state_dict()
    taken = {
        name: wanted[name] if name in wanted and _other_classes(value.shape, wanted[name].shape) else value
        for name, value in initial.items()
    }
    load(architecture, network, taken)
    return tuple(name for name, value in taken.items() if value is wanted[name])


def _other_classes(found: Any, wanted: Any) -> bool:
    return len(found) == len(wanted) > 0 and found[0] != wanted[0] and found[1:] == wanted[1:]


def examine(architecture: Architecture, hyper: Any, source: Source, path: Path, *, whole: bool) -> tuple[str, ...]:
    """Try a weights file on the network that is to start from it, or with `whole` to be it; the names of tensors that stay random.

    Raises ValueError in one line where it is not readable or does not fit.
    """
    network = architecture.learner(hyper, source, 1, "cpu").network
    weights = read_weights(path.read_bytes(), str(path))
    if whole:
        load(architecture, network, weights)
        return ()
    return initialise(architecture, network, weights)


def published(entry: Any) -> Weights:
    """A torchvision weights entry, from torch's cache on this machine or else from the net, checked against its hash.

    Raises ValueError that says where the file is looked for and what to do without it.
    """
    import torch

    place = Path(torch.hub.get_dir(), "checkpoints", entry.url.rpartition("/")[2])
    try:
        weights: Weights = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # of the net, the disk, the hash, the file
        there = "is damaged" if place.exists() else "is not there and cannot be fetched"
        raise ValueError(
            f"initial weights {entry}: {place} {there} ({' '.join(str(error).split())[:200]}); put the file from {entry.url} "
            f"there, or state `none` or a file of weights as the budget's `initial`"
        ) from error
    return weights
