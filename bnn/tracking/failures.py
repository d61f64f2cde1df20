"""Failures of a tracking store: its errors, its refusals, slow answers and best-effort calls."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

from mlflow.exceptions import MlflowException, RestException
from requests import RequestException
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from bnn.errors import BnnError, CheckpointError, TrackingError, format_error

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
NO_SUCH = "RESOURCE_DOES_NOT_EXIST"
REFUSALS = (NO_SUCH, "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS")
"""Error codes of MLflow for a call that recurs however often it is repeated."""
TOO_LARGE = 413
"""HTTP status of a file that is too large for a server, or for the proxy in front of it."""
PATIENCE = 15.0
"""Seconds after which a line says what is waited for."""


class DamagedRecord(TrackingError):
    """Record of a call that can never be made, such as one whose payload is missing."""


def answer_code(error: Exception) -> str | None:
    """Error code of an answer of MLflow's own.

    Returns:
        The code; None for an error of other origin: no answer, the page of a proxy, a database that
        fails.
    """
    if isinstance(error, RestException):
        return error.json.get("error_code")
    if isinstance(error, RequestException):  # requests for artifacts
        try:
            answer = error.response.json() if error.response is not None else None
        except ValueError:
            return None
        return answer.get("error_code") if isinstance(answer, dict) else None
    if not isinstance(error, MlflowException):
        return None
    if isinstance(error.__cause__, SQLAlchemyError):
        broken = not isinstance(error.__cause__, DataError | IntegrityError)
    else:  # MLflow's client gives a page that is no JSON the code of its HTTP status
        broken = error.error_code == "BAD_REQUEST"
    return None if broken else error.error_code


def is_refusal(error: Exception) -> bool:
    """Whether a store refuses a call for good, or the call cannot be made from its record."""
    if isinstance(error, DamagedRecord | CheckpointError):
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)
    return answer_code(error) in REFUSALS or status == TOO_LARGE


def describe(error: Exception) -> str:
    """Error in one line, without the page that stood in place of MLflow's answer."""
    text, page, _ = format_error(error).partition(" Response body: ")
    return f"an answer that is not MLflow's ({text})" if page else text


@contextlib.contextmanager
def announced(what: str, patience: float = PATIENCE) -> Iterator[None]:
    """Context manager that says what is waited for where it takes long.

    Args:
        what: what the process waits for.
        patience: seconds before the line.
    """
    timer = threading.Timer(patience, warn, [f"still waiting for {what}"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


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
