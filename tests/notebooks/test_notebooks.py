"""The notebooks run from a fresh kernel on small inputs, and what is committed came from a run."""

import ast
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

FOLDER = Path("notebooks")
# Over the cell tagged `parameters`.
SMALL = {
    "01_how_it_chooses": "POINTS = 8",
    "02_calibration": "REQUESTS = 700",
    "03_capacity_and_cost": "USERS = CHECKED_USERS = 2_000\nCHECK_S = 5.0\nDEADLINES_S = [3, 5]",
    "04_beside_the_peers": "REQUESTS = 50\nTUNING = 60\nSEEDS = (1, 2)",
}


def read(name: str) -> NotebookNode:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook: NotebookNode) -> int:
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_every_notebook_is_run_here() -> None:
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(SMALL)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.timeout(300)
def test_a_notebook_runs_on_small_inputs_and_draws_each_of_its_plots(name: str) -> None:
    # Given a notebook as committed, with smaller parameters
    notebook = read(name)
    (parameters,) = [c for c in code(notebook) if "parameters" in c.metadata.get("tags", [])]
    parameters.source += "\n" + SMALL[name]
    drawn = pictures(notebook)
    # When it is run where a reader would run it
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(FOLDER)}}).execute()
    # Then no cell fails, and it draws what the committed one shows
    assert pictures(notebook) == drawn >= 2


@pytest.mark.parametrize("name", SMALL)
def test_a_notebook_defines_nothing_and_its_plots_are_labelled(name: str) -> None:
    for cell in code(read(name)):
        nodes = list(ast.walk(ast.parse(cell.source)))
        defined = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        assert not any(isinstance(node, defined) for node in nodes)
        if "plt.show()" in cell.source:
            assert "title=" in cell.source and "xlabel=" in cell.source


@pytest.mark.parametrize("name", SMALL)
def test_committed_outputs_come_from_one_run_without_errors(name: str) -> None:
    cells = code(read(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not any(output.output_type == "error" for cell in cells for output in cell.outputs)
