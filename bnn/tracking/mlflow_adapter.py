"""Private parts of MLflow that this project uses, in one place.

MLflow's client cannot delete an artifact, cannot make a data set's record without a global run,
shrinks every image to 256 pixels for its page, reads the history of one metric of one run a call,
cannot close its connections to a database, and has no call for the view of an experiment's page;
the page itself keeps a view as an experiment tag of this prefix. The tests of the tracking server
fail on a release that moves them.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import Metric
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

SHARED_VIEW = "mlflow.sharedViewState."
"""Prefix of the experiment tags that hold saved views of an experiment's page."""

LOGGED_IMAGES = "mlflow.loggedImages"
"""Tag of a run with images."""
HISTORIES = 500
"""Runs whose histories are read from a database by one query."""
PREVIEW = 512
"""Pixels of the larger side of an image as charts show it; a click opens it in full size."""


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


def metric_histories(
    client: MlflowClient, run_ids: Sequence[str], key: str
) -> Iterator[tuple[str, Metric]]:
    """Logged values of a metric of many runs, each with the id of its run.

    A database is asked for HISTORIES runs at a time, and a server for each run.

    Args:
        client: client of the tracking store.
        run_ids: runs, which all have the metric.
        key: key of the metric.
    """
    bulk = getattr(client._tracking_client.store, "get_metric_history_bulk", None)
    if bulk is None:
        for run_id in run_ids:
            yield from ((run_id, metric) for metric in client.get_metric_history(run_id, key))
        return
    for start in range(0, len(run_ids), HISTORIES):
        found = bulk(list(run_ids[start : start + HISTORIES]), key, max_results=sys.maxsize >> 1)
        yield from ((metric.run_id, metric) for metric in found)


def log_picture(client: MlflowClient, run_id: str, png: bytes, key: str, step: int) -> None:
    """Log a picture as `MlflowClient.log_image` does, with a preview that can be read.

    Args:
        client: client of the tracking store.
        run_id: run to which the picture belongs.
        png: picture as a PNG file.
        key: key of the picture, `heatmap/act1`.
        step: epoch.
    """
    from PIL import Image

    at = int(time.time() * 1000)
    name = f"{key.replace('/', '~')}+step+{step}+timestamp+{at}+{uuid.uuid4()}"
    preview = Image.open(io.BytesIO(png))
    preview.thumbnail((PREVIEW, PREVIEW))
    with tempfile.TemporaryDirectory() as scratch:
        full, small = Path(scratch, f"{name}.png"), Path(scratch, f"{name}+compressed.webp")
        full.write_bytes(png)
        preview.save(small)
        client.log_artifact(run_id, str(full), "images")
        client.log_artifact(run_id, str(small), "images")
    client.set_tag(run_id, LOGGED_IMAGES, "true")
