"""Journal file of Optuna that survives a full disk and a power cut.

A record that was cut off at the end of the file, or a tail of zeros, is ignored when reading and
moved to a file beside the journal before the next record is appended. The format, and the lock that
other programs such as optuna-dashboard respect, are Optuna's.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from optuna.storages.journal import BaseJournalBackend, JournalFileSymlinkLock

from bnn.errors import StorageError

BLOCK = 4096
"""Bytes that are read at a time in search of the last line."""
BEGINNING = b'{"op_code":'
"""Beginning of every record of Optuna's."""


class JournalFile(BaseJournalBackend):
    """Journal file as a backend of Optuna's `JournalStorage`.

    Args:
        path: path of the journal, which is made if it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, JournalFileSymlinkLock(str(path))
        self._ends = [0]  # of the records that were read, in bytes
        if not path.exists():
            path.touch()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on; a damaged end of the file is no record.

        Args:
            log_number_from: number of the first record, from 0.

        Yields:
            The records in order.

        Raises:
            StorageError: for a damaged record with others after it.
        """
        with self._path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size  # another process may write more meanwhile
            first = min(log_number_from, len(self._ends) - 1)
            left -= file.seek(self._ends[first])
            damaged = False
            for number, line in enumerate(file, first):
                left -= len(line)
                if left < 0:
                    return
                if damaged:
                    raise StorageError(f"{self._path}: line {number} is no record of Optuna's")
                record = _record(line)
                damaged = record is None
                if record is None:
                    continue
                if number + 1 == len(self._ends):
                    self._ends.append(self._ends[number] + len(line))
                if number >= log_number_from:
                    yield record

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append records, all or none.

        Args:
            logs: the records.

        Raises:
            StorageError: where they cannot be written; the file is as it was before.
        """
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        try:
            with self._locked():
                self._append(text.encode())
        except OSError as error:
            raise StorageError(
                f"{self._path} cannot be written ({error.strerror}): no study in it is damaged; "
                "make room, then the same command goes on"
            ) from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    def _append(self, content: bytes) -> None:
        end = self._end_without_damage()
        try:
            with self._path.open("ab") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            os.truncate(self._path, end)
            raise

    def _end_without_damage(self) -> int:
        """Length of the file, after a damaged end of it was moved to a file beside it."""
        with self._path.open("rb+") as file:
            size = end = file.seek(0, os.SEEK_END)
            while (line := _last_line(file, end)) and _record(line) is None:
                end -= len(line)
            if end < size:
                file.seek(end)
                self._keep(file.read(), whole_file=end == 0)
                file.truncate(end)
                os.fsync(file.fileno())
        return end

    def _keep(self, damage: bytes, whole_file: bool) -> None:
        """Keep a damaged end in a file of its own; zeros are left out.

        Raises:
            StorageError: where the damage is the whole file, which then may be something else.
        """
        content = damage.strip(b"\0")
        begins = content[: len(BEGINNING)]
        if whole_file and begins != BEGINNING[: len(begins)]:
            raise StorageError(f"{self._path}: line 1 is no record of Optuna's")
        if not content:
            return
        date = datetime.now().strftime("%Y-%m-%d-%H%M%S-%f")
        with self._path.with_name(f"{self._path.name}.damaged-{date}").open("wb") as file:
            file.write(damage)
            file.flush()
            os.fsync(file.fileno())


def _record(line: bytes) -> dict[str, Any] | None:
    """Record of a line; None where the line is damaged."""
    try:
        value = json.loads(line.decode())
    except ValueError:
        return None
    return value if isinstance(value, dict) and line.endswith(b"\n") else None


def _last_line(file: BinaryIO, end: int) -> bytes:
    """Line that ends at a position of a file, whether or not a line break is its last byte."""
    found = b""
    while end and b"\n" not in found[:-1]:
        start = max(0, end - BLOCK)
        file.seek(start)
        found = file.read(end - start) + found
        end = start
    return found[found.rfind(b"\n", 0, max(0, len(found) - 1)) + 1 :]
