"""Failures of a tracking store: which errors it raises, which are permanent, and calls that may fail."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bnn.errors import BnnError, CheckpointError, format_error

if TYPE_CHECKING:
    pass


def store_errors() -> tuple[type[Exception], ...]:
    """What is raised where a store or its artifacts cannot be reached or written."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    kinds: tuple[type[Exception], ...] = (
        MlflowException,
        RequestException,
        SQLAlchemyError,
        OSError,
        BnnError,
    )
    try:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return kinds
    return (*kinds, Boto3Error, BotoCoreError, ClientError)


RETRYABLE_STATUS = (401, 403, 408, 425, 429)
"""Refusals of a server that another password, another permission or a moment's patience can lift."""


def is_permanent(error: Exception) -> bool:
    """Whether a store that answers will never take this: it is too large, the run was deleted, the record is damaged."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    else:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, FileNotFoundError | CheckpointError):
            return True
    return status is not None and 400 <= status < 500 and status not in RETRYABLE_STATUS


@contextlib.contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Within, a store that is away costs a warning and nothing more."""
    try:
        yield
    except store_errors() as error:
        warn(f"{what} is not recorded ({format_error(error)})")


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
