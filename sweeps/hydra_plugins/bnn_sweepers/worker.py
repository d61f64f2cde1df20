"""One process at work on a study: it claims trials, launches them in batches, says how each ended, and closes the study when
it has all its trials. Other workers may be at it at the same time."""

import contextlib
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bnn.errors import BnnError

from .space import SearchSpace, suggest, word

if TYPE_CHECKING:
    from .study import StudySweeper

POLL_SECONDS = 1.0
PARENT = "parent"
"""The attribute of a study that holds its run in the tracking store: [store, run id]."""


class Worker:
    """A process that takes part in `study` until it is complete."""

    def __init__(
        self, sweeper: "StudySweeper", space: SearchSpace, study: Any, store: Any, address: str, stride: int
    ) -> None:
        from bnn.tuning.ledger import Ledger

        self.sweeper, self.space, self.study, self.store, self.address = sweeper, space, study, store, address
        self.settings = sweeper.settings
        self.stride = stride
        self.ledger = Ledger(study, self.settings.n_trials, self.settings.stale_after)
        self.launched = 0
        self.parent = ""

    def work(self) -> None:
        """Errors: SystemExit with 1 when too many trials failed or none came to a value."""
        from bnn.tracking.sweep import close_study, reopen

        self.parent = self._parent()
        reopen(self.store, self.parent)
        status, started = "KILLED", time.perf_counter()
        try:
            self._take_part()
            status = "FINISHED" if self._is_whole() else "FAILED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            with _uninterrupted():
                if any(True for trial in self.ledger.running() if not self.ledger.is_lost(trial)):
                    status = "RUNNING"  # another worker is still at it
                close_study(self.store, self.parent, self._description(), status, self._rows(), self._pictures())
                print(f"\n{self._description()}\n{time.perf_counter() - started:.0f} s, sweep run {self.parent}")
                link = self.store.sweep_link(self.parent, "metrics.`val_best/loss`", ascending=True)
                print(f"look at it: {self.store.command()}, then {link}", flush=True)
        if not self._is_whole():
            print(f"error: {self._shortfall()}", file=sys.stderr)
            sys.exit(1)

    def _parent(self) -> str:
        """The one run under which all workers' trials lie: made by whoever comes first."""
        from bnn.tracking.sweep import is_there, open_parent

        known = self.study.user_attrs.get(PARENT)
        if known is None or known[0] != self.store.uri or not is_there(self.store, known[1]):
            run = open_parent(self.store, f"study: {self.study.study_name}", self.settings.n_trials)
            self.study.set_user_attr(PARENT, [self.store.uri, run])
        return str(self.study.user_attrs[PARENT][1])

    # ---- the trials

    def _take_part(self) -> None:
        waiting = False
        while self.ledger.done() < self.settings.n_trials and not self._too_many_failures():
            for number in self.ledger.reap():
                print(f"trial {number}: lost, {self.study.trials[number].user_attrs['reason']}; it will be tried again")
            batch = self._claim()
            if batch:
                self._run(batch)
            else:
                if not waiting:
                    numbers = ", ".join(str(trial.number) for trial in self.ledger.running())
                    print(f"every place is taken; waiting for trials that run elsewhere: {numbers}", flush=True)
                time.sleep(POLL_SECONDS)
            waiting = not batch
        self.ledger.close()

    def _claim(self) -> list[tuple[Any, list[str]]]:
        """Up to a batch of trials with their overrides. One whose values cannot run fails here, with the reason."""
        from bnn.tuning.ledger import fail

        batch: list[tuple[Any, list[str]]] = []
        size = self.sweeper.at_once()
        while len(batch) < size and not self._too_many_failures() and (trial := self.ledger.claim()) is not None:
            try:
                words = self.sweeper.words(self.space, partial(suggest, trial))
                self.sweeper.cell(words)
            except BnnError as error:
                fail(self.study, trial.number, str(error))
                self._say(trial.number)
                continue
            batch.append((trial, words))
        return batch

    def _run(self, batch: Sequence[tuple[Any, list[str]]]) -> None:
        """Launch a batch, and see to it that every trial of it has an end."""
        from bnn.tuning.ledger import SWEEPER, Heartbeat, fail, give_up

        numbers = [trial.number for trial, _ in batch]
        with Heartbeat(self.study, numbers, SWEEPER, self.settings.stale_after):
            results: Sequence[Any] = ()
            reason = ""
            try:
                results = self.sweeper.launch([self._job(trial, words) for trial, words in batch], self.launched)
            except (KeyboardInterrupt, SystemExit):
                for number in self._open(numbers):
                    give_up(self.study, number, "interrupted")
                raise
            except Exception as error:  # a launcher's worker died: out of memory, say
                reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            answers = {n: str(r._return_value).partition("\n")[0] for n, r in zip(numbers, results, strict=False)}
            for number in self._open(numbers):
                fail(self.study, number, reason or f"its job ended without a word: {answers.get(number)}")
        self.launched += len(batch)
        for number in numbers:
            self._say(number)

    def _job(self, trial: Any, words: Sequence[str]) -> list[str]:
        from bnn.job import PARENT as PARENT_VARIABLE
        from bnn.tracking.facts import COMMAND, command
        from bnn.tuning.settings import TRIAL, Assignment

        first = int(self.sweeper.seed)
        assignment = Assignment(
            storage=self.address,
            study=self.study.study_name,
            number=trial.number,
            metrics=self.settings.metrics,
            seeds=list(range(first, first + self.settings.seeds)),
            stride=self.stride,
            stale_after=self.settings.stale_after,
            params=trial.params,
            pruner=dict(self.settings.pruner),
        )
        values = {PARENT_VARIABLE: self.parent, COMMAND: command(), TRIAL: assignment.to_json()}
        return [*words, *self.sweeper.handed(self.store.uri, values)]

    def _open(self, numbers: Sequence[int]) -> list[int]:
        running = {trial.number for trial in self.ledger.running()}
        return [number for number in numbers if number in running]

    def _too_many_failures(self) -> bool:
        return len(self.ledger.failures()) > self.settings.max_failures

    def _is_whole(self) -> bool:
        from bnn.tuning.outcome import best

        return self.ledger.done() >= self.settings.n_trials and bool(best(self.study))

    def _shortfall(self) -> str:
        if self._too_many_failures():
            return (
                f"{len(self.ledger.failures())} trials failed, more than hydra.sweeper.max_failures="
                f"{self.settings.max_failures}; the table has the reasons"
            )
        return "no trial was completed"

    # ---- what is said of them

    def _say(self, number: int) -> None:
        from bnn.tuning.outcome import line

        print(line(self.study, number, self.settings.metrics, self.settings.n_trials, self.sweeper.at_once()), flush=True)

    def _rows(self) -> list[dict[str, str]]:
        from bnn.tuning.outcome import rows

        return rows(self.study, self.settings.metrics)

    def _description(self) -> str:
        from bnn.tuning.outcome import ROWS, best, shown_values, table, tally

        found = self._rows()
        lines = [table(found[:ROWS]), f"study {self.study.study_name!r}: {tally(self.study)}"]
        if len(found) > ROWS:
            lines.append(f"{len(found) - ROWS} more trials in table.json")
        for trial in best(self.study):
            words = [*self.space.fixed, *(word(key, value) for key, value in trial.params.items())]
            command = self.sweeper.command(self.sweeper.cell(words))
            lines.append(f"best, trial {trial.number}, {shown_values(trial, self.settings.metrics)}:\n\n    {command}")
        return "\n\n".join(lines)

    def _pictures(self) -> Any:
        from bnn.tuning.outcome import pictures

        return pictures(self.study, self.settings.metrics)


@contextlib.contextmanager
def _uninterrupted() -> Any:
    """What a second Ctrl-C must not cut short: the record of what was done."""
    import signal

    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
