"""Checkpoint of a run, or of a path, for commands that read trained networks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bnn.errors import CheckpointError, ConfigError
from bnn.restore import Trained, load_trained
from bnn.tasks import Classification
from bnn.tracking.query import fetch, finished_run_id
from bnn.training.checkpoint import BEST


@contextlib.contextmanager
def checkpoint_file(model: str, uri: str | None) -> Iterator[Path]:
    """Context with a checkpoint file, which is fetched from the tracking store if need be.

    Args:
        model: path of the file, or id of the run that keeps it, or the first digits of one.
        uri: tracking store; None: mlflow.db in the working directory.

    Raises:
        CheckpointError: for a file that does not exist, or a run without a checkpoint.
        TrackingError: for a store that cannot be reached, or a run that it does not have.
    """
    if Path(model).is_file():
        yield Path(model)
    elif "/" in model or model.endswith(".pt"):
        raise CheckpointError(f"{model}: no such file; expected a checkpoint, or the id of a run")
    else:
        with tempfile.TemporaryDirectory() as scratch:
            run_id = finished_run_id(uri, model)
            found = fetch(uri, run_id, f"checkpoint/{BEST}", Path(scratch))
            if found is None:
                raise CheckpointError(
                    f"run {model}: expected a run with a checkpoint, but it keeps none"
                )
            yield found


def trained_classifier(model: str, uri: str | None) -> Trained:
    """Network of a run or a checkpoint that was trained to classify.

    Args:
        model: path of a file, or id of a run, as `checkpoint_file` takes it.
        uri: tracking store; None: mlflow.db in the working directory.

    Raises:
        BnnError: for a network that cannot be read.
        ConfigError: for one of another task.
    """
    with checkpoint_file(model, uri) as file:
        trained = load_trained(file)
    if not isinstance(trained.task, Classification):
        raise ConfigError(
            f"{model}: expected a network that was trained to classify, "
            f"got task={trained.about['task']['name']}"
        )
    return trained
