"""Private parts of MLflow that this project uses, in one place.

MLflow's client cannot delete an artifact, cannot make a data set's record without a global run,
cannot close its connections to a database, and has no call for the view of an experiment's page;
the page itself keeps a view as an experiment tag of this prefix. The tests of the tracking server
fail on a release that moves them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.data.numpy_dataset import from_numpy
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

SHARED_VIEW = "mlflow.sharedViewState."
"""Prefix of the experiment tags that hold saved views of an experiment's page."""


def close_connections(client: MlflowClient) -> None:
    """Close the connections of a client to a database; the next call opens others."""
    client._tracking_client.store.engine.dispose()


def delete_artifacts(client: MlflowClient, run_id: str, path: str) -> None:
    """Delete an artifact or an artifact folder of a run."""
    uri = client.get_run(run_id).info.artifact_uri
    repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri)
    repository.delete_artifacts(path)


def dataset_record(
    images: np.ndarray, labels: np.ndarray, name: str, digest: str
) -> dict[str, Any]:
    """Fields of the record by which a run names a data set as its input."""
    dataset = from_numpy(images, targets=labels, name=name, digest=digest)
    return dict(dataset._to_mlflow_entity())
