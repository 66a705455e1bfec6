"""Who may import whom, and that the engine knows no task by name."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainables import ARCHITECTURES, DATASETS, ROOMS

ROOT = Path(__file__).parents[1]
PROJECT = {"study", "trainables", "search_spaces", "analysis"}
TASKS = {room.__name__.rpartition(".")[2] for room in ROOMS}


def imports(source: str) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def violations(file: str, source: str) -> list[str]:
    """The imports of one file, by its path in the project, that the rules forbid."""
    parts = Path(file).with_suffix("").parts
    return [module for module in imports(source) if not allowed(parts, module)]


def allowed(parts: tuple[str, ...], module: str) -> bool:
    package, top = parts[0], module.partition(".")[0]
    if top in sys.stdlib_module_names:
        return True
    if package == "search_spaces":
        return top in {"search_spaces", "optuna"}
    if package == "analysis":
        if top == "mlflow":
            return parts == ("analysis", "tracking")
        return top in {"analysis", "pandas", "numpy", "scipy", "matplotlib", "jinja2", "pyarrow", "rich"}
    if package == "study":
        if top == "analysis":
            return parts == ("study", "__main__")
        if top == "mlflow":
            return parts == ("study", "tracking")
        return top in {"study", "ray", "optuna", "pyarrow", "rich", "psutil"} or module in {
            "trainables",
            "search_spaces",
            "trainables.ray_trainable",
        }
    if top in PROJECT - {"trainables"} | {"mlflow", "pandas"}:
        return False
    if top == "ray":
        return parts == ("trainables", "ray_trainable")
    if top == "trainables" and parts[1] in TASKS:
        other = module.split(".")[1] if "." in module else ""
        return other not in TASKS - {parts[1]}
    return True


def strings(source: str) -> Iterator[str]:
    """Every string constant of a file but its docstrings."""
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            docstrings |= {id(each.value) for each in body if isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", [path for package in sorted(PROJECT) for path in files(package)], ids=str)
def test_a_module_imports_only_what_its_package_may(path: Path) -> None:
    assert violations(str(path.relative_to(ROOT)), path.read_text()) == []


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("search_spaces/demo.py", "import trainables"),
        ("trainables/training.py", "import ray"),
        ("trainables/evaluation.py", "from mlflow.tracking import MlflowClient"),
        ("trainables/codecs.py", "import study.plan"),
        ("study/plan.py", "import torch"),
        ("study/plan.py", "from trainables.tasks.segmentation.segnet import SegNet"),
        ("study/run.py", "import mlflow"),
        ("study/run.py", "def f():\n    import analysis.report"),
        ("analysis/report.py", "import trainables"),
        ("analysis/report.py", "from ray import tune"),
        ("analysis/report.py", "import mlflow"),
    ],
)
def test_a_forbidden_import_is_found(file: str, line: str) -> None:
    assert violations(file, line)


def names() -> set[str]:
    """Of every task, architecture and data set."""
    return {*ARCHITECTURES, *DATASETS, *(architecture.task for architecture in ARCHITECTURES.values())}


@pytest.mark.parametrize("path", files("study"), ids=str)
def test_the_engine_names_no_task_architecture_or_data_set(path: Path) -> None:
    assert names() & set(strings(path.read_text())) == set()


def test_a_task_name_in_the_engine_is_found() -> None:
    assert names() & set(strings('"""segmentation"""\nif task == "segmentation":\n    pass'))


def test_the_tables_load_without_torch() -> None:
    code = "import sys, trainables, study.plan, search_spaces; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_analysis_works_without_mlflow() -> None:
    code = "import sys, analysis.results, analysis.recovery, analysis.figures, analysis.page; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
