"""Ordered, idempotent queue of MLflow calls.

Calls that fail because the server is unreachable are written to disk and replayed in order once it
responds. They are deleted when the store shows the run and what was logged in it, and not before.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from bnn.errors import TrackingError
from bnn.tracking.calls import CALLS, Record, logged_images, read_record, record_line
from bnn.tracking.delivery import UndeliverableError, count_missing, find_run, store_address
from bnn.tracking.failures import (
    STORE_ERRORS,
    DamagedRecord,
    announced,
    describe,
    is_refusal,
    warn,
)
from bnn.tracking.record_file import append_line, read_lines, replace_content

FOLDER, RECORDS, ADDRESS = "outbox", "records.jsonl", "address.json"
REFUSED, DAMAGED = "refused.jsonl", "damaged.jsonl"
"""Files of an outbox: records that the store refused, and lines that are no records."""
RETRY = 20.0
"""Seconds between two attempts to reach a store that failed."""
BATCH = 100
"""Records that are delivered before the store is asked for them, and they are deleted."""


class Outbox:
    """Queue of the MLflow calls of one run, on disk from the first that fails to the last delivery.

    Calls that an earlier process left there for this run are delivered before new ones. The outbox
    of another run is moved aside, to `outbox-…`, where `bnn.tracking.sync.flush_outboxes` finds it.
    Records that the store refuses, and lines that are no records, move to files of their own.

    Args:
        client: client of the tracking store.
        run_id: run to which the calls belong.
        folder: run directory.
        name: name of the outbox in the run directory.

    Attributes:
        delivered: number of records that the store has taken since it failed first.
        refused: number of those that it refused.

    Raises:
        TrackingError: where the outbox cannot be read.
    """

    def __init__(self, client: MlflowClient, run_id: str, folder: Path, name: str = FOLDER) -> None:
        self._client, self._run_id, self._folder = client, run_id, folder / name
        self.delivered = self.refused = 0
        self._failure, self._said, self._tried = UndeliverableError(""), "", -RETRY
        try:
            if (other := _owner(self._folder)) not in (None, run_id):
                self._folder.rename(_free_name(folder / f"{FOLDER}-{other}"))
            lines = read_lines(self._folder / RECORDS)
        except OSError as error:
            raise TrackingError(f"{self._folder} cannot be read: {error.strerror}") from error
        records = [read_record(line) for line in lines]
        self._waiting = [record for record in records if record is not None]
        self._damaged = [line for line, found in zip(lines, records, strict=True) if found is None]
        if self._damaged:
            warn(
                f"{self._folder / RECORDS}: {len(self._damaged)} damaged lines are no records of "
                f"run {run_id} and are moved to {DAMAGED}"
            )
        if self._damaged or (not self._waiting and (self._folder / RECORDS).exists()):
            with contextlib.suppress(OSError):  # they stay where they are for now
                self._rewrite()

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
            with announced(store_address(self._client)):
                CALLS[call](self._client, self._run_id, values, payload)
        except DamagedRecord as error:
            warn(f"run {self._run_id}: its {call} is not recorded ({describe(error)})")
        except STORE_ERRORS as error:
            self._keep(call, values, payload)
            self._tried = time.monotonic()
            self.delivered = self.refused = 0
            warn(
                f"{store_address(self._client)} does not take what run {self._run_id} logs "
                f"({describe(error)}); the training goes on, and its record is kept in "
                f"{self._folder} until the store responds"
            )

    def deliver(self) -> None:
        """Replay the kept calls in order until one fails, without a line where it does.

        A call that the store refuses for good is set aside, with a warning.
        """
        self._tried = time.monotonic()
        failure: Exception | None = None
        try:
            with announced(store_address(self._client)):
                if self._waiting:
                    find_run(self._client, self._run_id)
                while self._waiting and failure is None:
                    count = len(self)
                    done, failure = self._replay(self._waiting[:BATCH])
                    if done or len(self) < count:
                        self._confirm(done)
        except STORE_ERRORS as error:
            failure = error
        if isinstance(failure, UndeliverableError):
            self._failure = failure
        elif failure is not None:
            address = store_address(self._client)
            self._failure = UndeliverableError(f"{address}: {describe(failure)}")

    def flush(self, last: bool = False) -> None:
        """Deliver, and say what the store has taken, or why it takes nothing.

        Args:
            last: whether this process will not try again: the line then says what does. Else each
                reason is given once.
        """
        if not self._waiting:
            return
        self.deliver()
        if not self._waiting:
            print(f"the store has taken {self.summary()}", file=sys.stderr, flush=True)
        elif last:
            warn(self.waiting_line())
        elif str(self._failure) != self._said:
            self._said = str(self._failure)
            warn(f"run {self._run_id}: {self._said}; {len(self)} records wait for it")

    def close(self) -> None:
        """Flush once more, and warn of calls that are left to `python -m bnn.sync`."""
        self.flush(last=True)

    def waiting_line(self) -> str:
        """Why the last delivery failed, how many records wait and where, and what delivers them."""
        return (
            f"{self._failure}: {len(self)} records of run {self._run_id} wait in "
            f"{self._folder / RECORDS}; {self._failure.remedy}"
        )

    def summary(self) -> str:
        """Numbers of the records that were delivered and refused, and where the refused lie."""
        text = f"the {self.delivered} records of run {self._run_id} that waited for it"
        if self.refused:
            text += f" and refused {self.refused} others, kept in {self._folder / REFUSED}"
        return text

    def _replay(self, batch: list[Record]) -> tuple[list[Record], Exception | None]:
        """Records that were delivered, in order, and the error that ended it, if any."""
        done: list[Record] = []
        pictures = any(record["call"] == "image" for record in batch)
        logged = logged_images(self._client, self._run_id) if pictures else set()
        for record in batch:
            values = record["values"]
            try:
                if record["call"] != "image" or (values["key"], values["step"]) not in logged:
                    payload = self._payload(record)
                    CALLS[record["call"]](self._client, self._run_id, values, payload)
            except STORE_ERRORS as error:
                if not is_refusal(error):
                    return done, error
                find_run(self._client, self._run_id)  # a store without the run refuses nothing
                self._set_aside(record, error)
            else:
                done.append(record)
        return done, None

    def _payload(self, record: Record) -> bytes:
        if not record["payload"]:
            return b""
        path = self._folder / Path(record["payload"]).name  # of this folder, whatever it says
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise DamagedRecord(f"{path} is missing") from error

    def _set_aside(self, record: Record, error: Exception) -> None:
        """Move a record that the store refuses to a file of its own."""
        path = self._folder / REFUSED
        kept = [read_record(line) for line in read_lines(path)]  # again after a kill
        if record_line(record) not in [record_line(each) for each in kept if each]:
            append_line(path, json.dumps({**record, "reason": describe(error)}).encode())
        self._waiting.remove(record)
        self.refused += 1
        warn(
            f"run {self._run_id}: the store refuses a record ({record['call']}: "
            f"{describe(error)}); it is moved to {path}"
        )

    def _confirm(self, done: list[Record]) -> None:
        """Delete records, the first of those that wait, once the store shows run and contents.

        Raises:
            UndeliverableError: where it does not.
        """
        run = find_run(self._client, self._run_id)
        if missing := count_missing(self._client, run, done):
            address = store_address(self._client)
            raise UndeliverableError(
                f"{address} said that it took {len(done)} records, and shows nothing of {missing}"
            )
        self.delivered += len(done)
        del self._waiting[: len(done)]
        with contextlib.suppress(OSError):  # what is delivered again changes nothing
            self._rewrite()
            for record in done:
                if record["payload"]:
                    (self._folder / Path(record["payload"]).name).unlink(missing_ok=True)

    def _rewrite(self) -> None:
        """Leave the waiting records in their file, and damaged lines in another.

        Raises:
            OSError: such as for a full disk; nothing is lost.
        """
        known = read_lines(self._folder / DAMAGED)
        for line in self._damaged:
            if line not in known:
                append_line(self._folder / DAMAGED, line)
        self._damaged = []
        if self._waiting:
            content = b"".join(record_line(record) + b"\n" for record in self._waiting)
            replace_content(self._folder / RECORDS, content)
            return
        (self._folder / RECORDS).unlink(missing_ok=True)  # first: payloads alone are harmless
        if not any((self._folder / name).exists() for name in (REFUSED, DAMAGED)):
            shutil.rmtree(self._folder, ignore_errors=True)

    def _keep(self, call: str, values: Mapping[str, Any], payload: bytes) -> None:
        record: Record = {"call": call, "values": dict(values), "payload": ""}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (self._folder / ADDRESS).exists():
                address = {"uri": store_address(self._client), "run_id": self._run_id}
                replace_content(self._folder / ADDRESS, json.dumps(address).encode())
            if payload:  # before its record: a kill leaves no record without its payload
                record["payload"] = f"{uuid.uuid4().hex}.payload"
                replace_content(self._folder / record["payload"], payload)
            append_line(self._folder / RECORDS, record_line(record))
        except OSError as error:
            if record["payload"]:
                (self._folder / record["payload"]).unlink(missing_ok=True)
            raise TrackingError(
                f"{self._folder}: the store does not answer, and its record cannot be kept "
                f"({error.strerror}); make room, then run the same command with resume=true"
            ) from error
        self._waiting.append(record)


def _owner(folder: Path) -> str | None:
    """Id of the run whose calls an outbox holds, `unknown` for an unreadable one; None: no outbox.

    Raises:
        OSError: where the folder cannot be read.
    """
    try:
        owner = json.loads((folder / ADDRESS).read_bytes())["run_id"]
    except (FileNotFoundError, NotADirectoryError):
        return "unknown" if read_lines(folder / RECORDS) else None
    except (ValueError, KeyError, TypeError):
        return "unknown"
    return owner if re.fullmatch(r"[\w-]+", str(owner)) else "unknown"


def _free_name(path: Path) -> Path:
    """Path, or the first of `path-2`, `path-3` … that does not exist."""
    others = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(each for each in itertools.chain([path], others) if not each.exists())
