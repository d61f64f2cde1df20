"""Architecture: one ordered list of layers, and the libraries that one package alone imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import bnn
from bnn.config import provenance

PACKAGE = Path(bnn.__file__).parent
ROOT = PACKAGE.parent
PLUGINS = ROOT / "sweeps" / "hydra_plugins" / "bnn_sweepers"

LAYERS = (
    "closed_pipe errors interruption lazy paths schema version",
    "job_environment registry seeds tables",
    "plugins",
    "data nn",
    "config",
    "tasks",
    "estimators models",
    "functional testing training",
    "build combinations",
    "restore specify",
    "fitted",
    "analysis",
    "plots",
    "lab tracking",
    "runs",
    "tuning",
    "export job library predict report shell summary sync",
    "benchmark train",
    "__main__ hydra_plugins",
)
"""Packages and modules of bnn from the ground up: each imports from the lines above it alone."""
RANK = {name: line for line, names in enumerate(LAYERS) for name in names.split()}

FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
} | {f"bnn.hydra_plugins.{path.stem}": path for path in PLUGINS.glob("*.py")}


def runtime_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a module, without those that type checkers alone see."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from runtime_nodes(node)


def imports(path: Path) -> set[str]:
    """Names that a module imports, wherever it does."""
    found: set[str] = set()
    for node in runtime_nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            found |= {f"bnn.hydra_plugins.{node.module}"}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def layer_of(module: str) -> str:
    return module.split(".")[1]


GRAPH = {
    module: {name for name in imports(path) if name in FILES and name != "bnn"}
    for module, path in FILES.items()
    if module != "bnn"
}
"""Modules of bnn that each module imports; `bnn` itself imports lazily."""


def test_every_package_and_module_has_its_layer() -> None:
    assert set(RANK) == {layer_of(module) for module in GRAPH}


@pytest.mark.parametrize("name", sorted(RANK))
def test_imports_go_to_lower_layers_alone(name: str) -> None:
    for module in (module for module in GRAPH if layer_of(module) == name):
        others = {other for other in GRAPH[module] if layer_of(other) != name}
        upwards = {other for other in others if RANK[layer_of(other)] >= RANK[name]}
        assert not upwards, f"{module} imports {sorted(upwards)}"


def test_no_modules_import_each_other_in_a_cycle() -> None:
    graph = {
        module: {
            other
            for other in found
            # a package's __init__ lists its modules, and each of them imports the package
            if not f"{module}.".startswith(f"{other}.") and not f"{other}.".startswith(f"{module}.")
        }
        for module, found in GRAPH.items()
    }
    list(TopologicalSorter(graph).static_order())


ONLY_IN = {
    "mlflow": ("tracking",),
    "optuna": ("tuning",),
    "hydra": ("config", "runs", "tuning", "job", "train", "hydra_plugins"),
}
"""Libraries, and the packages and modules that may import them."""


@pytest.mark.integration
@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_is_imported_in_its_own_packages_alone(library: str) -> None:
    users = {
        layer_of(module)
        for module, path in FILES.items()
        if module != "bnn" and library in {name.split(".")[0] for name in imports(path)}
    }
    assert users == set(ONLY_IN[library])


ADAPTERS = {
    "hydra._internal": "sweeps/hydra_plugins/bnn_sweepers/sweeper.py",
    "override._value": "bnn/config/hydra_adapter.py",
    "._storage": "bnn/tuning/optuna_adapter.py",
    "._study_id": "bnn/tuning/optuna_adapter.py",
    "._to_mlflow_entity": "bnn/tracking/mlflow_adapter.py",
    "._tracking_client": "bnn/tracking/mlflow_adapter.py",
    "artifact_repository_registry": "bnn/tracking/mlflow_adapter.py",
    "mlflow.sharedViewState": "bnn/tracking/mlflow_adapter.py",
}
"""Private names of other libraries, and the one file that may use them."""


@pytest.mark.parametrize("private", sorted(ADAPTERS))
def test_a_private_name_of_a_library_is_used_in_its_adapter_alone(private: str) -> None:
    users = {path for path in FILES.values() if private in path.read_text()}
    assert {path.relative_to(ROOT).as_posix() for path in users} == {ADAPTERS[private]}


TOP_IMPORTS = ("config", "runs", "tracking", "tuning", "hydra_plugins")
LATE = ("import torch", "mlflow.pytorch", "optuna.visualization", "matplotlib", "PIL")
"""Modules that take seconds to import, and that few runs need."""


TOP = sorted(m for m in GRAPH if layer_of(m) in TOP_IMPORTS and not m.endswith("__main__"))


@pytest.mark.parametrize("module", TOP)
def test_imports_stand_at_the_top_of_a_file(module: str) -> None:
    tree = ast.parse(FILES[module].read_text())
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    inner = [n for function in functions for n in ast.walk(function)]
    late = [ast.unparse(n) for n in inner if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not [text for text in late if not any(name in text for name in LATE)]


def test_the_hydra_plugins_are_shells() -> None:
    assert sum(len(path.read_text().splitlines()) for path in PLUGINS.glob("*.py")) <= 400


LIGHT = ("bnn", "bnn.train", "bnn.job", "bnn.config", "bnn.plugins", "bnn.data", "bnn.report",
         "bnn.tuning.settings", "bnn.__main__")  # fmt: skip
HEAVY = ("torch", "mlflow", "matplotlib", "optuna")


@pytest.mark.parametrize("module", LIGHT)
def test_entries_import_no_heavy_library(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_result_depends_on_what_builds_and_trains_alone() -> None:
    """Progress bars, tracking, reports and the lab do not invalidate `resume`."""
    computing = set(provenance.computing_modules())
    layers = {layer_of(module) for module in computing}
    assert {"nn", "estimators", "models", "data", "tasks", "training", "build"} <= layers
    assert not layers & {"config", "plugins", "tracking", "runs", "tuning", "report", "lab"}
    assert "bnn.training.progress" not in computing
    assert not [module for module in computing if GRAPH[module] - computing]


def test_a_comment_or_the_text_of_an_error_does_not_change_a_result_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(text: str) -> str:
        (tmp_path / "module.py").write_text(text)
        monkeypatch.setattr(
            provenance, "computing_modules", lambda: {"bnn.module": tmp_path / "module.py"}
        )
        provenance._code.cache_clear()
        return provenance.result_key("digest")

    try:
        first = key(
            '"""Doc."""\ndef f(x):\n    if x:\n        raise ValueError("one")\n    return 1\n'
        )
        text = key(
            '"""Other."""\n# why\ndef f(x):\n    if x:\n        raise ValueError(2)\n    return 1\n'
        )
        other = key(
            '"""Doc."""\ndef f(x):\n    if x:\n        raise ValueError("one")\n    return 2\n'
        )
    finally:
        provenance._code.cache_clear()
    assert first == text != other


def test_no_file_is_named_for_nothing() -> None:
    banned = {"utils", "helpers", "manager", "misc", "common"}
    assert not [
        path for path in ROOT.glob("*/**/*.py") if path.stem in banned and ".venv" not in path.parts
    ]
