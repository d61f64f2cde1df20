"""Provenance of a result: commit, command, hardware, versions, and the code that computes it."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path

from bnn.errors import without_password
from bnn.job_environment import JobEnvironment


@cache
def commit() -> str:
    """Commit of the source tree, with `+` for uncommitted changes; `unknown` outside a checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != root:
            return "unknown"
        changed = git("status", "--porcelain", "--", "bnn", "conf", "sweeps/hydra_plugins")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


LIBRARIES = ("torch", "numpy", "scikit-learn", "scipy")
"""Libraries that compute results."""
ROOTS = ("bnn.build", "bnn.training.loop")
"""Modules that build and train: a result depends on them and on all that they import."""


def computing_modules() -> dict[str, Path]:
    """Files of the modules of this package that `ROOTS` import, directly or not, by name."""
    package, found, left = Path(__file__).parents[1], dict[str, Path](), list(ROOTS)
    while left:
        name = left.pop()
        place = package.joinpath(*name.split(".")[1:])
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if name not in found and path.is_file():
            found[name] = path
            left += _imported(ast.parse(path.read_bytes()))
    return found


def _imported(tree: ast.AST) -> list[str]:
    """Dotted names that a module imports from this package, with the packages that hold them."""
    names: list[str] = []
    for node in _at_run_time(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bnn":
            names += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names if alias.name.startswith("bnn.")]
    names += [name.rpartition(".")[0] for name in names if name.count(".") > 1]
    return [name for name in names if name != "bnn"]


def _at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a module, without blocks under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from _at_run_time(node)


class _Computation(ast.NodeTransformer):
    """Transformer that removes docstrings and texts of errors, which compute nothing."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if text else node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise()


@cache
def _code() -> bytes:
    """Digest of the code and the libraries that compute a result, without comments and texts."""
    content = hashlib.sha256()
    content.update(" ".join(f"{name} {version(name)}" for name in LIBRARIES).encode())
    for name, path in sorted(computing_modules().items()):
        tree = _Computation().visit(ast.parse(path.read_bytes()))
        content.update(f"{name}\n{ast.dump(tree)}\n".encode())
    return content.digest()


def result_key(digest: str, plugins: Iterable[object] = ()) -> str:
    """12 hexadecimal digits of everything that determines a result.

    Args:
        digest: of the configuration, which names the data set; its files are held to published
            checksums whenever they are read, or else are in the digest.
        plugins: loaded plug-ins, which show their version and a digest of their source.
    """
    content = digest.encode() + _code() + "".join(map(str, plugins)).encode()
    return hashlib.sha256(content).hexdigest()[:12]


def command() -> str:
    """Command line of this process; in a job, the command line of its sweep."""
    if (job := JobEnvironment.current()) is not None:
        return job.command
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    name = spec.name.removesuffix(".__main__") if spec is not None else ""
    program = f"python -m {name}" if name else Path(sys.argv[0]).name
    return without_password(" ".join([program, *map(shlex.quote, sys.argv[1:])]))


@cache
def processor() -> str:
    """Name of the processor, and the number of cores that this process may use."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        name = names[0] if names else name
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores"


def hardware(device: str) -> str:
    """Name of the hardware behind a device: the GPU, or the processor and its cores."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()


def describe(device: str) -> dict[str, str]:
    """Command, commit, hardware and versions of a result on `device`."""
    return {
        "command": command(),
        "commit": commit(),
        "hardware": hardware(device),
        "versions": versions(),
    }


def versions() -> str:
    """Versions of Python and of the main libraries, in one line."""
    names = ("torch", "hydra-core", "mlflow")
    return ", ".join(
        [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]
    )
