"""Worker on a study: claims trials, launches them in batches, and closes the study at its end.

Any number of workers, on one machine or several, may work on one study at the same time.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from hydra.core.utils import JobReturn
from optuna.study import Study
from optuna.trial import Trial

from bnn import plugins, schema
from bnn.config import provenance
from bnn.config.overrides import environment_overrides
from bnn.errors import BnnError, StorageError, TrackingError, format_error, without_password
from bnn.interruption import uninterrupted
from bnn.job_environment import JobEnvironment
from bnn.tracking.failures import best_effort
from bnn.tracking.lost_runs import end_lost_runs
from bnn.tracking.parent import (
    describe_study,
    end_trial_runs,
    open_parent,
    run_exists,
    set_parent_status,
)
from bnn.tracking.store import SQLITE, Store
from bnn.tracking.view import save_view
from bnn.training.shared_display import shared_display
from bnn.tuning import optuna_adapter as adapter
from bnn.tuning import queue, storage, summary
from bnn.tuning.checkpoint_retention import CheckpointRetention
from bnn.tuning.compositions import Compositions
from bnn.tuning.settings import PROVENANCE, Assignment, StudySettings
from bnn.tuning.space import SearchSpace, suggest

POLL_SECONDS = 1.0
PARENT = "parent"
"""Attributes of a study that hold its run in a tracking store begin so."""

Launch = Callable[[Sequence[Sequence[str]]], Sequence[JobReturn]]
"""Launches jobs by their overrides and returns their results in order."""


@dataclass
class Worker:
    """Process that takes part in a study until it is complete.

    Args:
        settings: settings of the study.
        compositions: composition and check of its configurations.
        space: search space.
        study: the study.
        made: whether this process made it.
        store: tracking store of its runs.
        address: address of its storage.
        seed: first seed of each trial.
        device: device of the trials.
        stride: epoch e of the j-th seed is step j · stride + e of a trial.
        launch: launches jobs by their overrides.
        at_once: trials that are launched together.
    """

    settings: StudySettings
    compositions: Compositions
    space: SearchSpace
    study: Study
    made: bool
    store: Store
    address: str
    seed: int
    device: str
    stride: int
    launch: Launch
    at_once: int
    claimed: set[int] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.queue = queue.TrialQueue(self.study, settings.n_trials, settings.stale_after)
        self.checkpoints = CheckpointRetention(self.study, self.store, settings.keep_checkpoints)
        self.token = storage.creation_token(self.study)
        self.parent = ""

    def work(self) -> None:
        """Run trials until the study has all of them, and print its summary.

        Raises:
            SystemExit: with 1 when too many trials failed or none was completed.
            StudyError: when the study was deleted meanwhile.
        """
        status, started = "KILLED", time.perf_counter()
        try:
            self._open_parent()
            set_parent_status(self.store, self.parent, "RUNNING")
            self._run_trials()
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
                if self.parent:
                    self._leave(status, started)
        if not self._is_whole():
            print(f"error: {self._shortfall()}", file=sys.stderr)
            sys.exit(1)

    # ---- the parent run

    def _open_parent(self) -> None:
        """Find or make the run under which the trials of all workers lie in this store.

        Whoever made the study makes it, and the others wait for it.
        """
        key = parent_key(self.store.uri)
        if not self.made and storage.is_newly_created(self.study):
            known = storage.wait_for_attribute(self.study, key)
        else:
            known = self.study.user_attrs.get(key)
        if known is not None and run_exists(self.store, known):
            self.parent = str(known)
            return
        if self.made:
            self.study.set_user_attr(PROVENANCE, provenance.describe(self.device))
        title = f"study: {self.study.study_name}"
        with uninterrupted():
            self.parent = open_parent(self.store, title, self.settings.n_trials)
            self.study.set_user_attr(key, self.parent)

    def _refuse_if_deleted(self, cause: BaseException | None = None) -> None:
        if not storage.still_exists(self.study, self.token):
            raise storage.StudyError(
                f"study {self.study.study_name!r} was deleted while this command worked on it"
            ) from cause

    def _leave(self, status: str, started: float) -> None:
        """Re-enqueue what is open, and leave the summary on the parent run."""
        try:
            if not storage.still_exists(self.study, self.token):
                return
            self._end_claimed()
            self._print_summary(time.perf_counter() - started, status)
            if any(not self.queue.is_stale(trial) for trial in self.queue.running()):
                status = "RUNNING"  # another worker is still at it
        finally:
            with best_effort("the end of the study"):
                end_lost_runs(self.store, self.parent)
                set_parent_status(self.store, self.parent, status)

    def _print_summary(self, seconds: float, status: str) -> None:
        settings, study = self.settings, self.study
        text = summary.markdown_summary(study, settings, self.space, self.compositions)
        rows = summary.rows(study, settings.metrics)
        with best_effort("the study's description"):
            figures = summary.figures(study, settings.metrics)
            describe_study(self.store, self.parent, text, rows, figures)
        with best_effort("the view of the study"):
            column = schema.best_validation(settings.metrics[0])
            ascending = settings.directions[0] == "minimize"
            save_view(self.store, self.parent, f"study: {study.study_name}", column, ascending)
        table = summary.table(rows, summary.ROWS)
        print(f"\n{text}\n\n{table}\n{seconds:.0f} s, sweep run {self.parent}")
        if status == "KILLED":
            print("interrupted; the same command goes on")
        if self.checkpoints.removed_runs:
            print(self.checkpoints.summary())
        print(f"open {self.store.ui_url(self.parent, sweep=True)}", flush=True)

    def _end_claimed(self) -> None:
        """End everything that this process claimed, in the study and in the tracking store."""
        still = self._open(self.claimed)
        for number in still:
            self._give_back(number)
        if still or sys.exc_info()[0] is not None:
            for number in sorted(self.claimed - set(self._open(self.claimed))):
                end_trial_runs(self.store, self.parent, number, "interrupted")

    # ---- the trials

    def _run_trials(self) -> None:
        waiting = False
        while self.queue.done() < self.settings.n_trials and not self._too_many_failures():
            self._refuse_if_deleted()
            self._fail_stale_trials()
            batch = self._claim()
            if batch:
                self._run(batch)
            else:
                numbers = ", ".join(str(trial.number) for trial in self.queue.running())
                if numbers and not waiting:
                    print(
                        "all trials are taken; waiting for those that other workers run: "
                        + numbers,
                        flush=True,
                    )
                time.sleep(POLL_SECONDS)
            waiting = not batch and (waiting or bool(numbers))
        self.queue.close()

    def _fail_stale_trials(self) -> None:
        for number in self.queue.fail_stale_trials():
            end_trial_runs(self.store, self.parent, number, "its process ended unexpectedly")
            self._print_trial(number)

    def _claim(self) -> list[tuple[Trial, list[str]]]:
        """Up to a batch of trials with their overrides; one that cannot run fails here."""
        batch: list[tuple[Trial, list[str]]] = []
        while len(batch) < self.at_once and not self._too_many_failures():
            with uninterrupted():
                trial = self.queue.claim()
                if trial is not None:
                    self.claimed.add(trial.number)
            if trial is None:
                break
            try:
                words = self.compositions.words(self.space, partial(suggest, trial))
                self.compositions.job(words)
            except BnnError as error:
                queue.fail_trial(self.study, trial.number, str(error))
                self._print_trial(trial.number)
                continue
            batch.append((trial, words))
        return batch

    def _run(self, batch: Sequence[tuple[Trial, list[str]]]) -> None:
        """Launch a batch, and see to it that every trial of it ends."""
        numbers = [trial.number for trial, _ in batch]
        stale_after = self.settings.stale_after
        with queue.Heartbeat(self.study, numbers, queue.SWEEPER, stale_after):
            results: Sequence[JobReturn] = ()
            try:
                with shared_display(self._progress(batch), self.at_once) as display:
                    jobs = [self._job(trial, words, display) for trial, words in batch]
                    results = self.launch(jobs)
            except Exception as error:  # a launcher's worker died, and took others with it
                for number in self._open(numbers):
                    self._give_back(number, format_error(error))
            else:
                for number, result in zip(numbers, results, strict=True):
                    if number in self._open(numbers):
                        outcome = result._return_value
                        if isinstance(outcome, StorageError):
                            self._give_back(number)
                            continue
                        failed = isinstance(outcome, BaseException)
                        reason = format_error(outcome) if failed else str(outcome)
                        text = f"its job ended without a result: {reason}"
                        queue.fail_trial(self.study, number, text)
        for number in numbers:
            self._print_trial(number)
        for result in results:
            if isinstance(result._return_value, TrackingError | StorageError):
                raise result._return_value
        self.checkpoints.prune()

    def _progress(self, batch: Sequence[tuple[Trial, list[str]]]) -> str:
        """How the jobs of a batch show their progress, `trainer.progress`."""
        job = self.compositions.job(batch[0][1])
        return str(job.spec.config["trainer"]["progress"])

    def _job(self, trial: Trial, words: Sequence[str], display: str) -> list[str]:
        """Overrides of the job that runs a trial, and that writes to a display's folder."""
        assignment = Assignment(
            storage=self.address,
            study=self.study.study_name,
            number=trial.number,
            metrics=self.settings.metrics,
            seeds=list(range(self.seed, self.seed + self.settings.seeds)),
            stride=self.stride,
            stale_after=self.settings.stale_after,
            params=trial.params,
            pruner=dict(self.settings.pruner),
        )
        values = JobEnvironment(
            command=provenance.command(),
            parent=self.parent,
            jobs=self.settings.n_trials,
            plugin_folders=plugins.loaded_folders(),
            trial=asdict(assignment),
            process=os.getpid(),
            display=display,
        )
        return [*words, *environment_overrides(values, self.store.uri)]

    def _give_back(self, number: int, reason: str | None = None) -> None:
        """Re-enqueue a claimed trial, unless a job of another process is still at it."""
        job = adapter.trial(self.study, number).user_attrs.get(queue.JOB)
        if job is None or list(job) == queue.process() or queue.is_gone(job):
            text = reason or "interrupted"
            queue.reenqueue(self.study, number, text, tried=reason is not None)
            end_trial_runs(self.store, self.parent, number, text)

    def _open(self, numbers: Collection[int]) -> list[int]:
        running = {trial.number for trial in self.queue.running()}
        return [number for number in sorted(numbers) if number in running]

    def _too_many_failures(self) -> bool:
        return len(self.queue.failures()) > self.settings.max_failures

    def _is_whole(self) -> bool:
        return self.queue.done() >= self.settings.n_trials and bool(summary.best_trials(self.study))

    def _shortfall(self) -> str:
        if self._too_many_failures():
            return (
                f"{len(self.queue.failures())} trials failed, more than "
                f"hydra.sweeper.max_failures={self.settings.max_failures}; "
                "the table has the reasons"
            )
        return "no trial was completed"

    def _print_trial(self, number: int) -> None:
        settings = self.settings
        text = summary.progress_line(
            self.study, number, settings.metrics, settings.n_trials, self.at_once
        )
        print(text, flush=True)


def parent_key(uri: str) -> str:
    """Attribute of a study with the id of its parent run in a store, without passwords.

    Args:
        uri: address of the store; a local file is another store on another machine.
    """
    machine = f" {queue.machine()}" if uri.startswith(SQLITE) else ""
    return f"{PARENT} {without_password(uri)}{machine}"
