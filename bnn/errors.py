"""The errors a user can act on. Each message says what was expected, what came, and which key to change."""

from __future__ import annotations

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


def exit_code(command: Callable[[], int | None]) -> int:
    """What `command` answers, none for 0; an error that a user can act on is one line on stderr, and 1."""
    try:
        return command() or 0
    except BnnError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
