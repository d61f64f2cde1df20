"""Output that goes on when its reader is gone, as of `python -m bnn.train -m … | head`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO


class _Lasting:
    """Text stream that discards what it is given once its pipe is closed.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._discard()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._discard()

    def _discard(self) -> None:
        """Open the null device in place of the pipe, for what is buffered too."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


@contextlib.contextmanager
def lasting_output() -> Iterator[None]:
    """Context manager in which a closed pipe on stdout does not end what prints to it."""
    if sys.stdout is None:  # of a process without one
        yield
        return
    lasting = _Lasting(sys.stdout)
    with contextlib.redirect_stdout(lasting):  # type: ignore[type-var]
        try:
            yield
        finally:
            lasting.flush()
