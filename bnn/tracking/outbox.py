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
from bnn.tracking.store import answers

FOLDER, RECORDS, ADDRESS = "outbox", "records.jsonl", "address.json"


RETRY = 20.0
"""Seconds between two looks at whether a store that was gone is back."""


class Outbox:
    """The outbox of one run, in `folder/outbox` from the first call that fails until all are delivered.

    What an earlier process left there for this run is delivered before anything else; another run's is moved aside, to
    `outbox-…`, where `deliver` of bnn.tracking.sync finds it too.
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
                self.flush()
            return
        try:
            CALLS[call](self._client, self._run_id, values, payload)
        except STORE_ERRORS as error:
            self._keep(call, values, payload)
            self._tried = time.monotonic()
            warn(
                f"{_shown(self._client)} does not take what run {self._run_id} logs ({format_error(error)}); the training goes on, "
                f"and its record is kept in {self._folder} until the store answers"
            )

    def flush(self) -> None:
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
                    there = logged_images(self._client, self._run_id) if there is None else there
                    if (values["key"], values["step"]) in there:
                        continue
                payload = (self._folder / name).read_bytes() if name else b""
                CALLS[record["call"]](self._client, self._run_id, values, payload)
            except STORE_ERRORS as error:
                if not is_permanent(error):
                    del self._waiting[:number]
                    warn(f"run {self._run_id}: {format_error(error)}")
                    return
                warn(
                    f"run {self._run_id}: the store refuses a record ({record['call']}: {format_error(error)}); it is left out"
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
        self.flush()
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


def _shown(client: MlflowClient) -> str:
    return without_password(str(client.tracking_uri))
