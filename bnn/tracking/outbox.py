"""Ordered, idempotent queue of MLflow calls.

Calls that fail because the server is unreachable are written to disk and replayed in order once it
responds.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from bnn.errors import TrackingError, format_error, without_password
from bnn.tracking.calls import CALLS, logged_images
from bnn.tracking.failures import STORE_ERRORS, is_permanent, warn
from bnn.tracking.store import is_reachable

FOLDER, RECORDS, ADDRESS = "outbox", "records.jsonl", "address.json"
RETRY = 20.0
"""Seconds between two attempts to reach a store that failed."""


class Outbox:
    """Queue of the MLflow calls of one run, on disk from the first that fails to the last delivery.

    Calls that an earlier process left there for this run are delivered before new ones. The outbox
    of another run is moved aside, to `outbox-…`, where `bnn.tracking.sync.flush_outboxes` finds it.

    Args:
        client: client of the tracking store.
        run_id: run to which the calls belong.
        folder: run directory.
        name: name of the outbox in the run directory.
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
        """Make a call, or keep it on disk where the store cannot be reached.

        Args:
            call: name of the call (`bnn.tracking.calls.CALLS`).
            values: its values, which JSON can hold.
            payload: its bytes, such as an image.

        Raises:
            TrackingError: where the call can be neither made nor kept.
        """
        if self._waiting:
            self._keep(call, values, payload)
            if time.monotonic() - self._tried >= RETRY:
                self.flush()
            return
        try:
            CALLS[call](self._client, self._run_id, values, payload)
        except STORE_ERRORS as error:
            self._keep(call, values, payload)
            self._tried = time.monotonic()
            warn(
                f"{_address(self._client)} does not take what run {self._run_id} logs "
                f"({format_error(error)}); the training goes on, and its record is kept in "
                f"{self._folder} until the store responds"
            )

    def flush(self) -> None:
        """Replay the kept calls in order, until one fails; one that can never succeed is dropped.

        A call that is dropped is named in a warning.
        """
        self._tried = time.monotonic()
        if not self._waiting or not is_reachable(str(self._client.tracking_uri)):
            return
        count, logged = len(self._waiting), None
        for number, record in enumerate(self._waiting):
            name = Path(record["payload"]).name  # a file of this folder, whatever the record says
            values = record["values"]
            try:
                if record["call"] == "image":
                    if logged is None:
                        logged = logged_images(self._client, self._run_id)
                    if (values["key"], values["step"]) in logged:
                        continue
                payload = (self._folder / name).read_bytes() if name else b""
                CALLS[record["call"]](self._client, self._run_id, values, payload)
            except STORE_ERRORS as error:
                if not is_permanent(error):
                    del self._waiting[:number]
                    warn(f"run {self._run_id}: {format_error(error)}")
                    return
                warn(
                    f"run {self._run_id}: the store refuses a record "
                    f"({record['call']}: {format_error(error)}); it is left out"
                )
        self._waiting.clear()
        # first: payloads without records are harmless
        (self._folder / RECORDS).unlink(missing_ok=True)
        shutil.rmtree(self._folder, ignore_errors=True)
        print(
            f"the store has taken the {count} records of run {self._run_id} that waited for it",
            file=sys.stderr,
            flush=True,
        )

    def close(self) -> None:
        """Flush once more, and warn of calls that are left to `python -m bnn.sync`."""
        self.flush()
        if self._waiting:
            warn(
                f"{len(self)} records of run {self._run_id} wait in {self._folder}; "
                "python -m bnn.sync delivers them when the store responds again"
            )

    def _keep(self, call: str, values: Mapping[str, Any], payload: bytes) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / ADDRESS).exists():
                address = {"uri": _address(self._client), "run_id": self._run_id}
                _write(self._folder / ADDRESS, json.dumps(address).encode())
            name = f"{time.time_ns()}.payload" if payload else ""
            if payload:
                _write(self._folder / name, payload)
            record = {"call": call, "values": dict(values), "payload": name}
            _write(self._folder / RECORDS, json.dumps(record).encode() + b"\n", "ab")
        except OSError as error:
            raise TrackingError(
                f"{self._folder}: the store does not answer, and its record cannot be kept "
                f"({error.strerror}); make room, then run the same command with resume=true"
            ) from error
        self._waiting.append(record)


def _write(path: Path, content: bytes, mode: str = "wb") -> None:
    """Write and synchronize to disk: a power cut leaves no record without its payload."""
    with path.open(mode) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _owner(folder: Path) -> str | None:
    """Id of the run whose calls an outbox holds."""
    try:
        return str(json.loads((folder / ADDRESS).read_text())["run_id"])
    except (OSError, ValueError, KeyError):
        return None


def _whole_lines(path: Path) -> list[str]:
    """Complete lines of a file; a line that was cut off is removed from it."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        _write(path, whole)
    return whole.decode().splitlines()


def _address(client: MlflowClient) -> str:
    """Address of a client's store without its password."""
    return without_password(str(client.tracking_uri))
