"""Storage of studies: a journal file beside the tracking file, or any database of Optuna's.

A study stores its identity: search space, objectives and fixed configuration. A study of the same
name and another identity is refused.
"""

from __future__ import annotations

import contextlib
import json
import math
import shlex
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.study import Study, StudyDirection
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from bnn.errors import BnnError, StorageError, format_error, without_password
from bnn.tracking.failures import announced
from bnn.tuning import optuna_adapter as adapter
from bnn.tuning.journal import JournalFile
from bnn.tuning.queue import TrialQueue
from bnn.tuning.settings import IDENTITY, metrics_of

optuna.logging.set_verbosity(optuna.logging.ERROR)

JOURNAL = "optuna.journal"
TOKEN = "token"
"""Attribute of a study: the time at which it was made, and a random id."""
SETTLE_SECONDS = 20.0
"""Time for which a process waits for another one that makes a database or a study."""
RECONNECT_SECONDS = 60.0
"""Time for which a connection to a database server is tried again, such as while it restarts."""
POLL_SECONDS = 1.0
T = TypeVar("T")


class StudyError(BnnError):
    """A study that cannot be opened, or that has another identity than was asked for."""


def storage_address(given: str | None, tracking_uri: str) -> str:
    """Address of the storage of studies, with paths made absolute for jobs in other directories.

    Args:
        given: path of a journal, or address of a database (anything with `://`); None: the journal
            beside the tracking file, or in the working directory where tracking is on a server.
        tracking_uri: address of the tracking store.
    """
    if given is None:
        local = tracking_uri.startswith("sqlite:///")
        folder = Path(tracking_uri.removeprefix("sqlite:///")).parent if local else Path()
        given = str(folder / JOURNAL)
    if given.startswith("sqlite:///"):
        return f"sqlite:///{Path(given.removeprefix('sqlite:///')).absolute()}"
    return given if "://" in given else str(Path(given).expanduser().absolute())


def dashboard_command(address: str) -> str:
    """Command line that shows the studies of a storage in a browser."""
    return f"optuna-dashboard {shlex.quote(without_password(address))}"


def _patiently(attempt: Callable[[], T], errors: tuple[type[Exception], ...]) -> T:
    """Result of an attempt, which is repeated on `errors` for `SETTLE_SECONDS`.

    Of several processes that make one database schema at once, all but one fail, and find it made a
    moment later.
    """
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return attempt()
        except errors:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def open_existing_storage(address: str) -> BaseStorage:
    """Open a storage, without making a missing journal or SQLite file.

    Args:
        address: address made by `storage_address`.

    Raises:
        StudyError: where it is missing, or cannot be read.
    """
    file = address.removeprefix("sqlite:///")
    if "://" not in file and not Path(file).is_file():
        raise StudyError(
            f"{file}: no such file; go to the folder that holds {JOURNAL}, or give --storage"
        )
    return open_storage(address)


def open_storage(address: str) -> BaseStorage:
    """Open a storage, which is made if it is missing.

    Args:
        address: address made by `storage_address`.

    Raises:
        StudyError: when it cannot be reached or read.
    """
    file = address.removeprefix("sqlite:///") if address.startswith("sqlite:///") else address
    if "://" not in file and not Path(file).parent.is_dir():
        raise StudyError(f"hydra.sweeper.storage: the folder of {file} does not exist")
    if "://" not in address:
        try:
            return JournalStorage(JournalFile(Path(address)))
        except (OSError, ValueError, KeyError, StorageError) as error:
            raise StudyError(
                f"hydra.sweeper.storage: {address} is not a journal of Optuna's: {error}"
            ) from error
    return _database(address)


def _database(address: str) -> BaseStorage:
    sqlite = address.startswith("sqlite")
    options: dict[str, Any] = {"pool_pre_ping": True}
    if sqlite:
        options["connect_args"] = {"timeout": 60}
    try:
        storage = _patiently(
            lambda: RDBStorage(address, engine_kwargs=options), (DBAPIError, StorageInternalError)
        )
    except (
        ArgumentError,
        SQLAlchemyError,
        StorageInternalError,
        ImportError,
        ValueError,
        RuntimeError,
    ) as error:
        raise StudyError(
            f"hydra.sweeper.storage: {without_password(address)} cannot be used: "
            f"{format_error(error)}"
        ) from error
    if sqlite:
        _one_writer_at_a_time(storage)
    else:
        _reconnect(storage)
    return storage


