"""`python -m bnn.train` as a user types it, and the runs that it leaves in MLflow."""

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


def bnn_train(folder: Path, *words: str, **values: str) -> subprocess.CompletedProcess:
    """Finished `python -m bnn.train WORDS` in a process of its own.

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
        timeout=240,
    )


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
            train.answer()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int | str) else 0
    if isinstance(code, str):  # sys.exit("text") prints the text to stderr and exits with 1
        print(code, file=error)
        code = 1
    return subprocess.CompletedProcess(words, code, out.getvalue(), error.getvalue())
