"""What is trained and scored: the tables of architectures, data sets, codecs and recipes, and the two generators over them.

To add a task, make a room like `segmentation` and add it to `ROOMS`. Importing this loads no torch: `train` and `evaluate` are
imported where they are looked up.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trainables import action, depth, detection, pose, segmentation
from trainables.codecs import CODECS, identity, identity_of
from trainables.contracts import (
    Architecture,
    Codec,
    Condition,
    Dataset,
    Derived,
    Epoch,
    Frames,
    Learner,
    Numerics,
    Recipe,
    Schedule,
    Score,
    Source,
    Split,
)
from trainables.data.files import MissingFilesError, fingerprint, read_rgb
from trainables.networks.initial import digest_of, examine, file_of
from trainables.data.inspection import Reading, predicted_bytes, read_items, recompressing, torch_devices
from trainables.lookup import is_reference, launched_from, named
from trainables.recipes.recipes import recipes, recipes_of
from trainables.engine.runtime import Runtime
from trainables.data.splitting import by_blocks, by_hash
from trainables.trials.storage import Folder
from trainables.store.imagery import Store, default_store
from trainables.trials.trial import Job, Trial, TrialFolder

if TYPE_CHECKING:
    from trainables.engine.conformance import try_out
    from trainables.engine.evaluation import evaluate, fuse
    from trainables.engine.recalibration import recalibrate
    from trainables.engine.training import train

_WITH_TORCH = {
    "train": "trainables.engine.training",
    "try_out": "trainables.engine.conformance",
    "evaluate": "trainables.engine.evaluation",
    "fuse": "trainables.engine.evaluation",
    "recalibrate": "trainables.engine.recalibration",
}
"""What is imported when it is first asked for."""

ROOMS = (segmentation, depth, detection, pose, action)

ARCHITECTURES: dict[str, Architecture] = {value.name: value for room in ROOMS for value in room.ARCHITECTURES}
DATASETS: dict[str, Dataset] = {value.name: value for room in ROOMS for value in room.DATASETS}


def find_architecture(name: str) -> Architecture:
    """By its name, or somebody's own by `package.module:NAME`. Raises ValueError in one line."""
    return named(name, ARCHITECTURES, Architecture, "architecture")


def find_dataset(name: str) -> Dataset:
    """By its name, or somebody's own by `package.module:NAME`. Raises ValueError in one line."""
    return named(name, DATASETS, Dataset, "data set")


__all__ = [
    "ARCHITECTURES",
    "CODECS",
    "DATASETS",
    "Architecture",
    "Codec",
    "Condition",
    "Dataset",
    "Derived",
    "Epoch",
    "Folder",
    "Frames",
    "Job",
    "Learner",
    "MissingFilesError",
    "Numerics",
    "Reading",
    "Recipe",
    "Runtime",
    "Schedule",
    "Score",
    "Source",
    "Split",
    "Store",
    "Trial",
    "TrialFolder",
    "by_blocks",
    "by_hash",
    "default_store",
    "digest_of",
    "evaluate",
    "examine",
    "file_of",
    "find_architecture",
    "find_dataset",
    "fingerprint",
    "fuse",
    "identity",
    "identity_of",
    "is_reference",
    "launched_from",
    "named",
    "predicted_bytes",
    "read_items",
    "read_rgb",
    "recalibrate",
    "recipes",
    "recipes_of",
    "recompressing",
    "torch_devices",
    "train",
    "try_out",
]


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