class _Outage:
    """Time in which a database server does not answer, as all threads of a process see it."""

    def __init__(self) -> None:
        self._lock, self._began, self._latest = threading.Lock(), -math.inf, -math.inf

    def may_end(self) -> bool:
        """Record a failed attempt; whether another one within `RECONNECT_SECONDS` is due.

        A failure that long after the last one begins another outage.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._latest > RECONNECT_SECONDS:
                self._began = now
            self._latest = now
            return now - self._began < RECONNECT_SECONDS

    def end(self) -> None:
        """Record an attempt that succeeded."""
        with self._lock:
            self._latest = -math.inf


def _reconnect(storage: RDBStorage) -> None:
    """Wait once for a database server that has answered before, and is away for a moment.

    Once the wait is over, calls try a single time until the server answers again.
    """
    outage = _Outage()

    @event.listens_for(storage.engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, parameters: Any) -> Any:
        with announced(without_password(str(storage.engine.url))):
            while True:
                try:
                    made = dialect.connect(*args, **parameters)
                except dialect.loaded_dbapi.OperationalError:
                    if not outage.may_end():
                        raise
                    time.sleep(0.3)
                else:
                    outage.end()
                    return made


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Context manager in which an error of the database is a `StorageError` of one line."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause = error.__cause__ if isinstance(error, StorageInternalError) else error
        raise StorageError(
            f"hydra.sweeper.storage: the database failed ({format_error(cause or error)}): "
            "the same command goes on, and no trial is lost"
        ) from error


def _one_writer_at_a_time(storage: RDBStorage) -> None:
    """Begin every transaction with SQLite's lock of the whole file.

    Optuna hands a waiting trial to one process only by locking its row, which SQLite cannot.
    """

    @event.listens_for(storage.engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        # else Python begins a transaction by itself, at the first write
        connection.isolation_level = None

    @event.listens_for(storage.engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections from before


def open_study(
    storage: BaseStorage,
    name: str,
    directions: Sequence[str],
    identity: Mapping[str, Any],
    *,
    sampler: optuna.samplers.BaseSampler | None = None,
) -> tuple[Study, bool]:
    """Open the study of a name, which is made if it is missing.

    Args:
        storage: storage of studies.
        name: name of the study.
        directions: `minimize` or `maximize`, by objective.
        identity: identity of the study, which JSON can hold.
        sampler: sampler for new trials.

    Returns:
        The study, and whether this call made it.

    Raises:
        StudyError: when the study that exists has another identity; the message has both.
    """
    study_directions = [StudyDirection[direction.upper()] for direction in directions]
    try:
        study = optuna.create_study(
            study_name=name, storage=storage, directions=study_directions, sampler=sampler
        )
        study.set_user_attr(TOKEN, f"{time.time()} {uuid.uuid4()}")
        study.set_user_attr(IDENTITY, json.dumps(identity))
        adapter.name_objectives(study, metrics_of(study.user_attrs))
        return study, True
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    there = wait_for_attribute(study, IDENTITY)
    if there is None:
        if study.directions != study_directions or study.get_trials(deepcopy=False):
            raise StudyError(
                f"study {name!r} was not made by this program: "
                "write hydra.sweeper.study_name=NAME for another"
            )
        # the process that made it ended before it could store the identity
        study.set_user_attr(IDENTITY, json.dumps(identity))
    elif json.loads(there) != identity:
        raise StudyError(_differences(name, json.loads(there), identity))
    adapter.name_objectives(study, metrics_of(study.user_attrs))
    return study, False


def forget_study(storage: BaseStorage, name: str, stale_after: float) -> None:
    """Delete the study of a name, if there is one.

    Args:
        storage: storage of studies.
        name: name of the study.
        stale_after: seconds of silence after which a running trial counts as stale.

    Raises:
        StudyError: while a trial of it is running; of one elsewhere, after its next heartbeat.
    """
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return
    queue = TrialQueue(study, 1, stale_after)
    waiting = False
    while alive := {
        t.number: state for t in queue.running() if (state := queue.is_alive(t)) is not False
    }:
        numbers = ", ".join(map(str, alive))
        if any(alive.values()):
            raise StudyError(
                f"fresh=true: study {name!r} has a running trial ({numbers}): "
                "stop the command that runs it"
            )
        if not waiting:
            print(
                f"fresh=true: trial {numbers} of study {name!r} was left running, not by a process "
                f"of this machine; waiting {stale_after:.0f} s for a sign of life …",
                flush=True,
            )
        waiting = True
        time.sleep(POLL_SECONDS)
    optuna.delete_study(study_name=name, storage=storage)


def creation_token(study: Study) -> str:
    """Token of a study's creation; a later study of the same name (and number) has another one."""
    return str(study.user_attrs.get(TOKEN))


def is_newly_created(study: Study) -> bool:
    """Whether a study is so new that its maker may still be setting its attributes."""
    made = creation_token(study).partition(" ")[0]
    return made != "None" and time.time() - float(made) < SETTLE_SECONDS


def still_exists(study: Study, token: str) -> bool:
    """Whether the study of a creation token has not been deleted meanwhile."""
    try:
        current = optuna.load_study(study_name=study.study_name, storage=adapter.storage_of(study))
        return creation_token(current) == token
    except KeyError:
        return False


def wait_for_attribute(study: Study, key: str) -> Any:
    """Attribute that the maker of a study is about to set; None where it is not set in time."""
    end = time.monotonic() + SETTLE_SECONDS
    while (value := study.user_attrs.get(key)) is None and time.monotonic() < end:
        time.sleep(0.2)
    return value


def _differences(name: str, there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Message about a study of another identity: both search spaces, and what differs besides."""
    first, second = _other_parts(there), _other_parts(asked)

    def lines(identity: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
        different = [key for key in parts if first.get(key) != second.get(key)]
        shown = [*identity["space"].items(), *((key, parts[key]) for key in different)]
        return "\n".join(f"    {key}={value}" for key, value in shown)

    return (
        f"study {name!r} is there already, and it is of something else. Write fresh=true to start "
        "over, or hydra.sweeper.study_name=NAME for another study\n"
        f"  there:\n{lines(there, first)}\n  asked for:\n{lines(asked, second)}"
    )


def _other_parts(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Parts of an identity beside its search space; the fixed configuration key by key."""
    parts = {key: value for key, value in identity.items() if key not in ("space", "config")}
    return {**parts, **identity.get("config", {})}
