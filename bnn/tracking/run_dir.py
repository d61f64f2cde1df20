"""Run directory: the run that owns it, and a lock for the process that trains in it."""

from __future__ import annotations

import contextlib
import fcntl
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from bnn import schema
from bnn.errors import TrackingError

LOCK, OWNER = "lock", "owner"


@contextlib.contextmanager
def lock_run_dir(folder: Path) -> Iterator[None]:
    """Context manager that holds an exclusive advisory lock on a run directory.

    The operating system releases the lock when the process exits, however it ends.

    Args:
        folder: run directory, made if it is missing.

    Raises:
        TrackingError: where another process holds the lock, or where the directory cannot be
            written or its file system has no locks.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("w")
    except OSError as error:
        raise TrackingError(
            f"{folder}: expected a folder to write in, got: {error.strerror}"
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrackingError(
                f"another process is at work in {folder}: wait for it, or end it first"
            ) from error
        except OSError as error:
            raise TrackingError(
                f"{folder}: expected a file system with locks, got: {error.strerror}"
            ) from error
        yield


def claim_run_dir(folder: Path) -> str:
    """Make a run directory the property of a new run.

    Returns:
        Random key, which stands in the directory and in the run's tag `bnn.run_dir_owner`.

    Raises:
        TrackingError: where the directory cannot be written.
    """
    key = uuid.uuid4().hex
    try:
        (folder / OWNER).write_text(key)
    except OSError as error:
        raise TrackingError(
            f"{folder}: expected a folder to write in, got: {error.strerror}"
        ) from error
    return key


def run_dir_of(tags: Mapping[str, str]) -> Path | None:
    """Directory from the tags of a run; None where it is elsewhere, or belongs to another run."""
    tags = schema.current_tags(tags)
    folder = Path(tags.get(schema.RUN_DIR, ""))
    try:
        return folder if (folder / OWNER).read_text() == tags.get(schema.RUN_DIR_OWNER) else None
    except (OSError, ValueError):
        return None
