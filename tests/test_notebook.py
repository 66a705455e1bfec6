"""The notebook runs from either source and contains nothing about the machine that it ran on."""

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbformat import NotebookNode

from analysis.results import export
from analysis.tracking import load
from tests.notebook import NOTEBOOK, executed

if TYPE_CHECKING:
    from tests.tiny import Launched

MACHINE = ("/tmp", "/home", "/root", "/Users", "site-packages", str(NOTEBOOK.parents[1]))  # noqa: S108


def told(notebook: NotebookNode) -> str:
    """Metadata and outputs of a notebook, without the sources of its cells."""
    return str([notebook.metadata, *((cell.metadata, cell.get("outputs")) for cell in notebook.cells)])


@pytest.fixture
def private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("STUDY_NAME", "tiny")


@pytest.mark.slow
@pytest.mark.usefixtures("private")
def test_the_notebook_gives_the_same_outputs_from_mlflow_and_from_the_export(
    launched: "Launched", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(load(launched.uri, "tiny"), tmp_path / "export")
    monkeypatch.setenv("STUDY_EXPORT", str(tmp_path / "export"))
    from_export = executed()
    monkeypatch.setenv("STUDY_TRACKING_URI", launched.uri)
    from_mlflow = executed()
    assert "3 finished trials, read from the parquet export" in told(from_export)
    assert "segnet/jpeg/constant-5" in told(from_export)
    assert told(from_mlflow) == told(from_export).replace("the parquet export", "MLflow")
    assert not [part for part in MACHINE if part in told(from_export)]
    assert not [output for cell in from_export.cells for output in cell.get("outputs", ()) if output.output_type == "stream"]


def test_the_committed_notebook_names_no_machine_and_has_no_errors() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not [part for part in MACHINE if part in told(notebook)]
    assert not [cell for cell in notebook.cells for output in cell.get("outputs", ()) if output.output_type == "error"]
