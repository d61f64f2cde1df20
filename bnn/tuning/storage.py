"""Where studies lie: a journal file beside the tracking file, or any database that Optuna takes.

A study remembers what it is a study of. The same name with another search space, objective or fixed configuration is
refused.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from bnn.errors import BnnError, ConfigError, without_password
from bnn.tuning import optuna_adapter as adapter
from bnn.tuning.queue import TrialQueue
from bnn.tuning.settings import IDENTITY

optuna.logging.set_verbosity(optuna.logging.ERROR)

JOURNAL = "optuna.journal"
TOKEN = "token"
SETTLE_SECONDS = 20.0
T = TypeVar("T")


class StudyError(BnnError):
    """A study that cannot be opened, or that is another one than was asked for."""


def storage_address(given: str | None, tracking_uri: str) -> str:
    """`given`, or the journal beside the tracking file (in the working directory where tracking is a server's).

    A path is a journal's, made absolute, so that jobs in other directories mean the same file; anything with `://` is a
    database's.
    """
    if given is None:
        beside = (
            Path(tracking_uri.removeprefix("sqlite:///")).parent
            if tracking_uri.startswith("sqlite:///")
            else Path()
        )
        given = str(beside / JOURNAL)
    if given.startswith("sqlite:///"):
        return f"sqlite:///{Path(given.removeprefix('sqlite:///')).absolute()}"
    return given if "://" in given else str(Path(given).expanduser().absolute())


def dashboard_command(address: str) -> str:
    """The command line that shows the studies in a browser."""
    return f"optuna-dashboard {without_password(address)}"


def _patiently(attempt: Callable[[], T], errors: tuple[type[Exception], ...]) -> T:
    """Several processes that make one schema at once: all but one fail, and find it made a moment later."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return attempt()
        except errors:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def open_existing_storage(address: str) -> BaseStorage:
    """The storage at an address, which is not made if it is missing. Errors: StudyError where it is."""
    file = address.removeprefix("sqlite:///")
    if "://" not in file and not Path(file).is_file():
        raise StudyError(
            f"{file}: no such file; go to the folder that holds {JOURNAL}, or give --storage"
        )
    return open_storage(address)


def open_storage(address: str) -> BaseStorage:
    """The storage at an address made by `storage_address`. Errors: StudyError when it cannot be reached or read."""
    file = address.removeprefix("sqlite:///") if address.startswith("sqlite:///") else address
    if "://" not in file and not Path(file).parent.is_dir():
        raise StudyError(f"hydra.sweeper.storage: the folder of {file} does not exist")
    if "://" not in address:
        try:
            return JournalStorage(JournalFileBackend(address))
        except (OSError, ValueError, KeyError) as error:
            raise StudyError(
                f"hydra.sweeper.storage: {address} is not a journal of Optuna's: {error}"
            ) from error
    return _database(address)


def _database(address: str) -> BaseStorage:
    sqlite = address.startswith("sqlite")
    options: dict[str, Any] = {"pool_pre_ping": True} | (
        {"connect_args": {"timeout": 60}} if sqlite else {}
    )
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
            f"hydra.sweeper.storage: {without_password(address)} cannot be used: {str(error).splitlines()[0]}"
        ) from error
    if sqlite:
        _one_writer_at_a_time(storage)
    return storage


def _one_writer_at_a_time(storage: RDBStorage) -> None:
    """SQLite does not know the row locks by which Optuna hands a waiting trial to one process only: take the file's."""

    @event.listens_for(storage.engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = (
            None  # Python's own, which begins a transaction at the first write
        )

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
    """The study of this name, and whether it is this call that made it.

    Errors: StudyError when the study that is there is of something else, showing both.
    """
    ways = [StudyDirection[direction.upper()] for direction in directions]
    try:
        study = optuna.create_study(
            study_name=name, storage=storage, directions=ways, sampler=sampler
        )
        study.set_user_attr(TOKEN, f"{time.time()} {uuid.uuid4()}")
        study.set_user_attr(IDENTITY, json.dumps(identity))
        return study, True
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    there = wait_for_attribute(study, IDENTITY)
    if there is None:
        if study.directions != ways or study.get_trials(deepcopy=False):
            raise StudyError(
                f"study {name!r} was not made by this program: write hydra.sweeper.study_name=NAME for another"
            )
        study.set_user_attr(
            IDENTITY, json.dumps(identity)
        )  # whoever made it was ended before it could say what it is
    elif json.loads(there) != identity:
        raise StudyError(_differences(name, json.loads(there), identity))
    return study, False


def forget_study(storage: BaseStorage, name: str, stale_after: float) -> None:
    """Delete the study of this name, if there is one. Errors: StudyError while a trial of it is running."""
    try:
        study = optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return
    ledger = TrialQueue(study, 1, stale_after)
    if alive := [trial.number for trial in ledger.running() if not ledger.is_stale(trial)]:
        raise StudyError(
            f"fresh=true: study {name!r} has a running trial ({', '.join(map(str, alive))}): stop the command that runs it"
        )
    optuna.delete_study(study_name=name, storage=storage)


def creation_token(study: Study) -> str:
    """What tells a study from a later one of its name (and, in a database, of its number)."""
    return str(study.user_attrs.get(TOKEN))


def is_newly_created(study: Study) -> bool:
    """Whether whoever made the study may still be about to say more of it."""
    made = creation_token(study).partition(" ")[0]
    return made != "None" and time.time() - float(made) < SETTLE_SECONDS


def still_exists(study: Study, token: str) -> bool:
    """Whether the study of this token has not been deleted meanwhile."""
    try:
        return (
            creation_token(
                optuna.load_study(study_name=study.study_name, storage=adapter.storage_of(study))
            )
            == token
        )
    except KeyError:
        return False


def wait_for_attribute(study: Study, key: str) -> Any:
    """An attribute that the maker of the study is about to set; None if it never comes."""
    end = time.monotonic() + SETTLE_SECONDS
    while (value := study.user_attrs.get(key)) is None and time.monotonic() < end:
        time.sleep(0.2)
    return value


def _differences(name: str, there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    def lines(identity: Mapping[str, Any]) -> str:
        shown = [f"    {key}={value}" for key, value in identity["space"].items()]
        others = {f"{part}.{key}" if part == "config" else key: value
                  for part in identity if part != "space"
                  for key, value in (identity[part] if part == "config" else {part: identity[part]}).items()
                  if _get(there, part, key) != _get(asked, part, key)}  # fmt: skip
        return "\n".join(
            shown + [f"    {key.removeprefix('config.')}={value}" for key, value in others.items()]
        )

    return (
        f"study {name!r} is there already, and it is of something else. Write fresh=true to start over, or "
        f"hydra.sweeper.study_name=NAME for another study\n  there:\n{lines(there)}\n  asked for:\n{lines(asked)}"
    )


def _get(identity: Mapping[str, Any], part: str, key: str) -> Any:
    return identity.get("config", {}).get(key, "absent") if part == "config" else identity.get(part)


def check_name(name: str) -> str:
    if not name.strip() or len(name) > 500:
        raise ConfigError(f"hydra.sweeper.study_name: expected 1 to 500 characters, got {name!r}")
    return name
