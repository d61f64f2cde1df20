"""The errors a user can act on. Each message says what was expected, what came, and which key to change."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable


class BnnError(Exception):
    """Base of every error that ends in one readable line instead of a traceback."""


class ConfigError(BnnError, ValueError):
    """A configuration that cannot run; the message names the key to change."""


class DataError(BnnError):
    """A data set that is missing, unreachable or not what its checksum says."""


class NoEstimatorError(BnnError, RuntimeError):
    """A binary layer in training that no estimator handles: the layers below it would get no gradient."""


class DivergedError(BnnError, ArithmeticError):
    """The training loss became NaN or infinite."""


class CheckpointError(BnnError):
    """A checkpoint that cannot be written or read."""


class TrackingError(BnnError):
    """The tracking store cannot be reached or does not hold what was asked for."""


class Pruned(BnnError):
    """A trial of a study was stopped early, since it was unpromising."""


def without_password(text: str) -> str:
    """`text` without the passwords of the addresses in it: `postgresql://user:***@host/db`."""
    return re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)


def format_error(error: BaseException) -> str:
    """An error in one line, without passwords; the type stands before the text of a foreign one."""
    words = without_password(str(error).partition("\n")[0])
    return words if isinstance(error, BnnError) else f"{type(error).__name__}: {words}"


def exit_code(command: Callable[[], int | None]) -> int:
    """Exit code of a command: its own, or 1 after printing a BnnError as one line on stderr.

    Args:
        command: returns an exit code, None for 0.
    """
    try:
        return command() or 0
    except BnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
