"""Errors that a user can act on.

Each message says what was expected, what came, and which key to change.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, NoReturn


class BnnError(Exception):
    """Base of every error that ends in one readable line instead of a traceback."""


class ConfigError(BnnError, ValueError):
    """Configuration that cannot run; the message names the key to change."""


class DataError(BnnError):
    """Data set that is missing, unreachable, or without its published checksum."""


class NoEstimatorError(BnnError, RuntimeError):
    """Binary layer in training without an estimator: the layers below would get no gradient."""


class DivergedError(BnnError, ArithmeticError):
    """Training loss that became NaN, infinite, or many times what it was at first."""


class CheckpointError(BnnError):
    """Checkpoint that cannot be written or read."""


class TrackingError(BnnError):
    """Tracking store that cannot be reached, or lacks what was asked for."""


class StorageError(BnnError):
    """Storage of studies that cannot be read or written."""


class Pruned(BnnError):
    """Trial of a study that was stopped early, since it was unpromising."""


class Superseded(BnnError):
    """Trial of a study that another process has ended, and may have begun again."""


SECRETS = "password|passwd|pwd|sslpassword|passphrase|token|secret|access_?key"
"""Parameters of an address's query that hold a secret."""


def without_password(text: str) -> str:
    """Text without the passwords of its addresses: `postgresql://user:***@host/db?password=***`."""
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    value = r"[^&\s'\"]+?(?=[:;,.]?(?:[&\s'\"]|$))"
    return re.sub(rf"([?&](?:{SECRETS})=){value}", r"\1***", text, flags=re.IGNORECASE)


def keep_files_private(words: Iterable[str]) -> None:
    """Make the files of this process and its children readable by their owner alone, if need be.

    Hydra writes the command line and the addresses of stores to the folders of its jobs.

    Args:
        words: words of a command line and addresses, of which one may hold a password.
    """
    if any(without_password(word) != word for word in words):
        os.umask(0o077)


def format_error(error: BaseException) -> str:
    """Error in one line, without passwords; of a foreign error the type stands before the text."""
    words = without_password(str(error).partition("\n")[0])
    return words if isinstance(error, BnnError) else f"{type(error).__name__}: {words}"


FORMER_OPTIONS = {"--passes": "--evaluations"}
"""Options of commands by their names in earlier versions."""


class OneLineParser(argparse.ArgumentParser):
    """Command-line parser that answers a mistake in one line; options have no abbreviations."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """End the command with exit code 2, with the option that an unknown one resembles."""
        start, _, unknown = message.partition("unrecognized arguments: ")
        if unknown and not start:
            word = unknown.split()[0]
            there = [option for action in self._actions for option in action.option_strings]
            option = word.partition("=")[0]
            if (present := FORMER_OPTIONS.get(option)) in there:
                self.exit(2, f"error: {option}: this option is called {present} now\n")
            begun = [name for name in there if name.startswith(option)]
            close = begun or difflib.get_close_matches(option, there, 1)
            meant = f"did you mean {close[0]}? " if close else ""
            kind = "option" if word.startswith("-") else "argument"
            message = f"{word}: there is no such {kind}; {meant}options: {', '.join(there)}"
        self.exit(2, f"error: {message.removeprefix('argument ')} ({self.prog} --help)\n")


def exit_code(command: Callable[[], int | None]) -> int:
    """Exit code of a command: its own, or 1 after printing a BnnError as one line on stderr.

    Args:
        command: function that returns an exit code, None for 0.
    """
    try:
        return command() or 0
    except BnnError as error:
        print(f"error: {without_password(str(error))}", file=sys.stderr)
        return 1
