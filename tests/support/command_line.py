"""`python -m bnn.train` as a user types it, and the runs that it leaves in MLflow."""

from __future__ import annotations

import atexit
import base64
import contextlib
import io
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from mlflow import MlflowClient

from bnn.tracking import store
from bnn.tracking.pictures import RunPictures
from bnn.training.loop import FitResult
from support.processes import context

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
"""Picture of one pixel."""
UNSEEN = ["tracking.heatmaps=false", "tracking.model=false"]
"""Overrides without the artifacts that take most of the time of a short run."""
QUICK = ["data=digits", "trainer.epochs=1", "trainer.evaluation_samples=2", "device=cpu", *UNSEEN]
"""Overrides of the shortest training: one epoch on scikit-learn's digits."""
SECONDS = 240
"""Limit of one command."""


def environment(**values: str) -> dict[str, str]:
    """Environment of a command: that of this process without MLflow's and the project's variables.

    Args:
        values: variables to set; an empty value removes the variable.
    """
    foreign = ("MLFLOW_TRACKING", "MLFLOW_RUN", "MLFLOW_EXPERIMENT", "BNN")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    return {
        key: value
        for key, value in {**inherited, "OMP_NUM_THREADS": "1", **values}.items()
        if value
    }


def in_new_interpreter(
    folder: Path, *words: str, module: str = "bnn.train", **values: str
) -> subprocess.CompletedProcess:
    """Finished `python -m MODULE WORDS`, with the imports of a new interpreter.

    Args:
        folder: working directory, where the store and the outputs are made.
        words: overrides and flags.
        module: module to run.
        values: environment variables, as in `environment`.
    """
    return subprocess.run(
        [sys.executable, "-m", module, *words],
        cwd=folder,
        env=environment(**values),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


class ReadyStore:
    """An SQLite store of MLflow, which takes seconds to make, copied wherever one is made.

    Attributes:
        path: the store that is copied; it is made when it is first wanted.
    """

    path: Path | None = None
    make = staticmethod(store._make_database)

    @classmethod
    def copy(cls, to: Path) -> None:
        """A new store at a path."""
        assert cls.path is not None
        with store.file_lock(cls.path, store.KEY):
            if not cls.path.exists():
                cls.make(cls.path)
        shutil.copy(cls.path, to)


def _leave_figures_undrawn(pictures: RunPictures, fit: FitResult) -> dict[str, bytes]:
    """Figures of a finished training, which take a third of a second, as pictures of one pixel."""
    return {"curves.png": PNG, "unit_health.png": PNG}


def _run_module(
    module: str, folder: str, words: tuple[str, ...], values: dict[str, str], streams: str,
    ready: Path | None, drawn: bool,
) -> None:  # fmt: skip
    """`python -m MODULE WORDS` within a forked process, with its streams in the folder `streams`.

    Its store is a copy of `ready`, if that is not None.
    """
    for name, stream in (("out", 1), ("error", 2)):
        os.dup2(os.open(f"{streams}/{name}", os.O_WRONLY | os.O_CREAT), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(values)
    if ready is not None:
        ReadyStore.path = ready
        store._make_database = ReadyStore.copy
    if not drawn:
        RunPictures.figures = _leave_figures_undrawn
    sys.argv = [module, *words]
    sys.path[0] = ""
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a child without them


class ForkedCommand:
    """Running `python -m MODULE WORDS`, forked after the imports; its methods are those of `Popen`.

    Args:
        folder: working directory, where the store and the outputs are made.
        words: overrides and flags.
        module: module to run.
        drawn: whether the figures of a finished training are drawn.
        values: environment variables, as in `environment`.

    Attributes:
        stdout: stdout as a stream of text.
        pid: id of the process.
    """

    def __init__(
        self,
        folder: Path,
        *words: str,
        module: str = "bnn.train",
        drawn: bool = False,
        **values: str,
    ) -> None:
        self._streams = tempfile.TemporaryDirectory()
        os.mkfifo(f"{self._streams.name}/out")
        self._process = context.Process(
            target=_run_module,
            args=(
                module, str(folder), words, environment(**values), self._streams.name,
                ReadyStore.path, drawn,
            ),
        )  # fmt: skip
        self._process.start()
        self.pid = int(self._process.pid or 0)
        self.stdout = open(f"{self._streams.name}/out")  # noqa: SIM115

    @property
    def returncode(self) -> int | None:
        """Exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, if it still runs."""
        self._process.kill()

    def wait(self, timeout: float | None = None) -> int | None:
        """Exit code, once the command has ended."""
        self._process.join(timeout)
        return self.returncode

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        """The rest of stdout, and stderr, once the command has ended; it is killed at `timeout`."""
        limit = threading.Timer(timeout, self.kill)
        limit.start()
        with self.stdout, self._streams:
            out = self.stdout.read()
            self.wait()
            limit.cancel()
            return out, Path(self._streams.name, "error").read_text()


def bnn_train(
    folder: Path, *words: str, module: str = "bnn.train", drawn: bool = False, **values: str
) -> subprocess.CompletedProcess:
    """Finished `python -m MODULE WORDS` in a process of its own, forked after the imports.

    A command whose number of threads is given gets a new interpreter: OpenMP reads the number when
    it is loaded. Arguments as of `ForkedCommand`.
    """
    if "OMP_NUM_THREADS" in values:
        return in_new_interpreter(folder, *words, module=module, **values)
    command = ForkedCommand(folder, *words, module=module, drawn=drawn, **values)
    out, error = command.communicate()
    return subprocess.CompletedProcess(words, command.returncode or 0, out, error)


def client(folder: Path) -> MlflowClient:
    """Client of the SQLite store in `folder`."""
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs(folder: Path, kind: str, experiment: str = "bnn/digits") -> list:
    """MLflow runs of an experiment whose tag `bnn.kind` is `kind`, oldest first."""
    store = client(folder)
    found = store.search_runs(
        [store.get_experiment_by_name(experiment).experiment_id], f"tags.`bnn.kind` = '{kind}'"
    )
    return sorted(found, key=lambda run: run.info.start_time)


def run_here(folder: Path, *words: str, drawn: bool = False) -> subprocess.CompletedProcess:
    """Finished `python -m bnn.train WORDS` in this process, which has the imports behind it.

    Args:
        folder: working directory, where the store and the outputs are made.
        words: overrides and flags.
        drawn: whether the figures of a finished training are drawn.

    Returns:
        The exit code, with stdout and stderr as text.
    """
    from bnn import train

    out, error = io.StringIO(), io.StringIO()
    code: int | str = 0
    figures = RunPictures.figures if drawn else _leave_figures_undrawn
    with (
        mock.patch.object(RunPictures, "figures", figures),
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environment(), clear=True),
        mock.patch.object(sys, "argv", ["bnn-train", *words]),
        redirect_stdout(out),
        redirect_stderr(error),
    ):
        try:
            train.run_command_line()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int | str) else 0
    if isinstance(code, str):  # sys.exit("text") prints the text to stderr and exits with 1
        print(code, file=error)
        code = 1
    return subprocess.CompletedProcess(words, code, out.getvalue(), error.getvalue())
