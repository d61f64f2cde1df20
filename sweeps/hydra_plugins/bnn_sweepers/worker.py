"""One process at work on a study: it claims trials, launches them in batches, says how each ended, and closes the study when
it has all its trials. Other workers may be at it at the same time."""

import sys
import time
from collections.abc import Collection, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bnn.errors import BnnError, TrackingError

from .compositions import Compositions
from .description import described, shown
from .room import Room
from .space import SearchSpace, suggest

if TYPE_CHECKING:
    from .study import StudySweeper

POLL_SECONDS = 1.0
PARENT = "parent"
"""Attributes of a study that hold its run in a tracking store begin so."""


class Worker:
    """A process that takes part in `study` until it is complete. `made` says that it is this process that made the study."""

    def __init__(
        self,
        sweeper: "StudySweeper",
        compositions: Compositions,
        space: SearchSpace,
        study: Any,
        made: bool,
        store: Any,
        address: str,
        stride: int,
    ) -> None:
        from bnn.tuning.ledger import Ledger
        from bnn.tuning.storage import token_of

        self.sweeper, self.space, self.study, self.store, self.address = (
            sweeper,
            space,
            study,
            store,
            address,
        )
        self.settings, self.compositions = sweeper.settings, compositions
        self.stride = stride
        self.ledger = Ledger(study, self.settings.n_trials, self.settings.stale_after)
        self.claimed: set[int] = set()
        """Trials that this process answers for."""
        self.room = Room(study, store, self.settings.keep_checkpoints)
        self.launched = 0
        self.token = token_of(study)
        self.parent = self._parent(made)

    def work(self) -> None:
        """Errors: SystemExit with 1 when too many trials failed or none came to a value; StudyError when the study was
        deleted meanwhile."""
        from bnn.tracking.sweep import end
        from bnn.tuning.ledger import uninterrupted

        end(self.store, self.parent, "RUNNING")
        status, started = "KILLED", time.perf_counter()
        try:
            self._take_part()
            status = "FINISHED" if self._is_whole() else "FAILED"
        except KeyError as error:
            status = "FAILED"
            self._refuse_if_deleted(error)
            raise
        except Exception:
            status = "FAILED"
            raise
        finally:
            with uninterrupted():  # a second Ctrl-C must not cut the record short
                self._leave(status, started)
        if not self._is_whole():
            print(f"error: {self._shortfall()}", file=sys.stderr)
            sys.exit(1)

    def _refuse_if_deleted(self, cause: BaseException | None = None) -> None:
        from bnn.tuning.storage import StudyError, is_there

        if not is_there(self.study, self.token):
            raise StudyError(
                f"study {self.study.study_name!r} was deleted while this command worked on it"
            ) from cause

    def _leave(self, status: str, started: float) -> None:
        """Give back what is open, and leave what is known on the parent run, whatever happens to it on the way."""
        from bnn.tracking.outbox import spared
        from bnn.tracking.sweep import describe_study, end
        from bnn.tracking.view import save_view
        from bnn.tuning.storage import is_there

        try:
            if not is_there(self.study, self.token):
                return
            self._end_claimed()
            description = described(self.study, self.settings, self.space, self.compositions)
            column = self.settings.metrics[0].replace("val/", "val_best/")
            lowest = self.settings.directions[0] == "minimize"
            with spared("the study's description"):
                describe_study(
                    self.store, self.parent, description, *shown(self.study, self.settings.metrics)
                )
            with spared("the view of the study"):
                save_view(
                    self.store,
                    self.parent,
                    f"study: {self.study.study_name}",
                    column,
                    ascending=lowest,
                )
            print(
                f"\n{description}\n{time.perf_counter() - started:.0f} s, sweep run {self.parent}"
            )
            if self.room.removed:
                print(self.room.shown())
            print(f"look at it: {self.store.look_at(self.parent, sweep=True)}", flush=True)
            if any(not self.ledger.is_lost(trial) for trial in self.ledger.running()):
                status = "RUNNING"  # another worker is still at it
        finally:
            with spared("the end of the study"):
                end(self.store, self.parent, status)

    def _end_claimed(self) -> None:
        """See to it that everything that this process claimed has an end, in the study and in the tracking store."""
        from bnn.tracking.sweep import end_lost

        still = self._open(self.claimed)
        for number in still:
            self._give_back(number)
        if still or sys.exc_info()[0] is not None:
            for number in sorted(self.claimed - set(self._open(self.claimed))):
                end_lost(self.store, self.parent, number, "interrupted")

    def _parent(self, made: bool) -> str:
        """The one run of this store under which all workers' trials lie: whoever made the study makes it, others wait."""
        from bnn import facts
        from bnn.tracking.sweep import is_there, open_parent
        from bnn.tuning.ledger import machine
        from bnn.tuning.settings import FACTS
        from bnn.tuning.storage import attribute, is_young

        # a local file is another store on another machine, if under the same name
        key = f"{PARENT} {self.store.uri}" + (
            f" {machine()}" if self.store.uri.startswith("sqlite") else ""
        )
        wait = not made and is_young(self.study)
        known = attribute(self.study, key) if wait else self.study.user_attrs.get(key)
        if known is not None and is_there(self.store, known):
            return str(known)
        if made:
            self.study.set_user_attr(FACTS, facts.all_of(self.sweeper.device))
        run = open_parent(self.store, f"study: {self.study.study_name}", self.settings.n_trials)
        self.study.set_user_attr(key, run)
        return run

    # ---- the trials

    def _take_part(self) -> None:
        waiting = False
        while self.ledger.done() < self.settings.n_trials and not self._too_many_failures():
            self._refuse_if_deleted()
            self._reap()
            batch = self._claim()
            if batch:
                self._run(batch)
            else:
                if not waiting:
                    numbers = ", ".join(str(trial.number) for trial in self.ledger.running())
                    print(
                        f"every place is taken; waiting for trials that run elsewhere: {numbers}",
                        flush=True,
                    )
                time.sleep(POLL_SECONDS)
            waiting = not batch
        self.ledger.close()

    def _reap(self) -> None:
        from bnn.tracking.sweep import end_lost

        for number in self.ledger.reap():
            end_lost(self.store, self.parent, number, "its process ended without a word")
            self._say(number)

    def _claim(self) -> list[tuple[Any, list[str]]]:
        """Up to a batch of trials with their overrides. One whose values cannot run fails here, with the reason."""
        from bnn.tuning.ledger import fail

        batch: list[tuple[Any, list[str]]] = []
        size = self.sweeper.at_once()
        while (
            len(batch) < size
            and not self._too_many_failures()
            and (trial := self.ledger.claim()) is not None
        ):
            self.claimed.add(trial.number)
            try:
                words = self.compositions.words(self.space, partial(suggest, trial))
                self.compositions.cell(words)
            except BnnError as error:
                fail(self.study, trial.number, str(error))
                self._say(trial.number)
                continue
            batch.append((trial, words))
        return batch

    def _run(self, batch: Sequence[tuple[Any, list[str]]]) -> None:
        """Launch a batch, and see to it that every trial of it has an end."""
        from bnn.tuning.ledger import SWEEPER, Heartbeat, fail

        numbers = [trial.number for trial, _ in batch]
        with Heartbeat(self.study, numbers, SWEEPER, self.settings.stale_after):
            results: Sequence[Any] = ()
            try:
                results = self.sweeper.launch(
                    [self._job(trial, words) for trial, words in batch], self.launched
                )
            except (
                Exception
            ) as error:  # a launcher's worker died, out of memory say, and took others with it
                for number in self._open(numbers):
                    self._give_back(
                        number, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                    )
            else:
                answers = {
                    n: str(r._return_value).partition("\n")[0]
                    for n, r in zip(numbers, results, strict=True)
                }
                for number in self._open(numbers):
                    fail(self.study, number, f"its job ended without a word: {answers[number]}")
        self.launched += len(batch)
        for number in numbers:
            self._say(number)
        for value in (result._return_value for result in results):
            if isinstance(value, TrackingError):
                raise value
        self.room.make()

    def _give_back(self, number: int, why: str | None = None) -> None:
        """Give up a trial that this process claimed, unless a job of another process is still at it."""
        from bnn.tracking.sweep import end_lost
        from bnn.tuning.ledger import JOB, give_up, is_gone, process

        job = self.study._storage.get_trial(self.study.trials[number]._trial_id).user_attrs.get(JOB)
        if job is None or list(job) == process() or is_gone(job):
            give_up(self.study, number, why or "interrupted", tried=why is not None)
            end_lost(self.store, self.parent, number, why or "interrupted")

    def _job(self, trial: Any, words: Sequence[str]) -> list[str]:
        from bnn.facts import COMMAND, command
        from bnn.job import PARENT as PARENT_VARIABLE
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

    def _open(self, numbers: Collection[int]) -> list[int]:
        running = {trial.number for trial in self.ledger.running()}
        return [number for number in sorted(numbers) if number in running]

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

        print(
            line(
                self.study,
                number,
                self.settings.metrics,
                self.settings.n_trials,
                self.sweeper.at_once(),
            ),
            flush=True,
        )
