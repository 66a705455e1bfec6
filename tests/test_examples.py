"""The examples, run as a user would: copied out of the repository, with the environment that STUDY_ENVIRONMENT names.

`make wheel` sets it to an environment that contains only the built wheel and its dependencies.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainables.scenes import street

pytestmark = pytest.mark.wheel

EXAMPLES = Path(__file__).parents[1] / "examples"
STUDY = Path(os.environ.get("STUDY_ENVIRONMENT", sys.prefix)) / "bin" / "study"


def study(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command: list[str | Path] = [STUDY, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def launch(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of an example, used as launch directory."""
    return Path(shutil.copytree(EXAMPLES / request.param, tmp_path / "launch"))


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two classes of 60 images; the class is the direction of fine stripes over a street."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:48, 0:64]
    for name, phase in (("across", y), ("along", x)):
        (tmp_path / "folders" / name).mkdir(parents=True)
        for index in range(60):
            stripes = 24 * np.sign(np.sin(phase * rng.uniform(1.4, 1.8) + rng.uniform(0, 6)))[..., None]
            image = np.clip(street(3, index).rgb[::2, ::2].astype(float) + stripes, 0, 255).astype(np.uint8)
            Image.fromarray(image).save(tmp_path / "folders" / name / f"{index:03d}.png")
    return tmp_path / "folders"


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A Pascal VOC tree: discs of two colours on a plain background, 24 training, 6 validation and 12 test images."""
    root, rng = tmp_path / "cells", np.random.default_rng(0)
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / part).mkdir(parents=True)
    names = {"train": range(24), "val": range(24, 30), "test": range(30, 42)}
    for part, numbers in names.items():
        (root / "ImageSets" / "Main" / f"{part}.txt").write_text("".join(f"{number:03d}\n" for number in numbers))
        for number in numbers:
            _cell(root, f"{number:03d}", rng)
    return root


def _cell(root: Path, name: str, rng: np.random.Generator) -> None:
    y, x = np.mgrid[0:120, 0:160]
    image, objects = np.full((120, 160, 3), 210, np.uint8), ""
    for kind, colour in (("red", (200, 90, 90)), ("white", (120, 90, 160))):
        cx, cy, radius = int(rng.integers(25, 135)), int(rng.integers(25, 95)), int(rng.integers(10, 20))
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = colour
        corners = (("xmin", cx - radius), ("ymin", cy - radius), ("xmax", cx + radius), ("ymax", cy + radius))
        box = "".join(f"<{side}>{value}</{side}>" for side, value in corners)
        objects += f"<object><name>{kind}</name><bndbox>{box}</bndbox></object>"
    Image.fromarray(image).save(root / "JPEGImages" / f"{name}.jpg", quality=95)
    (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")


def recovered(folder: Path, space: str) -> list[dict[str, Any]]:
    tables = json.loads(study(folder, "report", space, "--json").stdout)
    return list(tables["studies"][space]["recovery"])


@pytest.mark.parametrize("launch", ["image_classification"], indirect=True)
@pytest.mark.trained
def test_a_users_task_can_be_checked_run_and_reported(launch: Path, folders: Path) -> None:
    data = ("--data", f"folders={folders}")
    checked = study(launch, "check", "class_folders:STUDY", *data)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "architecture classifier: 15 checks passed" in checked.stdout
    ran = study(launch, "run", "class_folders:STUDY", "*/constant-5", *data)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    clean = next(row for row in recovered(launch, "class_folders") if row["condition"] == "clean")
    assert clean["baseline"] > 0.8


@pytest.mark.parametrize("launch", ["blood_cells"], indirect=True)
def test_a_users_network_can_be_run_reported_and_evaluated(launch: Path, cells: Path) -> None:
    data = ("--data", f"bccd={cells}")
    ran = study(launch, "run", "my_study.spaces:BLOOD", "my_net/jpeg/constant-10", *data)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    rows = recovered(launch, "blood")
    assert {row["cell"] for row in rows} == {"my_net/jpeg/constant-10"}
    trained = next((launch / "runs" / "trials").glob("*/weights.pt"))
    own = study(launch, "evaluate", "my_study.spaces:MY_NET", str(trained), "--space", "my_study.spaces:BLOOD", *data, "--json")
    assert own.returncode == 0, own.stderr
    assert len(json.loads(own.stdout)["scores"]) == 7


@pytest.mark.parametrize("launch", ["image_classification"], indirect=True)
@pytest.mark.parametrize(
    ("correct", "wrong", "message"),
    [
        ("import cv2", "import cv3", "cannot import class_folders (ModuleNotFoundError: No module named 'cv3')"),
        (
            "    def decode(",
            "    def decoded(",
            "TypeError: Can't instantiate abstract class Classifier with abstract method decode",
        ),
        ('    return {"top1":', '    return {"top2":', "score: missing top1; not declared in `metrics`: top2"),
        (
            '{"image": np.ascontiguousarray(image.transpose(2, 0, 1))',
            '{"image": str(image)',
            "AttributeError: 'list' object has no",
        ),
    ],
)
def test_check_reports_a_mistake_in_one_line(launch: Path, folders: Path, correct: str, wrong: str, message: str) -> None:
    module = launch / "class_folders.py"
    assert correct in module.read_text()
    module.write_text(module.read_text().replace(correct, wrong))
    data = ("--data", "classification=class_folders:FOLDERS", "--data", f"folders={folders}")
    checked = study(launch, "check", "class_folders:CLASSIFIER", *data)
    assert checked.returncode in {1, 2}
    output = checked.stdout + checked.stderr
    assert sum(message in line for line in output.splitlines()) == 1, output
