"""Distributed trial queue on top of an Optuna study.

Workers claim, heartbeat and re-enqueue trials without a coordinator; any number of processes on
several machines may work on one study. A running trial names the processes that answer for it (the
sweeper that asked, then the job that trains it, each by machine and process id) and when it was
last heard of. A trial whose processes are gone, or silent for too long, is stale: it ends as FAIL
and its parameters are enqueued again, at most `ATTEMPTS` times.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from bnn.tuning import optuna_adapter as adapter

HEARD, SWEEPER, JOB = "heard", "sweeper", "job"
"""Attributes of a trial: when a process last answered for it (seconds since 1970), and which do."""
REASON, LOST, SURPLUS, ATTEMPT = "reason", "lost", "surplus", "attempt"
ATTEMPTS = 3
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def machine() -> str:
    """Name of this machine since its start, another one in each PID namespace (container)."""
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        words.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(words)


def process() -> list[Any]:
    """Identity of this process: [machine, process id, start time]."""
    return [machine(), os.getpid(), _started(os.getpid())]


def _started(pid: int) -> str:
    """Start time of a process in clock ticks, since ids are used again; empty where unknown."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def is_gone(who: Sequence[Any]) -> bool:
    """Whether a process has ended; False for one of another machine."""
    host, pid, started = who
    if host != machine():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _started(pid) != started


class Heartbeat:
    """Context manager that keeps trials alive from a thread, four times in `stale_after` seconds.

    Args:
        study: study of the trials.
        numbers: their numbers.
        role: attribute that names this process, SWEEPER or JOB.
        stale_after: seconds of silence after which a trial counts as stale.
    """

    def __init__(self, study: Study, numbers: Sequence[int], role: str, stale_after: float) -> None:
        self._study, self._numbers, self._role = study, numbers, role
        self._pause = stale_after / 4
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._write(self._role, process())
        self._write(HEARD, time.time())
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._end.wait(self._pause):
            # a storage that is away for a moment must not end the training of this process
            with contextlib.suppress(Exception):
                self._write(HEARD, time.time())

    def _write(self, key: str, value: Any) -> None:
        for number in self._numbers:
            with contextlib.suppress(UpdateFinishedTrialError):
                adapter.set_attribute(self._study, number, key, value)


def fail_trial(study: Study, number: int, reason: str, **attributes: Any) -> bool:
    """End a running or waiting trial as FAIL.

    Args:
        study: study of the trial.
        number: its number.
        reason: one line, for the table.
        attributes: further attributes of the trial.

    Returns:
        Whether this call ended it; False where it had ended before.
    """
    try:
        for key, value in {REASON: reason, **attributes}.items():
            adapter.set_attribute(study, number, key, value)
        adapter.end_trial(study, number, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    return True


def reenqueue(study: Study, number: int, reason: str, *, tried: bool = True) -> bool:
    """End a lost trial, and enqueue its parameters again.

    Args:
        study: study of the trial.
        number: its number.
        reason: one line, for the table.
        tried: whether it counts as an attempt, of which a trial has `ATTEMPTS`; an interruption
            does not.

    Returns:
        Whether this call ended it; False where it had ended before.
    """
    trial = adapter.trial(study, number)
    attempt = int(trial.user_attrs.get(ATTEMPT, 1))
    if tried and attempt >= ATTEMPTS:
        return fail_trial(study, number, f"{reason}, {attempt} times")
    again = create_trial(
        state=TrialState.WAITING,
        system_attrs={"fixed_params": trial.params},
        user_attrs={ATTEMPT: attempt + tried},
    )
    with uninterrupted():
        # before their place is free, so that nobody who finds it free misses the parameters
        waiting = adapter.add_trial(study, again)
        ended = fail_trial(study, number, reason, **{LOST: True})
        if not ended:
            fail_trial(study, waiting, "not needed", **{SURPLUS: True})
    return ended


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Context manager in which SIGINT and SIGTERM are ignored, to finish writing a record."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class TrialQueue:
    """Open places of a study.

    Args:
        study: the study.
        n_trials: complete or pruned trials that it is to have.
        stale_after: seconds of silence after which a running trial counts as stale.
    """

    def __init__(self, study: Study, n_trials: int, stale_after: float) -> None:
        self.study, self.n_trials, self.stale_after = study, n_trials, stale_after

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Trials in one of `states`; all where none is given."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def done(self) -> int:
        """Number of complete and pruned trials."""
        return len(self.trials(*DONE))

    def running(self) -> list[FrozenTrial]:
        """Trials that are marked as running, stale ones among them."""
        return self.trials(TrialState.RUNNING)

    def failures(self) -> list[FrozenTrial]:
        """Trials that failed by themselves: neither lost nor surplus."""
        failed = self.trials(TrialState.FAIL)
        return [t for t in failed if LOST not in t.user_attrs and SURPLUS not in t.user_attrs]

    def is_stale(self, trial: FrozenTrial) -> bool:
        """Whether the processes of a running trial are gone, or silent for too long."""
        attributes = trial.user_attrs
        started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        if time.time() - attributes.get(HEARD, started) > self.stale_after:
            return True
        processes = [attributes[role] for role in (SWEEPER, JOB) if role in attributes]
        return bool(processes) and all(map(is_gone, processes))

    def fail_stale_trials(self) -> list[int]:
        """Re-enqueue the stale trials.

        Returns:
            Their numbers.
        """
        stale = [trial.number for trial in self.running() if self.is_stale(trial)]
        reason = "its process ended unexpectedly"
        return [number for number in stale if reenqueue(self.study, number, reason)]

    def claim(self) -> Trial | None:
        """Ask for a trial to run; one that was re-enqueued comes first.

        Two processes that see one place left both ask; the trials before a new one tell which of
        them is surplus.

        Returns:
            The trial; None where every place is taken.
        """
        if len(self.trials(*DONE, TrialState.RUNNING)) >= self.n_trials:
            return None
        trial = self.study.ask()
        trial.set_user_attr(HEARD, time.time())
        trial.set_user_attr(SWEEPER, process())
        taken = self.trials(*DONE, TrialState.RUNNING)
        if sum(other.number < trial.number for other in taken) < self.n_trials:
            return trial
        fail_trial(self.study, trial.number, "surplus", **{SURPLUS: True})
        return None

    def close(self) -> None:
        """End what is still enqueued, once the study has all its trials."""
        if self.done() >= self.n_trials:
            for trial in self.trials(TrialState.WAITING):
                fail_trial(self.study, trial.number, "no place left", **{SURPLUS: True})
