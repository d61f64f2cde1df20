"""What a run has to say to its store, in order. What cannot be said now waits on disk, and is said when the store answers
again: nothing is lost, and nothing is said twice."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn.config import without_password
from bnn.errors import BnnError, TrackingError
from bnn.tracking.export import log_model
from bnn.tracking.store import answers

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER, RECORDS, ADDRESS = "outbox", "records.jsonl", "address.json"
RETRY = 20.0
"""Seconds between two looks at whether a store that was gone is back."""


def _metrics(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from mlflow.entities import Metric

    points = [Metric(key, value, values["at"], values["step"]) for key, value in values["metrics"].items()]
    client.log_batch(run_id, metrics=points)  # the store keeps one of equal points, so a second delivery changes nothing


def _params(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, value) for key, value in values["params"].items()])


def _dataset(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = client.get_run(run_id).inputs
    if not (inputs and inputs.dataset_inputs):
        client.log_inputs(run_id, [DatasetInput(Dataset(**values), [InputTag("mlflow.data.context", "training")])])


def _tag(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    client.set_tag(run_id, values["key"], values["value"])


def _image(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from PIL import Image

    key, step = values["key"], values["step"]
    if (key, step) not in pictures(client, run_id):
        client.log_image(run_id, Image.open(io.BytesIO(payload)), key=key, step=step)


def _file(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    folder, _, name = values["path"].rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / name).write_bytes(payload)
        client.log_artifact(run_id, str(Path(scratch) / name), folder or None)


def _model(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    log_model(client, run_id, io.BytesIO(payload))


def _end(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    client.set_terminated(run_id, values["status"], values["at"])


CALLS: Mapping[str, Callable[[MlflowClient, str, Mapping[str, Any], bytes], None]] = {
    "metrics": _metrics,
    "params": _params,
    "dataset": _dataset,
    "tag": _tag,
    "image": _image,
    "file": _file,
    "model": _model,
    "end": _end,
}
"""What can be said. Each may be said again after it was cut off: the store is left as if it had been said once."""


def pictures(client: MlflowClient, run_id: str) -> set[tuple[str, int]]:
    """Key and step of the pictures that a run has."""
    found = set()
    for item in client.list_artifacts(run_id, "images"):
        if item.path.endswith("+compressed.webp"):  # MLflow writes it after the picture itself
            key, _, step = item.path.rpartition("/")[2].split("+")[:3]
            found.add((key.replace("~", "/"), int(step)))
    return found


def unreachable() -> tuple[type[Exception], ...]:
    """What is raised where a store or its artifacts cannot be reached or written."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, RequestException, SQLAlchemyError, OSError


class Outbox:
    """The outbox of one run, in `folder/outbox` from the first call that fails until all are delivered.

    What an earlier process left there is delivered before anything else.
    """

    def __init__(self, client: MlflowClient, run_id: str, folder: Path) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder / FOLDER
        records = self._folder / RECORDS
        self._waiting: list[dict[str, Any]] = [json.loads(line) for line in _whole_lines(records)]
        self._tried = -RETRY

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, call: str, values: Mapping[str, Any], payload: bytes = b"") -> None:
        """Say it now, or keep it. Errors: TrackingError where it can be neither said nor kept."""
        if self._waiting:
            self._keep(call, values, payload)
            if time.monotonic() - self._tried >= RETRY:
                self.deliver()
            return
        try:
            CALLS[call](self._client, self._run_id, values, payload)
        except unreachable() as error:
            self._keep(call, values, payload)
            self._tried = time.monotonic()
            print(
                f"warning: {_address(self._client)} does not take what run {self._run_id} logs ({_line(error)}); the "
                f"training goes on, and its record is kept in {self._folder} until the store answers",
                file=sys.stderr,
                flush=True,
            )

    def deliver(self) -> None:
        """Say what waits, as far as the store takes it."""
        self._tried = time.monotonic()
        if not self._waiting or not answers(_address(self._client)):
            return
        count = len(self._waiting)
        for number, record in enumerate(self._waiting):
            name = Path(record["payload"]).name  # a file of this folder, whatever the record says
            try:
                payload = (self._folder / name).read_bytes() if name else b""
                CALLS[record["call"]](self._client, self._run_id, record["values"], payload)
            except unreachable() as error:
                del self._waiting[:number]
                print(f"warning: run {self._run_id}: {_line(error)}", file=sys.stderr, flush=True)
                return
        self._waiting.clear()
        for path in self._folder.iterdir():
            path.unlink()
        self._folder.rmdir()
        print(
            f"the store has taken the {count} records of run {self._run_id} that waited for it", file=sys.stderr, flush=True
        )

    def close(self) -> None:
        """A last attempt; what still waits then is for `python -m bnn.sync`."""
        self.deliver()
        if self._waiting:
            print(
                f"warning: {len(self)} records of run {self._run_id} wait in {self._folder}; "
                "python -m bnn.sync delivers them when the store answers again",
                file=sys.stderr,
                flush=True,
            )

    def _keep(self, call: str, values: Mapping[str, Any], payload: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / ADDRESS).exists():
                address = {"uri": without_password(_address(self._client)), "run_id": self._run_id}
                (self._folder / ADDRESS).write_text(json.dumps(address))
            name = f"{time.time_ns()}.payload" if payload else ""
            if payload:
                (self._folder / name).write_bytes(payload)
            record = {"call": call, "values": dict(values), "payload": name}
            with (self._folder / RECORDS).open("a") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TrackingError(
                f"{self._folder}: the store does not answer, and its record cannot be kept ({error.strerror}); make room, "
                "then run the same command with resume=true"
            ) from error
        self._waiting.append(record)


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file that were written to their end."""
    with contextlib.suppress(FileNotFoundError):
        return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return []


def _line(error: Exception) -> str:
    words = str(error).partition("\n")[0]
    return words if isinstance(error, BnnError) else f"{type(error).__name__}: {words}"


def _address(client: MlflowClient) -> str:
    return str(client.tracking_uri)
