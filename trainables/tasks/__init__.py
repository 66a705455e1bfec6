"""One folder per task: its `Task`, inputs, architectures, data sets and networks. Importing this loads no torch.

To add a task, write a folder like `segmentation` and append it to `ROOMS`.
"""

from trainables.contracts import Architecture, Dataset, Fusion
from trainables.lookup import find_named
from trainables.tasks import action, depth, detection, pose, segmentation

ROOMS = (segmentation, depth, detection, pose, action)

ARCHITECTURES: dict[str, Architecture | Fusion] = {value.name: value for room in ROOMS for value in room.ARCHITECTURES}
DATASETS: dict[str, Dataset] = {value.name: value for room in ROOMS for value in room.DATASETS}


def find_architecture(name: str) -> Architecture | Fusion:
    """An architecture or fusion of the table, or a user's own as `package.module:NAME`. Raises ValueError in one line."""
    found: Architecture | Fusion = find_named(name, ARCHITECTURES, (Architecture, Fusion), "architecture")
    return found


def find_dataset(name: str) -> Dataset:
    """A data set of the table, or a user's own as `package.module:NAME`. Raises ValueError in one line."""
    found: Dataset = find_named(name, DATASETS, Dataset, "data set")
    return found
