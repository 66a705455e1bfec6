import json
import math
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
import torch

from search_spaces import SPACES
from tests.few import few_streets
from trainables import ARCHITECTURES, Architecture, Source, Workload

if TYPE_CHECKING:
    from tests.tiny import Launched

THREADS = int(os.environ.get("STUDY_TEST_THREADS", "1"))
torch.set_num_threads(THREADS)


def pytest_configure(config: pytest.Config) -> None:
    """Repeat the filter of `trainables.tasks.segmentation.segnet`: pytest replaces those that modules set."""
    config.addinivalue_line("filterwarnings", "ignore:max_unpooling2d_forward_out does not have a deterministic")


@pytest.fixture(scope="session", autouse=True)
def caches_of_the_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Encoded imagery and compiled networks go to fresh directories, for Ray's workers too.

    torch's kernels, cached under one setting of the instruction set, compute garbage under another.
    """
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("STUDY_STORE", str(tmp_path_factory.mktemp("store")))
        patched.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.mktemp("inductor")))
        yield


@pytest.fixture(scope="session")
def launched(tmp_path_factory: pytest.TempPathFactory) -> "Launched":
    """The tiny study, trained once per test process."""
    from tests.tiny import launch  # Ray takes seconds to import, and most tests need none

    return launch(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def segnet() -> Architecture:
    architecture = ARCHITECTURES["segnet"]
    assert isinstance(architecture, Architecture)
    return architecture


@pytest.fixture
def streets() -> Source:
    """12 training, 4 validation and 6 test scenes."""
    return few_streets()


@pytest.fixture
def hyper(segnet: Architecture) -> Any:
    """Hyper-parameters of a network half as wide as the demo's, for the dozen scenes of `streets`."""
    return replace(segnet.hyper, **{**SPACES["demo"].budgets["segnet"].hyper, "batch_size": 4, "width": 1 / 8})


@pytest.fixture
def workload(segnet: Architecture, hyper: Any, streets: Source) -> Workload:
    """The small SegNet on the few scenes, on the CPU and without a store."""
    return Workload(architecture=segnet, hyper=hyper, data=streets)


@pytest.fixture
def seed() -> int:
    """Seed of a trained test; `make test-portable` varies it."""
    return int(os.environ.get("STUDY_TEST_SEED", "0"))


class Margin(Protocol):
    """Asserts that a trained value is on the right side of its bound."""

    def __call__(self, value: float, *, above: float = -math.inf, below: float = math.inf) -> None: ...


@pytest.fixture
def margin(request: pytest.FixtureRequest) -> Margin:
    """Asserts a bound on a trained value and records both, where `make test-portable` asks for records."""

    def hold(value: float, *, above: float = -math.inf, below: float = math.inf) -> None:
        records = os.environ.get("STUDY_TEST_MARGINS")
        if records:
            with Path(records).open("a") as file:
                file.write(json.dumps({"test": request.node.nodeid, "value": value, "above": above, "below": below}) + "\n")
        assert above < value < below

    return hold
