"""What one file must be enough for: each patch is applied to a copy of the project, whose own conformance tests then take it in."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
ROOMS = ("study", "trainables", "search_spaces", "analysis", "tests")

SCHEDULE = {
    "def schedules(": '''@dataclass(frozen=True, kw_only=True)
class Heaviest:
    """Clean in the first half of the training, the heaviest level in the second."""

    ladder: tuple[int, ...]

    @property
    def levels(self) -> tuple[int | None, ...]:
        """Both."""
        return (None, self.ladder[-1])

    def level(self, progress: float, rng: np.random.Generator) -> int | None:  # noqa: ARG002
        """By progress."""
        return None if progress < 0.5 else self.ladder[-1]


def schedules(''',
    '"uniform": Uniform(ladder=ladder)}': '"uniform": Uniform(ladder=ladder), "late": Heaviest(ladder=ladder)}',
}

CODEC = {
    "CODECS: dict": '''@dataclass(frozen=True, kw_only=True)
class WebP:
    """Lossy WebP by Pillow."""

    name: str = "webp"
    levels: tuple[int, ...] = (95, 75, 50, 15, 5)
    shown: tuple[int, ...] = (15, 5)
    clips: bool = False

    def encode(self, frames: Frames, level: int) -> bytes:
        """At quality 1..100."""
        buffer = io.BytesIO()
        Image.fromarray(frames[0]).save(buffer, "WEBP", quality=level, method=4)
        return buffer.getvalue()

    def decode(self, data: bytes, wanted: Sequence[int] | None = None) -> Frames:
        """To (1, H, W, 3)."""
        try:
            frames = np.asarray(Image.open(io.BytesIO(data), formats=["WEBP"]).convert("RGB"), np.uint8)[None]
        except Exception as error:
            raise ValueError(f"webp: {len(data)} bytes that do not decode") from error
        return frames if wanted is None else frames[list(wanted)]

    def size(self, data: bytes) -> Size:
        """The file's."""
        return Size(len(data))


CODECS: dict''',
    "(Jpeg(), H264())": "(Jpeg(), H264(), WebP())",
    "import hashlib": "import hashlib\nimport io",
    "import numpy.typing as npt": "import numpy.typing as npt\nfrom PIL import Image",
}

VARIANT = {
    "ARCHITECTURES = (": """def _segnet_shallow(hyper: Any, source: Source, steps: int, device: str) -> Learner:
    from trainables.tasks.segmentation.segnet import segnet

    return segnet(replace(hyper, convolutions=(1, 1, 1, 1, 1)), source, steps, device, indices=True)


SEGNET_SHALLOW = replace(SEGNET, name="segnet_shallow", learner=_segnet_shallow)

ARCHITECTURES = (SEGNET_SHALLOW, """,
}


@pytest.mark.parametrize(
    ("file", "edits", "tests", "taken_in"),
    [
        ("trainables/schedules.py", SCHEDULE, ("test_schedules.py", "test_recipes.py"), "late"),
        ("trainables/codecs.py", CODEC, ("test_codecs.py", "test_recipes.py"), "webp"),
        ("trainables/segmentation/__init__.py", VARIANT, ("test_architectures.py",), "segnet_shallow"),
    ],
    ids=["schedule", "codec", "variant"],
)
def test_one_file_is_enough_and_the_conformance_tests_take_it_in(
    tmp_path: Path, file: str, edits: dict[str, str], tests: tuple[str, ...], taken_in: str
) -> None:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    patched = tmp_path / file
    text = patched.read_text()
    for old, new in edits.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    patched.write_text(text)
    command = [sys.executable, "-m", "pytest", "-v", "-o", "addopts=", "-m", "not slow", "-k", taken_in]
    run = subprocess.run(
        [*command, *(f"tests/{name}" for name in tests)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]
    assert run.stdout.count("PASSED") >= 10
    assert taken_in in run.stdout
