"""Architectures, data sets, codecs and recipes, with the generators `train` and `evaluate` over them.

To add a task, see `trainables.tasks`. Importing this package loads no torch: the functions in `_WITH_TORCH` are imported when they
are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trainables.codecs import CODECS, find_codec, identity, identity_of
from trainables.contracts import (
    CLEAN,
    Adapting,
    Architecture,
    Codec,
    Condition,
    Dataset,
    Derived,
    Epoch,
    Frames,
    Fusion,
    Inputs,
    Learner,
    Numerics,
    Pair,
    Recipe,
    Schedule,
    Score,
    Source,
    Split,
    SplitName,
    Task,
    View,
)
from trainables.data.files import MissingFilesError, fingerprint, read_rgb
from trainables.data.inspection import Reading, read_items, recompressing
from trainables.data.recompressed import recompressed
from trainables.data.splitting import by_blocks, by_hash, withheld
from trainables.engine.runtime import Runtime, torch_devices
from trainables.engine.workload import Workload
from trainables.lookup import find_in, find_named, is_reference, launched_from, suggestion
from trainables.networks.initial import digest_of, examine, file_of
from trainables.recipes.drawing import drawing
from trainables.recipes.recipes import combined, find_recipe, recipes, recipes_of, shaped, smallest_ladder
from trainables.recipes.schedules import schedules
from trainables.store.imagery import Store, default_store
from trainables.tasks import ARCHITECTURES, DATASETS, find_architecture, find_dataset
from trainables.trials.storage import Folder
from trainables.trials.trial import FORMAT, Hyper, Job, Stage, Trial, TrialFolder, label, without_defaults

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
"""Names that load torch, with their modules."""

__all__ = [
    "ARCHITECTURES",
    "CLEAN",
    "CODECS",
    "DATASETS",
    "FORMAT",
    "Adapting",
    "Architecture",
    "Codec",
    "Condition",
    "Dataset",
    "Derived",
    "Epoch",
    "Folder",
    "Frames",
    "Fusion",
    "Hyper",
    "Inputs",
    "Job",
    "Learner",
    "MissingFilesError",
    "Numerics",
    "Pair",
    "Reading",
    "Recipe",
    "Runtime",
    "Schedule",
    "Score",
    "Source",
    "Split",
    "SplitName",
    "Stage",
    "Store",
    "Task",
    "Trial",
    "TrialFolder",
    "View",
    "Workload",
    "by_blocks",
    "by_hash",
    "combined",
    "default_store",
    "digest_of",
    "drawing",
    "evaluate",
    "examine",
    "file_of",
    "find_architecture",
    "find_codec",
    "find_dataset",
    "find_in",
    "find_named",
    "find_recipe",
    "fingerprint",
    "fuse",
    "identity",
    "identity_of",
    "is_reference",
    "label",
    "launched_from",
    "read_items",
    "read_rgb",
    "recalibrate",
    "recipes",
    "recipes_of",
    "recompressed",
    "recompressing",
    "schedules",
    "shaped",
    "smallest_ladder",
    "suggestion",
    "torch_devices",
    "train",
    "try_out",
    "withheld",
    "without_defaults",
]


def __getattr__(name: str) -> Any:
    if name in _WITH_TORCH:
        return getattr(import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
