"""Architecture: one ordered list of layers, and the libraries that one package alone imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bnn

PACKAGE = Path(bnn.__file__).parent
ROOT = PACKAGE.parent

LAYERS = (
    ("errors", "paths"),
    ("registry", "seeds", "tables"),
    ("plugins",),
    ("config",),
    ("facts",),
    ("data", "nn"),
    ("tasks",),
    ("estimators", "models"),
    ("functional", "testing", "training"),
    ("build",),
    ("figures", "forecast", "snapshots"),
    ("lab", "tracking", "tuning", "visual"),
    ("job", "library", "predict", "report", "sync"),
    ("benchmark", "shell", "train"),
)
"""Every package and module of bnn, from the ground up: each imports from the lines above it alone."""
RANK = {name: line for line, names in enumerate(LAYERS) for name in names}


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own_imports(path: Path) -> set[str]:
    """Packages and modules of bnn that a file imports, as they stand in LAYERS."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("bnn.")} & set(RANK)


def test_every_package_and_module_has_its_layer() -> None:
    there = {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }
    assert set(RANK) == there - {"__init__"}


@pytest.mark.parametrize("name", sorted(RANK))
def test_imports_go_to_lower_layers_alone(name: str) -> None:
    files = (
        [PACKAGE / f"{name}.py"]
        if (PACKAGE / f"{name}.py").exists()
        else sorted((PACKAGE / name).glob("**/*.py"))
    )
    assert files
    for path in files:
        upwards = {other for other in own_imports(path) - {name} if RANK[other] >= RANK[name]}
        assert not upwards, f"{path.relative_to(ROOT)} imports {sorted(upwards)}"


def test_only_tracking_imports_mlflow_only_tuning_optuna_and_only_entries_hydra() -> None:
    hydra_rooms = {"train.py", "job.py", "config.py"}
    for path in PACKAGE.glob("**/*.py"):
        names = {name.split(".")[0] for name in imports(path)}
        assert "mlflow" not in names or path.parent.name == "tracking", path
        assert "optuna" not in names or path.parent.name == "tuning", path
        assert "hydra" not in names or path.name in hydra_rooms, path


MODULES = [
    "bnn",
    "bnn.train",
    "bnn.runs.job",
    "bnn.config",
    "bnn.plugins",
    "bnn.data",
    "bnn.report",
    "bnn.tuning.settings",
]


@pytest.mark.parametrize("module", MODULES)
def test_entries_import_neither_torch_nor_mlflow(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'mlflow', 'matplotlib', 'optuna') if m in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


def test_no_file_is_named_for_what_it_is_not() -> None:
    banned = {"utils", "helpers", "manager", "misc", "common"}
    assert not [
        path for path in ROOT.glob("*/**/*.py") if path.stem in banned and ".venv" not in path.parts
    ]
