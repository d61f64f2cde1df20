"""Which trial is whose. Several processes on several machines may stand at one ledger; none of them is in charge.

A trial that is RUNNING carries signs of life: who answers for it (the sweeper that asked, then the job that trains it, each
by machine and process) and when it was last heard of. A trial whose processes are gone, or silent for too long, is lost: it
ends as FAIL and its parameters wait to be tried again, at most `ATTEMPTS` times.
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

HEARD, SWEEPER, JOB = "heard", "sweeper", "job"
"""Attributes of a trial: when a process last answered for it (seconds since 1970), and which processes answer."""
REASON, LOST, SURPLUS, ATTEMPT = "reason", "lost", "surplus", "attempt"
ATTEMPTS = 3
DONE = (TrialState.COMPLETE, TrialState.PRUNED)


def machine() -> str:
    """A name of this machine since it was started, different for each space of process numbers on it (containers)."""
    words = [socket.gethostname()]
    with contextlib.suppress(OSError):
        words.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        words.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(words)


def process() -> list[Any]:
    """[machine, process number, when it started]: who answers for a trial."""
    return [machine(), os.getpid(), _started(os.getpid())]


def _started(pid: int) -> str:
    """The clock ticks at which a process started, to tell it from a later one of its number; empty where unknown."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def is_gone(who: Sequence[Any]) -> bool:
    """Whether a process of this machine has ended; False where that cannot be known."""
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
    """While it is entered, says that `numbers` are alive, from a thread, several times in `stale_after` seconds."""

    def __init__(self, study: Study, numbers: Sequence[int], role: str, stale_after: float) -> None:
        self._study, self._numbers, self._role, self._pause = study, numbers, role, stale_after / 4
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._say(who=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._end.wait(self._pause):
            # a storage that is away for a moment must not end the training that this thread answers for
            with contextlib.suppress(Exception):
                self._say(who=False)

    def _say(self, who: bool) -> None:
        for number in self._numbers:
            with contextlib.suppress(UpdateFinishedTrialError):
                trial_id = id_of(self._study, number)
                if who:
                    self._study._storage.set_trial_user_attr(trial_id, self._role, process())
                self._study._storage.set_trial_user_attr(trial_id, HEARD, time.time())


def id_of(study: Study, number: int) -> int:
    return study._storage.get_trial_id_from_study_id_trial_number(study._study_id, number)


def fail(study: Study, number: int, reason: str, **attributes: Any) -> bool:
    """End a running or waiting trial as FAIL, saying why; answers whether it was this call that ended it."""
    trial_id = id_of(study, number)
    try:
        for key, value in {REASON: reason, **attributes}.items():
            study._storage.set_trial_user_attr(trial_id, key, value)
        study._storage.set_trial_state_values(trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    return True


def give_up(study: Study, number: int, why: str, *, tried: bool = True) -> bool:
    """End a trial that was lost: its parameters wait for whoever asks next. One that was `tried` and lost `ATTEMPTS` times
    has failed; an interruption tries nothing. Answers whether it was this call that ended it."""
    trial = study._storage.get_trial(id_of(study, number))
    attempt = int(trial.user_attrs.get(ATTEMPT, 1))
    if tried and attempt >= ATTEMPTS:
        return fail(study, number, f"{why}, {attempt} times")
    with uninterrupted():
        # the values wait before their place is free, so that nobody who finds it free finds them missing
        again = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": trial.params},
                             user_attrs={ATTEMPT: attempt + tried})  # fmt: skip
        waiting = study._storage.create_new_trial(study._study_id, template_trial=again)
        ended = fail(study, number, why, **{LOST: True})
        if not ended:
            fail(
                study,
                study._storage.get_trial_number_from_id(waiting),
                "not needed",
                **{SURPLUS: True},
            )
    return ended


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """While it is entered, neither Ctrl-C nor SIGTERM cuts short what leaves a record in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Ledger:
    """The open places of a study of `n_trials` complete or pruned trials."""

    def __init__(self, study: Study, n_trials: int, stale_after: float) -> None:
        self.study, self.n_trials, self.stale_after = study, n_trials, stale_after

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)

    def done(self) -> int:
        return len(self.trials(*DONE))

    def failures(self) -> list[FrozenTrial]:
        """Trials that failed by themselves: not those that were lost, nor those that were one too many."""
        return [
            t
            for t in self.trials(TrialState.FAIL)
            if LOST not in t.user_attrs and SURPLUS not in t.user_attrs
        ]

    def is_lost(self, trial: FrozenTrial) -> bool:
        signs = trial.user_attrs
        started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
        if time.time() - signs.get(HEARD, started) > self.stale_after:
            return True
        answer = [signs[role] for role in (SWEEPER, JOB) if role in signs]
        return bool(answer) and all(map(is_gone, answer))

    def reap(self) -> list[int]:
        """Give up the lost trials; answers their numbers."""
        lost = [trial.number for trial in self.trials(TrialState.RUNNING) if self.is_lost(trial)]
        return [
            number
            for number in lost
            if give_up(self.study, number, "its process ended without a word")
        ]

    def claim(self) -> Trial | None:
        """A trial to run, or None when every place is taken. One that was lost comes first.

        Two processes that see one place left both ask; the trials before a new one tell it that it is one too many.
        """
        if len(self.trials(*DONE, TrialState.RUNNING)) >= self.n_trials:
            return None
        trial = self.study.ask()
        trial.set_user_attr(HEARD, time.time())
        trial.set_user_attr(SWEEPER, process())
        before = [t for t in self.trials(*DONE, TrialState.RUNNING) if t.number < trial.number]
        if len(before) < self.n_trials:
            return trial
        fail(self.study, trial.number, "one too many", **{SURPLUS: True})
        return None

    def close(self) -> None:
        """End what still waits to be tried again, once the study has all its trials."""
        if self.done() >= self.n_trials:
            for trial in self.trials(TrialState.WAITING):
                fail(self.study, trial.number, "no place left", **{SURPLUS: True})

    def running(self) -> list[FrozenTrial]:
        return self.trials(TrialState.RUNNING)
