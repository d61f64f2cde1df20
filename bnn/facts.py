"""What a result stands on beside its configuration: commit, command, hardware, versions."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from bnn.config import without_password


@cache
def commit() -> str:
    """The commit of the source tree, `+` appended when it has uncommitted changes; `unknown` outside a checkout."""
    root = Path(__file__).resolve().parent.parent

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


WATCHING = ("benchmark", "lab", "report", "sweeps", "tracking", "tuning", "visual", "errors.py", "facts.py", "figures.py",
            "forecast.py", "functional.py", "job.py", "library.py", "plugins.py", "predict.py", "shell.py", "snapshots.py",
            "sync.py", "tables.py", "testing.py", "train.py")  # fmt: skip
"""What watches and compares runs, and does not move their results."""
LIBRARIES = ("torch", "numpy", "scikit-learn", "scipy")
"""Those that compute results."""


@cache
def _code() -> bytes:
    """The source and the libraries that compute a result."""
    package, content = Path(__file__).parent, hashlib.sha256()
    content.update(" ".join(f"{name} {version(name)}" for name in LIBRARIES).encode())
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        if parts[0] not in WATCHING:
            content.update("/".join(parts).encode() + path.read_bytes())
    return content.digest()


def result(digest: str, plugins: Iterable[object] = ()) -> str:
    """12 hexadecimal digits of what determines a result: the digest of a plan, which names its data set (whose files are
    held to published checksums whenever they are read, or else are in the digest), the source, and the versions of the
    libraries.

    plugins: those that are loaded, which show their version and a digest of their source (bnn.plugins.Plugin)."""
    return hashlib.sha256(
        digest.encode() + _code() + "".join(map(str, plugins)).encode()
    ).hexdigest()[:12]


COMMAND = "BNN_COMMAND"
"""The environment variable by which a sweep hands its own command line to its jobs."""


def command() -> str:
    """The command line that a user typed for this run: the sweep's, in a job of a sweep."""
    if COMMAND in os.environ:
        return os.environ[COMMAND]
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    program = (
        f"python -m {spec.name.removesuffix('.__main__')}"
        if spec is not None
        else Path(sys.argv[0]).name
    )
    return without_password(" ".join([program, *map(shlex.quote, sys.argv[1:])]))


@cache
def processor() -> str:
    """The processor's name and the number of cores this process may use."""
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
    """The hardware that a run on `device` uses."""
    import torch

    return torch.cuda.get_device_name(device) if device.startswith("cuda") else processor()


def all_of(device: str) -> dict[str, str]:
    """What a result on `device` stands on."""
    return {
        "command": command(),
        "commit": commit(),
        "hardware": hardware(device),
        "versions": versions(),
    }


def versions() -> str:
    names = ("torch", "hydra-core", "mlflow")
    return ", ".join(
        [f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]
    )
