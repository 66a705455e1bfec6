"""Search spaces: what studies vary, as plain Python data. To add one, write a module with a `Space` and append it to `SPACES`."""

from search_spaces.augmentation import AUGMENTATION
from search_spaces.demo import DEMO
from search_spaces.dose import DOSE
from search_spaces.offset import OFFSET
from search_spaces.paper import PAPER
from search_spaces.real import REAL
from search_spaces.schedules import SCHEDULES
from search_spaces.space import Budget, Compressed, Retraining, Screening, Space, Variant
from search_spaces.transfer import TRANSFER, TRANSFER_75, TRANSFER_90

SPACES: dict[str, Space] = {
    space.name: space for space in (DEMO, PAPER, REAL, SCHEDULES, DOSE, TRANSFER, TRANSFER_90, TRANSFER_75, OFFSET, AUGMENTATION)
}

__all__ = [
    "AUGMENTATION",
    "DEMO",
    "DOSE",
    "OFFSET",
    "PAPER",
    "REAL",
    "SCHEDULES",
    "SPACES",
    "TRANSFER",
    "TRANSFER_75",
    "TRANSFER_90",
    "Budget",
    "Compressed",
    "Retraining",
    "Screening",
    "Space",
    "Variant",
]
