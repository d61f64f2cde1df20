"""`python -m bnn.train` as a user types it, and what it left in MLflow."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from mlflow import MlflowClient

UNSEEN = ["tracking.heatmaps=false", "tracking.model=false"]
"""Leaves out what takes most of a short run's time, and only shows what it came to."""
QUICK = ["data=digits", "trainer.epochs=1", "trainer.evaluation_samples=2", "device=cpu", *UNSEEN]


def environment(**values: str) -> dict[str, str]:
    """This process's, without what would lead a command elsewhere, and without what is given as empty."""
    astray = ("MLFLOW_TRACKING", "MLFLOW_RUN", "MLFLOW_EXPERIMENT", "BNN")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(astray)}
    return {
        key: value
        for key, value in {**inherited, "OMP_NUM_THREADS": "1", **values}.items()
        if value
    }


def bnn_train(folder: Path, *words: str, **values: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "bnn.train", *words],
        cwd=folder,
        env=environment(**values),
        capture_output=True,
        text=True,
        timeout=240,
    )


def client(folder: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{folder}/mlflow.db")


def runs(folder: Path, kind: str, experiment: str = "bnn/digits") -> list:
    store = client(folder)
    found = store.search_runs(
        [store.get_experiment_by_name(experiment).experiment_id], f"tags.`bnn.kind` = '{kind}'"
    )
    return sorted(found, key=lambda run: run.info.start_time)


def run_here(folder: Path, *words: str) -> subprocess.CompletedProcess:
    """The same in this process, which has imported everything already: what is printed, and the exit code."""
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
    if isinstance(code, str):  # as Python ends a program: the words go to stderr, the code is 1
        print(code, file=error)
        code = 1
    return subprocess.CompletedProcess(words, code, out.getvalue(), error.getvalue())
