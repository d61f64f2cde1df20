"""MLflow calls as records, idempotent so that an interrupted call can be repeated.

The exception is an image: interrupted between its two files, it is logged twice.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param

from bnn.tracking.export import log_model
from bnn.tracking.failures import DamagedRecord
from bnn.tracking.mlflow_adapter import delete_artifacts, log_picture
from bnn.tracking.query import has_artifact

Record = dict[str, Any]
"""Call that is kept: its name (`call`), its `values`, and the file name of its `payload`, or ""."""


def _metrics(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    points = [
        Metric(key, value, values["at"], values["step"]) for key, value in values["metrics"].items()
    ]
    # the store keeps one of equal points, so a second delivery changes nothing
    client.log_batch(run_id, metrics=points)


def _params(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    client.log_batch(run_id, params=[Param(key, value) for key, value in values["params"].items()])


def _dataset(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    inputs = client.get_run(run_id).inputs
    if not (inputs and inputs.dataset_inputs):
        client.log_inputs(
            run_id, [DatasetInput(Dataset(**values), [InputTag("mlflow.data.context", "training")])]
        )


def _tag(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    client.set_tag(run_id, values["key"], values["value"])


def _image(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from PIL import Image

    try:
        Image.open(io.BytesIO(payload)).load()
    except OSError as error:
        raise DamagedRecord(f"the image cannot be read ({error})") from error
    log_picture(client, run_id, payload, values["key"], values["step"])


def _file(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    folder, _, name = values["path"].rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / name).write_bytes(payload)
        client.log_artifact(run_id, str(Path(scratch) / name), folder or None)


def _model(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    log_model(client, run_id, io.BytesIO(payload))


def _remove(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    path = values["path"]
    if has_artifact(client, run_id, path):
        delete_artifacts(client, run_id, path)


def _end(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    client.set_terminated(run_id, values["status"], values["at"])


CALLS: Mapping[str, Callable[[MlflowClient, str, Mapping[str, Any], bytes], None]] = {
    "metrics": _metrics,
    "params": _params,
    "dataset": _dataset,
    "tag": _tag,
    "image": _image,
    "file": _file,
    "remove": _remove,
    "model": _model,
    "end": _end,
}
"""Calls by name; each takes a client, a run id, values that JSON can hold, and a payload."""


VALUES: Mapping[str, frozenset[str]] = {
    "metrics": frozenset({"metrics", "step", "at"}),
    "params": frozenset({"params"}),
    "dataset": frozenset({"name", "digest", "source_type", "source", "schema", "profile"}),
    "tag": frozenset({"key", "value"}),
    "image": frozenset({"key", "step"}),
    "file": frozenset({"path"}),
    "remove": frozenset({"path"}),
    "model": frozenset(),
    "end": frozenset({"status", "at"}),
}
"""Names of the values of each call."""


def record_line(record: Record) -> bytes:
    """Record as one line of JSON."""
    return json.dumps(record).encode()


def read_record(line: bytes) -> Record | None:
    """Record from a line of JSON; None for a line that is none, such as a damaged one."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    call, values, payload = (record.get(key) for key in ("call", "values", "payload"))
    if not (isinstance(call, str) and isinstance(values, dict) and isinstance(payload, str)):
        return None
    whole = call in VALUES and values.keys() >= VALUES[call]
    return {"call": call, "values": values, "payload": payload} if whole else None


def logged_images(client: MlflowClient, run_id: str) -> set[tuple[str, int]]:
    """Key and step of each image of a run."""
    found = set()
    for item in client.list_artifacts(run_id, "images"):
        if item.path.endswith("+compressed.webp"):  # MLflow writes it after the image itself
            key, _, after = item.path.rpartition("/")[2].rpartition("+step+")
            found.add((key.replace("~", "/"), int(after.partition("+")[0])))
    return found
