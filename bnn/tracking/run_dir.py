"""The folder of a run: whose it is, and whether a process is at work in it."""

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
    """Within, this process is the one at work in `folder`. The lock goes with the process, however it ends.

    Errors: TrackingError where another process is, or where the folder or its file system does not allow it.
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
    """Make `folder` another run's than before; answers the key by which that run knows it (its tag `bnn.run_dir_owner`)."""
    key = uuid.uuid4().hex
    (folder / OWNER).write_text(key)
    return key


def run_dir_of(tags: Mapping[str, str]) -> Path | None:
    """The folder of the run with these tags, where it is here, readable, and still that run's."""
    tags = schema.current_tags(tags)
    folder = Path(tags.get(schema.RUN_DIR, ""))
    try:
        return folder if (folder / OWNER).read_text() == tags.get(schema.RUN_DIR_OWNER) else None
    except OSError:
        return None
