"""`python -m bnn.train` as a user types it, and what it left in MLflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from mlflow import MlflowClient

QUICK = ["data=digits", "trainer.epochs=1", "trainer.evaluation_samples=2", "tracking.heatmaps=false", "device=cpu"]


def environment(**values: str) -> dict[str, str]:
    """This process's, without what would lead a command elsewhere."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "BNN"))}
    return {**inherited, "OMP_NUM_THREADS": "1", **values}


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
    found = store.search_runs([store.get_experiment_by_name(experiment).experiment_id], f"tags.`bnn.kind` = '{kind}'")
    return sorted(found, key=lambda run: run.info.start_time)
