"""Extensions that need one file only: each is applied to a copy of the project, whose conformance tests then cover it."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
ROOMS = ("study", "trainables", "search_spaces", "analysis", "tests")

SCHEDULE = {
    "def schedules(": '''@dataclass(frozen=True, kw_only=True)
class Late:
    """Clean in the first half of the training, the heaviest level in the second."""

    ladder: tuple[int, ...]

    @property
    def levels(self) -> tuple[int | None, ...]:
        return (None, self.ladder[-1])

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        return None if progress < 0.5 else self.ladder[-1]


def schedules(''',
    '"uniform": Uniform(ladder=ladder),': '"uniform": Uniform(ladder=ladder),\n        "late": Late(ladder=ladder),',
}

STILL_CODEC = {
    "CODECS: dict": 'WEBP = PillowStill(name="webp", format="WEBP", levels=(95, 75, 50, 15, 5), shown=(15, 5))\n\nCODECS: dict',
    "(Jpeg(), H264)": "(Jpeg(), H264, WEBP)",
    "import Jpeg": "import Jpeg, PillowStill",
}

VIDEO_CODEC = {
    "CODECS: dict": """H265 = PyAVClip(
    name="h265",
    encoder="libx265",
    decoder="hevc",
    levels=(24, 32, 40, 48),
    shown=(32, 48),
    allowed=(1, 51),
    preset="medium",
    option="x265-params",
    parameters=(("pools", "none"), ("frame-threads", 1), ("info", 0), ("log-level", "error")),
)

CODECS: dict""",
    "(Jpeg(), H264)": "(Jpeg(), H264, H265)",
    "import H264": "import H264, PyAVClip",
}

VARIANT = {
    "ARCHITECTURES = (": """SEGNET_NARROW = replace(SEGNET, name="segnet_narrow", hyper=replace(SEGNET.hyper, width=0.5))

ARCHITECTURES = (SEGNET_NARROW, """,
}

DATA_SET = {
    "DATASETS = (": '''def _dusk() -> Source:
    """Street scenes at half brightness."""
    return replace(street_scenes(), name="dusk_scenes")


DATASETS = (
    Dataset(name="dusk_scenes", task="segmentation", summary="embedded streets at dusk", present=_present, make=_dusk),''',
}

WEIGHTS = {
    "SEGNET = Architecture(": '''def _flat(network: Any) -> None:
    """Weights that anybody can have: the mean of each tensor."""
    means = {name: value.float().mean().to(value.dtype).expand_as(value) for name, value in network.state_dict().items()}
    network.load_state_dict(means)


SEGNET = Architecture(''',
    'initial={"imagenet": _imagenet}': 'initial={"imagenet": _imagenet, "flat": _flat}',
}


@pytest.mark.parametrize(
    ("file", "edits", "tests", "covered"),
    [
        ("trainables/recipes/schedules.py", SCHEDULE, ("test_schedules.py", "test_recipes.py"), "late"),
        ("trainables/codecs/__init__.py", STILL_CODEC, ("test_codecs.py", "test_recipes.py"), "webp"),
        ("trainables/codecs/__init__.py", VIDEO_CODEC, ("test_codecs.py", "test_recipes.py"), "h265"),
        ("trainables/tasks/segmentation/__init__.py", VARIANT, ("test_architectures.py",), "segnet_narrow"),
        (
            "trainables/tasks/segmentation/__init__.py",
            DATA_SET,
            ("test_architectures.py", "test_segmentation_data.py"),
            "dusk_scenes",
        ),
        ("trainables/tasks/segmentation/__init__.py", WEIGHTS, ("test_initial.py",), "flat"),
    ],
    ids=["schedule", "still codec", "video codec", "variant", "data set", "initial weights"],
)
def test_one_file_is_enough_and_the_conformance_tests_cover_it(
    tmp_path: Path, file: str, edits: dict[str, str], tests: tuple[str, ...], covered: str
) -> None:
    plans = _plans(ROOT)
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    patched = tmp_path / file
    text = patched.read_text()
    for old, new in edits.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    patched.write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:xdist", "-o", "addopts=", "-m", "not slow", "-k", covered]
    run = subprocess.run(
        [*command, *(f"tests/{name}" for name in tests)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert run.stdout.count("PASSED") >= 1
    assert covered in run.stdout
    assert _plans(tmp_path) == plans


@cache
def _plans(root: Path) -> str:
    """Keys and conditions of every trial that the demo and the paper's space plan, computed by a copy of the project."""
    code = """
from search_spaces import DEMO, PAPER
from study.plan import make_plan
from trainables import Folder
for space in (DEMO, PAPER):
    plan = make_plan(space, storage=Folder.at("nowhere"))
    for entry in plan.entries:
        if entry.cell.recipe.name != "late":
            print(entry, plan.trial(entry).key, *entry.conditions)
"""
    return subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
