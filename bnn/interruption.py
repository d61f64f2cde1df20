"""Interruption of a process: signals that wait for a record, and workers whose sweep has ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
POLL_SECONDS = 2.0
"""Time between two looks of a worker at its sweep."""
GRACE_SECONDS = 30.0
"""Time that the job of a worker has to end its record once its sweep is gone."""
_busy = threading.Event()
"""Set while this worker runs a job."""


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Context manager in which SIGINT and SIGTERM wait, to write a record; they come at its end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    # a handler that Python did not install is None, and cannot be put back
    # (the default handler, SIG_DFL, is 0)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler is not None}
    for number in before:
        signal.signal(number, lambda caught_number, frame: caught.append(caught_number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for waiting in dict.fromkeys(caught):
            signal.raise_signal(waiting)


@contextlib.contextmanager
def ends_with_sweep(sweep: int) -> Iterator[None]:
    """Context manager of a job, which is interrupted when the sweep that started its worker dies.

    A launcher's worker that outlives its sweep would keep its memory and go on training for nobody.
    Jobs of other launchers, whose workers are no children of the sweep, outlive it.

    Args:
        sweep: process id of the sweep.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid != sweep:
        yield
        return
    if os.getppid() != sweep:
        os._exit(1)
    name = f"sweep {sweep}"
    if all(thread.name != name for thread in threading.enumerate()):
        threading.Thread(target=_watch, args=(sweep,), name=name, daemon=True).start()
    _busy.set()
    try:
        yield
    finally:
        _busy.clear()


def _watch(sweep: int) -> None:
    """End this process once its parent is another one than the sweep."""
    while os.getppid() == sweep:
        time.sleep(POLL_SECONDS)
    end = time.monotonic() + GRACE_SECONDS
    if _busy.is_set():
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)  # which ends a system call too
    while _busy.is_set() and time.monotonic() < end:
        time.sleep(0.1)
    os._exit(1)
