"""The map of the house: which room may import which, and what no room but one may import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bnn

PACKAGE = Path(bnn.__file__).parent
ROOT = PACKAGE.parent

FORBIDDEN = {
    "noise": ("neurons", "passes", "estimators", "models", "training", "tracking", "data", "config", "build"),
    "schedules": ("neurons", "passes", "estimators", "models", "training", "tracking", "data", "config", "build"),
    "neurons": ("passes", "estimators", "models", "training", "tracking", "data", "config", "build"),
    "surrogates": ("passes", "estimators", "models", "training", "tracking", "data", "config", "build"),
    "passes": ("estimators", "models", "training", "tracking", "data", "config", "build"),
    "estimators": ("models", "training", "tracking", "data", "config", "build", "report", "lab", "visual"),
    "models": ("estimators", "training", "tracking", "data", "config", "build", "report", "lab", "visual"),
    "data": ("neurons", "passes", "estimators", "models", "training", "tracking", "config", "build", "report", "visual"),
    "training": ("tuning", "tracking", "config", "report", "figures", "job", "build", "lab", "visual"),
    "tuning": ("tracking", "report", "figures", "job", "lab", "visual"),
    "lab": ("tracking", "report", "visual"),
    "visual": ("tracking", "tuning", "job", "report"),
    "snapshots": ("estimators", "models", "tracking", "report", "lab", "tuning", "job", "visual"),
    "report": ("training", "estimators", "models", "job", "lab", "tuning", "visual"),
}
"""Rooms, and the rooms they must not reach for: data flows one way."""


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files(room: str) -> list[Path]:
    return [PACKAGE / f"{room}.py"] if (PACKAGE / f"{room}.py").exists() else sorted((PACKAGE / room).glob("**/*.py"))


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_do_not_reach_upwards(room: str) -> None:
    assert files(room)
    for path in files(room):
        for forbidden in FORBIDDEN[room]:
            taken = {name for name in imports(path) if name == f"bnn.{forbidden}" or name.startswith(f"bnn.{forbidden}.")}
            assert not taken, f"{path.relative_to(ROOT)} imports {taken}"


def test_only_tracking_imports_mlflow_only_tuning_optuna_and_only_entries_hydra() -> None:
    hydra_rooms = {"train.py", "job.py", "config.py"}
    for path in PACKAGE.glob("**/*.py"):
        names = {name.split(".")[0] for name in imports(path)}
        assert "mlflow" not in names or path.parent.name == "tracking", path
        assert "optuna" not in names or path.parent.name == "tuning", path
        assert "hydra" not in names or path.name in hydra_rooms, path


MODULES = ["bnn", "bnn.train", "bnn.job", "bnn.config", "bnn.plugins", "bnn.data", "bnn.report", "bnn.tuning.settings"]


@pytest.mark.parametrize("module", MODULES)
def test_entries_import_neither_torch_nor_mlflow(module: str) -> None:
    code = f"import sys, {module}; print([m for m in ('torch', 'mlflow', 'matplotlib', 'optuna') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_no_file_is_named_for_what_it_is_not() -> None:
    banned = {"utils", "helpers", "manager", "misc", "common"}
    assert not [path for path in ROOT.glob("*/**/*.py") if path.stem in banned and ".venv" not in path.parts]
