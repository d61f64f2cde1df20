"""Where studies lie: a journal file beside the tracking file, or any database that Optuna takes.

A study remembers what it is a study of. The same name with another search space, objective or fixed configuration is
refused.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study, StudyDirection

from bnn.errors import BnnError, ConfigError

optuna.logging.set_verbosity(optuna.logging.ERROR)

JOURNAL = "optuna.journal"
IDENTITY = "identity"
"""The attribute of a study that holds what it is a study of, as JSON."""
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
        beside = Path(tracking_uri.removeprefix("sqlite:///")).parent if tracking_uri.startswith("sqlite:///") else Path()
        given = str(beside / JOURNAL)
    if given.startswith("sqlite:///"):
        return f"sqlite:///{Path(given.removeprefix('sqlite:///')).absolute()}"
    return given if "://" in given else str(Path(given).expanduser().absolute())


def dashboard(address: str) -> str:
    """The command line that shows the studies in a browser."""
    return f"optuna-dashboard {address}"


def _patiently(attempt: Callable[[], T], errors: type[Exception] | tuple[type[Exception], ...]) -> T:
    """Several processes that make one schema at once: all but one fail, and find it made a moment later."""
    end = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            return attempt()
        except errors:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def open_storage(address: str) -> BaseStorage:
    """The storage at an address made by `storage_address`. Errors: StudyError when it cannot be reached or read."""
    if "://" not in address:
        if not Path(address).parent.is_dir():
            raise StudyError(f"hydra.sweeper.storage: the folder of {address} does not exist")
        try:
            return JournalStorage(JournalFileBackend(address))
        except (OSError, ValueError, KeyError) as error:
            raise StudyError(f"hydra.sweeper.storage: {address} is not a journal of Optuna's: {error}") from error
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    options: dict[str, Any] = {"pool_pre_ping": True}
    if address.startswith("sqlite"):
        options["connect_args"] = {"timeout": 60}
    try:
        return _patiently(lambda: RDBStorage(address, engine_kwargs=options), SQLAlchemyError)
    except (ArgumentError, SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        shown = address.partition("@")[2] or address  # no password
        raise StudyError(f"hydra.sweeper.storage: {shown} cannot be used: {str(error).splitlines()[0]}") from error


def open_study(
    storage: BaseStorage,
    name: str,
    directions: Sequence[str],
    identity: Mapping[str, Any],
    *,
    fresh: bool = False,
    sampler: optuna.samplers.BaseSampler | None = None,
) -> Study:
    """The study of this name, made if it is missing; `fresh` forgets one that is there.

    Errors: StudyError when the study that is there is of something else, showing both.
    """
    if fresh:
        with contextlib.suppress(KeyError):
            optuna.delete_study(study_name=name, storage=storage)
    try:
        ways = [StudyDirection[direction.upper()] for direction in directions]
        study = optuna.create_study(study_name=name, storage=storage, directions=ways, sampler=sampler)
        study.set_user_attr(IDENTITY, json.dumps(identity))
        return study
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, sampler=sampler)
    there = _identity(study)
    if there is None:  # whoever made it was ended before it could say what it is
        study.set_user_attr(IDENTITY, json.dumps(identity))
    elif there != identity:
        raise StudyError(_differences(name, there, identity))
    return study


def _identity(study: Study) -> dict[str, Any] | None:
    end = time.monotonic() + SETTLE_SECONDS
    while (text := study.user_attrs.get(IDENTITY)) is None and time.monotonic() < end:
        time.sleep(0.2)
    return None if text is None else json.loads(text)


def _differences(name: str, there: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    def lines(identity: Mapping[str, Any]) -> str:
        shown = [f"    {key}={value}" for key, value in identity["space"].items()]
        others = {f"{part}.{key}" if part == "config" else key: value
                  for part in identity if part != "space"
                  for key, value in (identity[part] if part == "config" else {part: identity[part]}).items()
                  if _get(there, part, key) != _get(asked, part, key)}  # fmt: skip
        return "\n".join(shown + [f"    {key.removeprefix('config.')}={value}" for key, value in others.items()])

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
