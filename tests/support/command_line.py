"""`python -m bnn.train` as a user types it, and the runs that it leaves in MLflow."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import runpy
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from mlflow import MlflowClient

from support.processes import context

UNSEEN = ["tracking.heatmaps=false", "tracking.model=false"]
"""Overrides without the artifacts that take most of the time of a short run."""
QUICK = ["data=digits", "trainer.epochs=1", "trainer.evaluation_samples=2", "device=cpu", *UNSEEN]
"""Overrides of the shortest training: one epoch on scikit-learn's digits."""


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


SECONDS = 240
"""Limit of one command."""


def in_new_interpreter(folder: Path, *words: str, **values: str) -> subprocess.CompletedProcess:
    """Finished `python -m bnn.train WORDS`, with the imports of a new interpreter.

    Args:
        folder: working directory, where the store and the outputs are made.
        words: overrides and flags.
        values: environment variables, as in `environment`.
    """
    return subprocess.run(
        [sys.executable, "-m", "bnn.train", *words],
        cwd=folder,
        env=environment(**values),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def _run_module(folder: str, words: tuple[str, ...], values: dict[str, str]) -> None:
    """`python -m bnn.train WORDS` within a forked process; its streams go to files in `folder`."""
    for name, stream in (("out", 1), ("error", 2)):
        os.dup2(os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT), stream)
    os.environ.clear()
    os.environ.update(values)
    sys.argv = ["bnn.train", *words]
    sys.path[0] = ""
    try:
        runpy.run_module("bnn.train", run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends a child without them


def bnn_train(folder: Path, *words: str, **values: str) -> subprocess.CompletedProcess:
    """Finished `python -m bnn.train WORDS` in a process of its own, forked after the imports.

    A command whose number of threads is given gets a new interpreter: OpenMP reads the number when
    it is loaded. Arguments as of `in_new_interpreter`.
    """
    if "OMP_NUM_THREADS" in values:
        return in_new_interpreter(folder, *words, **values)
    with tempfile.TemporaryDirectory() as streams:
        with contextlib.chdir(folder):
            process = context.Process(
                target=_run_module, args=(streams, words, environment(**values))
            )
            process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            raise subprocess.TimeoutExpired(list(words), SECONDS)
        out, error = (Path(streams, name).read_text() for name in ("out", "error"))
    return subprocess.CompletedProcess(words, process.exitcode or 0, out, error)


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


def run_here(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """Finished `python -m bnn.train WORDS` in this process, which has the imports behind it.

    Returns:
        The exit code, with stdout and stderr as text.
    """
    from bnn import train

    out, error = io.StringIO(), io.StringIO()
    code: int | str = 0
    with (
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
