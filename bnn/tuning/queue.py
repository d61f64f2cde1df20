"""Distributed trial queue on top of an Optuna study.

Workers claim, heartbeat and re-enqueue trials without a coordinator; any number of processes on
several machines may work on one study. A running trial names the processes that answer for it (the
sweeper that asked, then the job that trains it, each by machine and process id) and when it was
last heard of. A process of this machine is looked up; one elsewhere counts as silent while a worker
sees no new heartbeat, by the worker's own clock, so that clocks that differ or jump do not matter.
A trial whose processes are gone, or silent for too long, is stale: it ends as FAIL and its
parameters are enqueued again, at most `ATTEMPTS` times.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from bnn.interruption import uninterrupted
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
    """Start time of a process in clock ticks, since ids are used again; empty where unknown.

    A process that has ended, and waits for its parent to read its exit code, has none.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            words = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if words[0] in "ZX" else words[19]


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


def lives_here(who: Sequence[Any]) -> bool:
    """Whether a process of this machine is alive; False where that is not known for certain."""
    host, _, started = who
    return host == machine() and started != "" and not is_gone(who)


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
        system_attrs={
            "fixed_params": {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        },
        user_attrs={ATTEMPT: attempt + tried},
    )
    with uninterrupted():
        # before their place is free, so that nobody who finds it free misses the parameters
        waiting = adapter.add_trial(study, again)
        ended = fail_trial(study, number, reason, **{LOST: True})
        if not ended:
            fail_trial(study, waiting, "not needed", **{SURPLUS: True})
    return ended


class TrialQueue:
    """Open places of a study.

    Args:
        study: the study.
        n_trials: complete or pruned trials that it is to have.
        stale_after: seconds of silence after which a running trial counts as stale.
        clock: monotonic clock of this process, in seconds.
    """

    def __init__(
        self,
        study: Study,
        n_trials: int,
        stale_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study, self.n_trials, self.stale_after, self._clock = (
            study,
            n_trials,
            stale_after,
            clock,
        )
        self._heard: dict[int, tuple[Any, float]] = {}
        """Heartbeat of each running trial, and when this process saw it first."""

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
        return self.is_alive(trial) is False

    def is_alive(self, trial: FrozenTrial) -> bool | None:
        """Whether a process works at a running trial.

        Returns:
            True for a process of this machine that lives, and for a heartbeat that is new; False
            for processes that are gone, and for `stale_after` seconds without a new heartbeat; None
            until then.
        """
        attributes, now = trial.user_attrs, self._clock()
        processes = [attributes[role] for role in (SWEEPER, JOB) if role in attributes]
        if any(map(lives_here, processes)):
            return True
        if processes and all(map(is_gone, processes)):
            return False
        heartbeat = attributes.get(HEARD)
        before, since = self._heard.setdefault(trial.number, (heartbeat, now))
        if heartbeat != before:
            self._heard[trial.number] = heartbeat, now
            return True
        return False if now - since > self.stale_after else None

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
        try:
            trial.set_user_attr(HEARD, time.time())
            trial.set_user_attr(SWEEPER, process())
            taken = self.trials(*DONE, TrialState.RUNNING)
        except Exception:  # of the storage
            with contextlib.suppress(Exception):
                reenqueue(self.study, trial.number, "interrupted", tried=False)
            raise
        if sum(other.number < trial.number for other in taken) < self.n_trials:
            return trial
        fail_trial(self.study, trial.number, "surplus", **{SURPLUS: True})
        return None

    def close(self) -> None:
        """End what is still enqueued, once the study has all its trials."""
        if self.done() >= self.n_trials:
            for trial in self.trials(TrialState.WAITING):
                fail_trial(self.study, trial.number, "no place left", **{SURPLUS: True})
