"""What a run has to say to its store, in order. What cannot be said now waits on disk, and is said when the store answers
again: nothing is lost, and nothing is said twice."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn.config import without_password
from bnn.errors import BnnError, CheckpointError, TrackingError
from bnn.tracking.export import log_model
from bnn.tracking.store import answers

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER, RECORDS, ADDRESS = "outbox", "records.jsonl", "address.json"
RETRY = 20.0
"""Seconds between two looks at whether a store that was gone is back."""


def _metrics(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from mlflow.entities import Metric

    points = [
        Metric(key, value, values["at"], values["step"]) for key, value in values["metrics"].items()
    ]
    client.log_batch(
        run_id, metrics=points
    )  # the store keeps one of equal points, so a second delivery changes nothing


def _params(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from mlflow.entities import Param

    client.log_batch(run_id, params=[Param(key, value) for key, value in values["params"].items()])


def _dataset(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = client.get_run(run_id).inputs
    if not (inputs and inputs.dataset_inputs):
        client.log_inputs(
            run_id, [DatasetInput(Dataset(**values), [InputTag("mlflow.data.context", "training")])]
        )


def _tag(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    client.set_tag(run_id, values["key"], values["value"])


def _image(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from PIL import Image

    client.log_image(
        run_id, Image.open(io.BytesIO(payload)), key=values["key"], step=values["step"]
    )


def _file(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    folder, _, name = values["path"].rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / name).write_bytes(payload)
        client.log_artifact(run_id, str(Path(scratch) / name), folder or None)


def _model(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    log_model(client, run_id, io.BytesIO(payload))


def _remove(client: MlflowClient, run_id: str, values: Mapping[str, Any], payload: bytes) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    folder = values["path"].rpartition("/")[0]
    if any(item.path == values["path"] for item in client.list_artifacts(run_id, folder)):
        uri = client.get_run(run_id).info.artifact_uri
        get_artifact_repository(uri, tracking_uri=client.tracking_uri).delete_artifacts(
            values["path"]
        )


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
"""What can be said. Each may be said again after it was cut off, and the store is left as if it had been said once; but a
picture that was cut off between its two files is there twice."""


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

    kinds: tuple[type[Exception], ...] = (
        MlflowException,
        RequestException,
        SQLAlchemyError,
        OSError,
        BnnError,
    )
    try:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return kinds
    return (*kinds, Boto3Error, BotoCoreError, ClientError)


WILL_PASS = (401, 403, 408, 425, 429)
"""Refusals of a server that another password, another permission or a moment's patience can lift."""


def refused(error: Exception) -> bool:
    """Whether a store that answers will never take this: it is too large, the run was deleted, the record is damaged."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    else:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, FileNotFoundError | CheckpointError):
            return True
    return status is not None and 400 <= status < 500 and status not in WILL_PASS


@contextlib.contextmanager
def spared(what: str) -> Iterator[None]:
    """Within, a store that is away costs a warning and nothing more."""
    try:
        yield
    except unreachable() as error:
        warn(f"{what} is not recorded ({line(error)})")


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


class Outbox:
    """The outbox of one run, in `folder/outbox` from the first call that fails until all are delivered.

    What an earlier process left there for this run is delivered before anything else; another run's is moved aside, to
    `outbox-…`, where `deliver` of bnn.tracking.copying finds it too.
    """

    def __init__(self, client: MlflowClient, run_id: str, folder: Path, name: str = FOLDER) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder / name
        if (other := _owner(self._folder)) not in (None, run_id):
            self._folder.rename(folder / f"{FOLDER}-{other}")
        self._waiting: list[dict[str, Any]] = [
            json.loads(text) for text in _whole_lines(self._folder / RECORDS)
        ]
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
            warn(
                f"{_shown(self._client)} does not take what run {self._run_id} logs ({line(error)}); the training goes on, "
                f"and its record is kept in {self._folder} until the store answers"
            )

    def deliver(self) -> None:
        """Say what waits, as far as the store takes it. What it refuses for good is left out with a warning."""
        self._tried = time.monotonic()
        if not self._waiting or not answers(str(self._client.tracking_uri)):
            return
        count, there = len(self._waiting), None
        for number, record in enumerate(self._waiting):
            name = Path(record["payload"]).name  # a file of this folder, whatever the record says
            values = record["values"]
            try:
                if record["call"] == "image":
                    there = pictures(self._client, self._run_id) if there is None else there
                    if (values["key"], values["step"]) in there:
                        continue
                payload = (self._folder / name).read_bytes() if name else b""
                CALLS[record["call"]](self._client, self._run_id, values, payload)
            except unreachable() as error:
                if not refused(error):
                    del self._waiting[:number]
                    warn(f"run {self._run_id}: {line(error)}")
                    return
                warn(
                    f"run {self._run_id}: the store refuses a record ({record['call']}: {line(error)}); it is left out"
                )
        self._waiting.clear()
        (self._folder / RECORDS).unlink(
            missing_ok=True
        )  # first: payloads without records are harmless
        shutil.rmtree(self._folder, ignore_errors=True)
        print(
            f"the store has taken the {count} records of run {self._run_id} that waited for it",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """A last attempt; what still waits then is for `python -m bnn.sync`."""
        self.deliver()
        if self._waiting:
            warn(
                f"{len(self)} records of run {self._run_id} wait in {self._folder}; "
                "python -m bnn.sync delivers them when the store answers again"
            )

    def _keep(self, call: str, values: Mapping[str, Any], payload: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / ADDRESS).exists():
                address = {"uri": _shown(self._client), "run_id": self._run_id}
                _write(self._folder / ADDRESS, json.dumps(address).encode())
            name = f"{time.time_ns()}.payload" if payload else ""
            if payload:
                _write(self._folder / name, payload)
            record = {"call": call, "values": dict(values), "payload": name}
            _write(self._folder / RECORDS, json.dumps(record).encode() + b"\n", "ab")
        except OSError as error:
            raise TrackingError(
                f"{self._folder}: the store does not answer, and its record cannot be kept ({error.strerror}); make room, "
                "then run the same command with resume=true"
            ) from error
        self._waiting.append(record)


def _write(path: Path, content: bytes, mode: str = "wb") -> None:
    """To the disk itself: a power cut leaves no record without its payload."""
    with path.open(mode) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _owner(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / ADDRESS).read_text())["run_id"])
    except (OSError, ValueError, KeyError):
        return None


def _whole_lines(path: Path) -> list[str]:
    """The lines of a file that were written to their end; one that was cut off is taken out of the file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        _write(path, whole)
    return whole.decode().splitlines()


def line(error: Exception) -> str:
    """An error in one line, without passwords."""
    words = without_password(str(error).partition("\n")[0])
    return words if isinstance(error, BnnError) else f"{type(error).__name__}: {words}"


def _shown(client: MlflowClient) -> str:
    return without_password(str(client.tracking_uri))
