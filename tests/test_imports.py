"""Who may import whom, in which order rooms stand, and that the engine knows no task by name."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from trainables import ARCHITECTURES, DATASETS
from trainables.tasks import ROOMS

ROOT = Path(__file__).parents[1]
PROJECT = {"study", "trainables", "search_spaces", "analysis"}
TASKS = {room.__name__.rpartition(".")[2] for room in ROOMS}
ORDER = {
    "trainables": (
        *("contracts", "lookup", "scenes", "codecs", "recipes", "data", "store", "networks", "engine", "tasks", "trials"),
        *("", "ray_trainable"),
    ),
    "study": (
        *("cells", "flags", "plan", "projection", "tracking", "cluster", "lock", "weights", "searcher", "progress", "reporter"),
        *("run", "evaluate", "overview", "check", "", "__main__"),
    ),
    "analysis": (
        *("estimands", "paper", "results", "tracking", "recovery", "words", "provenance", "figures", "page", "published", "report"),
        "",
    ),
    "search_spaces": ("space", "demo", "paper", "real", "schedules", "dose", "transfer", "offset", "augmentation", ""),
}
"""The rooms of each package from bottom to top; the empty name is the package itself. A room imports only from rooms below it."""


def imports(source: str) -> Iterator[str]:
    """Every module that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def violations(file: str, source: str) -> list[str]:
    """The imports of one file that the rules forbid; `file` is its path in the project."""
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
        return top in {"study", "ray", "optuna", "pyarrow", "rich", "psutil", "filelock"} or module in {
            "trainables",
            "search_spaces",
            "trainables.ray_trainable",
        }
    if top in PROJECT - {"trainables"} | {"mlflow", "pandas"}:
        return False
    if top == "ray":
        return parts == ("trainables", "ray_trainable")
    if top == "trainables" and parts[1] == "tasks" and len(parts) > 3:
        other = module.split(".")[2] if module.startswith("trainables.tasks.") else ""
        return other not in TASKS - {parts[2]}
    return True


def room_of(parts: Sequence[str]) -> str:
    """The room of a module, by its dotted parts: the first name below the package; empty for the package itself."""
    return parts[1] if len(parts) > 1 and parts[1] != "__init__" else ""


def modules(source: str) -> Iterator[str]:
    """Every module that a file imports; `from package import name` counts as `package.name` where that is a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = ROOT.joinpath(*node.module.split("."), alias.name)
                yield f"{node.module}.{alias.name}" if inner.is_dir() or inner.with_suffix(".py").is_file() else node.module


def upward(file: str, source: str) -> list[str]:
    """The imports of one file from rooms above its own, within its package."""
    parts = Path(file).with_suffix("").parts
    order, own = ORDER[parts[0]], room_of(parts)
    found = []
    for module in modules(source):
        names = module.split(".")
        if names[0] == parts[0] and room_of(names) != own and order.index(room_of(names)) > order.index(own):
            found.append(module)
    return found


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


@pytest.mark.parametrize("path", [path for package in sorted(PROJECT) for path in files(package)], ids=str)
def test_a_module_imports_only_from_rooms_below_its_own(path: Path) -> None:
    assert upward(str(path.relative_to(ROOT)), path.read_text()) == []


@pytest.mark.parametrize("package", sorted(PROJECT))
def test_the_order_lists_every_room(package: str) -> None:
    assert {room_of(path.relative_to(ROOT).with_suffix("").parts) for path in files(package)} == set(ORDER[package])


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("trainables/store/packs.py", "import trainables.engine.training"),
        ("trainables/codecs/stills.py", "from trainables import train"),
        ("trainables/engine/loading.py", "def f():\n    from trainables.tasks import ARCHITECTURES"),
        ("study/plan.py", "from study.tracking import Tracker"),
        ("analysis/results.py", "from analysis import page"),
    ],
)
def test_an_import_from_a_room_above_is_found(file: str, line: str) -> None:
    assert upward(file, line)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("search_spaces/demo.py", "import trainables"),
        ("trainables/engine/training.py", "import ray"),
        ("trainables/engine/evaluation.py", "from mlflow.tracking import MlflowClient"),
        ("trainables/codecs/stills.py", "import study.plan"),
        ("study/plan.py", "import torch"),
        ("study/plan.py", "from trainables.tasks.segmentation.segnet import SegNet"),
        ("trainables/tasks/pose/metrics.py", "from trainables.tasks.detection import boxes"),
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
    """Names of all tasks, architectures and data sets."""
    return {*ARCHITECTURES, *DATASETS, *(architecture.task.name for architecture in ARCHITECTURES.values())}


@pytest.mark.parametrize("path", files("study"), ids=str)
def test_the_engine_names_no_task_architecture_or_data_set(path: Path) -> None:
    assert names() & set(strings(path.read_text())) == set()


def test_a_task_name_in_the_engine_is_found() -> None:
    assert names() & set(strings('"""segmentation"""\nif task == "segmentation":\n    pass'))


def test_the_tables_load_without_torch() -> None:
    code = "import sys, trainables, study.plan, search_spaces; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_analysis_works_without_mlflow() -> None:
    rooms = "analysis.recovery, analysis.paper.quotes, analysis.page, analysis.published.__main__"
    code = f"import sys, {rooms}; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
