"""Checks of a database before MLflow opens it: bounded waits, and one line for an error."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from bnn.errors import TrackingError, format_error, without_password
from bnn.tracking.failures import announced, warn

BUSY_LIMIT, LOCK_LIMIT = 60.0, 600.0
"""Seconds to wait for a database that another process has locked, and for one that it makes."""
CONNECTION_PAUSES = (1.0, 2.0, 4.0)
"""Seconds between attempts to connect to a database server."""
CONNECTION_TIMEOUT = {"postgresql": "connect_timeout", "mysql": "connect_timeout"}
"""Option that bounds one attempt, of the drivers that have it."""
MEANINGS = {
    "SQLITE_NOTADB": "expected an SQLite database, got another file",
    "SQLITE_CORRUPT": "the database is damaged or was cut off; restore a copy of it",
    "SQLITE_READONLY": "expected a file and a folder to write in; this one is read-only",
    "SQLITE_FULL": "the disk is full; make room",
    "SQLITE_CANTOPEN": "the file cannot be opened, or its folder cannot be written",
    "SQLITE_IOERR": "the disk cannot be read or written",
}
"""SQLite's error names, each with a sentence about the store."""


def database_message(error: BaseException) -> str:
    """Error of a database, or of MLflow on one, in one line."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, sqlite3.Error):
        found = getattr(found, "orig", None) or found.__cause__
    name = getattr(found, "sqlite_errorname", "")
    meaning = next((text for key, text in MEANINGS.items() if name.startswith(key)), None)
    return f"{meaning} ({found})" if meaning else format_error(error)


@contextlib.contextmanager
def file_lock(path: Path, key: str) -> Iterator[None]:
    """Context manager that holds an exclusive lock on `path`.lock; other processes wait.

    Args:
        path: file.
        key: setting that names the file, for messages.

    Raises:
        TrackingError: where the lock cannot be taken, or is not given up in ten minutes.
    """
    name = path.with_name(f"{path.name}.lock")
    try:
        lock = name.open("w")
    except OSError as error:
        raise TrackingError(
            f"{key}: expected a folder to write in, got {path.parent}: {error.strerror}"
        ) from error
    with lock:
        with announced(f"{name}, which another process holds"):
            _take(lock.fileno(), name, key)
        yield


def _take(lock: int, name: Path, key: str) -> None:
    deadline = time.monotonic() + LOCK_LIMIT
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise TrackingError(
                    f"{key}: another process has held {name} for {LOCK_LIMIT:.0f} seconds; end it"
                ) from error
        except OSError as error:
            raise TrackingError(
                f"{key}: expected a file system with locks for {name}, got: {error.strerror}"
            ) from error
        time.sleep(0.05)


def check_file(path: Path, key: str) -> None:
    """Check that a file is an SQLite database that can be written; wait where it is locked.

    Args:
        path: file; one that is missing is left to its maker.
        key: setting that names the file, for messages.

    Raises:
        TrackingError: in one line, where it is not.
    """
    if not _is_file(path, key):
        return
    deadline, said = time.monotonic() + BUSY_LIMIT, False
    while True:
        try:
            return _write_nothing(path)
        except sqlite3.Error as error:
            if not getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY"):
                raise TrackingError(f"{key}: {path}: {database_message(error)}") from error
            if not said:
                warn(f"waiting up to {BUSY_LIMIT:.0f} s for {path}: another process has locked it")
                said = True
            if time.monotonic() > deadline:
                raise TrackingError(
                    f"{key}: another process has locked {path} for {BUSY_LIMIT:.0f} seconds; "
                    "end it, or choose another file"
                ) from error


def _is_file(path: Path, key: str) -> bool:
    """Whether there is a file, which can then be read and written."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.is_symlink():
            raise TrackingError(
                f"{key}: {path} is a link to {os.readlink(path)}, which does not exist"
            ) from None
        return False
    except OSError as error:
        raise TrackingError(f"{key}: {path} cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "something else"
        raise TrackingError(f"{key}: expected the file of a database, got {kind}: {path}")
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=True):
        raise TrackingError(
            f"{key}: expected a file to read and to write, got {path}, which is not"
        )
    return True


def _write_nothing(path: Path) -> None:
    """Begin to write to a database and leave it as it is."""
    with contextlib.closing(
        sqlite3.connect(
            f"file:{path}?mode=rw", timeout=min(2, BUSY_LIMIT), uri=True, isolation_level=None
        )
    ) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")


def check_server(uri: str, key: str) -> None:
    """Check that a database server takes a connection; a few attempts, of which a line tells.

    Args:
        uri: address, as SQLAlchemy takes it.
        key: setting that names the store, for messages.

    Raises:
        TrackingError: in one line, where it does not.
    """
    address = without_password(uri)
    for attempt, pause in enumerate((*CONNECTION_PAUSES, None)):
        try:
            return connect(uri)
        except OperationalError as error:
            if pause is None:
                raise TrackingError(
                    f"{key}: {address} does not answer ({format_error(error)})"
                ) from error
            if attempt == 0:
                seconds = sum(CONNECTION_PAUSES)
                warn(f"waiting {seconds:.0f} s for {address} ({format_error(error)})")
            time.sleep(pause)
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise TrackingError(
                f"{key}: {address} cannot be used: {format_error(error)}"
            ) from error


def connect(uri: str) -> None:
    """Connect once to a database server, within ten seconds.

    Raises:
        SQLAlchemyError, ImportError, ValueError: where it does not answer, or for another address.
    """
    option = CONNECTION_TIMEOUT.get(make_url(uri).get_backend_name())
    engine = create_engine(uri, poolclass=NullPool, connect_args={option: 10} if option else {})
    engine.connect().close()
