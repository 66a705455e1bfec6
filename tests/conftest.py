from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from search_spaces import SPACES
from trainables import ARCHITECTURES, DATASETS, Architecture, Source
from trainables.data.embedded import scenes_split
from trainables.scenes import STREET
from trainables.tasks.segmentation.data import class_map

if TYPE_CHECKING:
    from tests.tiny import Launched

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Repeat the filter of `trainables.tasks.segmentation.segnet`: pytest replaces those that modules set."""
    config.addinivalue_line("filterwarnings", "ignore:max_unpooling2d_forward_out does not have a deterministic")


@pytest.fixture(scope="session", autouse=True)
def store_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Encoded imagery goes to a folder of its own, for Ray's workers too, and not to the user's cache."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STUDY_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="session")
def launched(tmp_path_factory: pytest.TempPathFactory) -> "Launched":
    """The tiny study, trained once for all tests."""
    from tests.tiny import launch  # Ray takes seconds to import, and most tests need none

    return launch(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def segnet() -> Architecture:
    return ARCHITECTURES["segnet"]


@pytest.fixture
def streets() -> Source:
    """12 / 4 / 6 embedded scenes."""
    parts = {"train": 12, "val": 4, "test": 6}
    splits = {name: scenes_split(seed, count, STREET, class_map) for seed, (name, count) in enumerate(parts.items())}
    return replace(DATASETS["street_scenes"].source(None), **splits)  # type: ignore[arg-type]


@pytest.fixture
def hyper(segnet: Architecture) -> Any:
    """Of half the reduced network, for the dozen scenes of `streets`."""
    return segnet.hyper(**{**SPACES["demo"].budgets["segnet"].hyper, "batch_size": 4, "width": 1 / 8})
