"""Search spaces: what studies vary, as plain Python data. To add one, write a module with a `Space` and append it to `SPACES`."""

from search_spaces.demo import DEMO
from search_spaces.paper import PAPER
from search_spaces.real import REAL
from search_spaces.space import Budget, Retraining, Space

SPACES: dict[str, Space] = {space.name: space for space in (DEMO, PAPER, REAL)}

__all__ = ["DEMO", "PAPER", "REAL", "SPACES", "Budget", "Retraining", "Space"]
