"""Executes the notebook. `python -m tests.notebook`, which `make notebook` calls, writes the outputs into it."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parents[1] / "analysis" / "recovery.ipynb"


def executed() -> NotebookNode:
    """The notebook with the outputs of all cells, run in its own folder with this process's environment, without timestamps."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=300, record_timing=False, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    return client.execute()


if __name__ == "__main__":
    nbformat.write(executed(), NOTEBOOK)
