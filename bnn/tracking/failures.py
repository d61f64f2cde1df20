"""Failures of a tracking store: its errors, permanent ones among them, and best-effort calls."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from bnn.errors import BnnError, CheckpointError, format_error

try:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    S3_ERRORS: tuple[type[Exception], ...] = (Boto3Error, BotoCoreError, ClientError)
except ImportError:
    S3_ERRORS = ()

STORE_ERRORS: tuple[type[Exception], ...] = (
    MlflowException,
    RequestException,
    SQLAlchemyError,
    OSError,
    BnnError,
    *S3_ERRORS,
)
"""Errors of a store, or of its artifacts, that cannot be reached, read or written."""
RETRYABLE_STATUS = (401, 403, 408, 425, 429)
"""HTTP statuses that another password, another permission or a moment's patience can lift."""


def is_permanent(error: Exception) -> bool:
    """Whether an error recurs however often a call is repeated.

    The record is too large or damaged, or its run was deleted.
    """
    if isinstance(error, FileNotFoundError | CheckpointError):
        return True
    if isinstance(error, MlflowException):
        status = error.get_http_status_code()
    else:
        status = getattr(getattr(error, "response", None), "status_code", None)
    return status is not None and 400 <= status < 500 and status not in RETRYABLE_STATUS


@contextlib.contextmanager
def best_effort(what: str) -> Iterator[None]:
    """Context manager in which an error of the store becomes a warning.

    Args:
        what: record that is lost then, as the subject of the warning.
    """
    try:
        yield
    except STORE_ERRORS as error:
        warn(f"{what} is not recorded ({format_error(error)})")


def warn(text: str) -> None:
    """Print a warning on stderr."""
    print(f"warning: {text}", file=sys.stderr, flush=True)
