"""Memory of a process that trains one run: what each import, the data and each phase add to it.

Nothing heavy is imported before the first row is measured.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from bnn.errors import ConfigError
from bnn.tables import markdown

STATUS, MAPS = Path("/proc/self/status"), Path("/proc/self/smaps")
FIELDS = ("VmRSS", "RssAnon", "RssFile", "VmHWM")
"""Resident memory, its parts of this process alone and of files, and its maximum so far."""
FILES = 5
"""Mapped files that are listed."""


def resident(status: str) -> dict[str, int]:
    """Memory of a process in MiB by field of FIELDS.

    Args:
        status: content of `/proc/PID/status`.
    """
    kib = dict(re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE))
    return {field: int(kib[field]) // 1024 for field in FIELDS}


def mapped(smaps: str) -> Counter[str]:
    """Resident memory of mapped files in KiB, by the name of the file.

    Args:
        smaps: content of `/proc/PID/smaps`.
    """
    found: Counter[str] = Counter()
    for path, kib in re.findall(r" (/\S+)\n(?:[A-Z]\w+:.*\n)*?Rss:\s+(\d+) kB", smaps):
        found[Path(path).name] += int(kib)
    return found


class Account:
    """Memory at named points of a process."""

    def __init__(self) -> None:
        self.points: list[tuple[str, dict[str, int]]] = []

    def point(self, name: str) -> None:
        """Measure now, after the phase of this name."""
        self.points.append((name, resident(STATUS.read_text())))

    def before(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Function that measures as it begins."""

        def measured(*values: Any, **options: Any) -> Any:
            self.point(name)
            return function(*values, **options)

        return measured

    def table(self) -> str:
        """Table of the points, and what each added."""
        rows, last = [], 0
        for name, mib in self.points:
            rows.append([name, f"{mib['VmRSS'] - last:+d}", *(str(mib[key]) for key in FIELDS)])
            last = mib["VmRSS"]
        head = ["after", "added", "resident", "private", "of files", "maximum so far"]
        return markdown(head, rows)


def memory(overrides: Sequence[str]) -> str:
    """Tables of the memory of one run, in MiB; it has to be the first work of a process.

    Args:
        overrides: overrides of bnn.train.

    Raises:
        ConfigError: on a system without `/proc`.
    """
    if not STATUS.is_file():
        raise ConfigError(f"--memory: expected Linux, which has {STATUS}")
    account = Account()
    account.point("Python")
    torch = import_module("torch")
    account.point("torch")
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))])
    account.point("an optimizer, for which torch imports its compiler")
    import_module("bnn.tracking.store")
    account.point("MLflow")
    execute = import_module("bnn.runs.execute")
    account.point("the rest of bnn, Matplotlib, SciPy")
    with contextlib.redirect_stdout(None), TemporaryDirectory() as folder:
        _run(execute, account, overrides, Path(folder))
    account.point("figures, checkpoint and exported model")
    provenance = import_module("bnn.config.provenance")
    largest = mapped(MAPS.read_text()).most_common(FILES)
    files = markdown(["file", "resident"], [[name, str(kib // 1024)] for name, kib in largest])
    return (
        f"`{provenance.command()}`, {provenance.versions()}. MiB of one process; what is of files "
        "is shared by the processes of a machine.\n\n"
        f"{account.table()}\n\nThe largest of the files:\n\n{files}"
    )


def _run(execute: Any, account: Account, overrides: Sequence[str], folder: Path) -> None:
    """One run in a store of its own, with a point before each of its phases."""
    compose, specify = import_module("bnn.config.compose"), import_module("bnn.specify")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    words = ["trainer.progress=none", f"tracking.uri={uri}", *overrides]
    config = compose.compose(words)
    import_module("bnn.data").use_data(config)
    spec = specify.specify(config)
    import_module("bnn.tracking.store").open_store(uri, spec.experiment)
    run, task = execute.MlflowRun, execute.Task
    with (
        _phase(account, execute, "read_dataset", "configuration, store and network"),
        _phase(account, execute, "fit", "data set"),
        _phase(account, task, "evaluations", "training"),
        _phase(account, run, "finish", "evaluation of the test split"),
    ):
        silent = import_module("bnn.training.progress").ProgressBar("none")
        execute.execute(spec, folder, None, "benchmark", progress=silent)


def _phase(account: Account, owner: Any, name: str, previous: str) -> Any:
    """Context in which a function measures as it begins, after the phase before it."""
    return patch.object(owner, name, account.before(previous, getattr(owner, name)))
