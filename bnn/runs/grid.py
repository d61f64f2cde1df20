"""A sweep over a grid: its distinct jobs, its parent run in MLflow, and its table."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from bnn import plugins, schema
from bnn.build import build_task
from bnn.config import provenance
from bnn.config.canonical import moves_result
from bnn.config.overrides import environment_overrides, key_of, without_dataset
from bnn.config.specification import RunSpec
from bnn.config.titles import varying_keys
from bnn.data import use_data
from bnn.errors import BnnError, ConfigError, format_error
from bnn.interruption import uninterrupted
from bnn.job_environment import JobEnvironment
from bnn.runs.dry_run import (
    cost_key,
    dry_run,
    duration,
    makespan,
    notes_for,
    seconds_by_cost,
    warnings_for,
)
from bnn.runs.jobs import Job, JobComposer
from bnn.runs.single import refuse_fresh
from bnn.runs.sweep_table import INTERRUPTED as INTERRUPTED_RUN
from bnn.runs.sweep_table import table_rows, terminal_table
from bnn.tables import ID_DIGITS, clock
from bnn.tracking.failures import best_effort
from bnn.tracking.lost_runs import end_lost_runs
from bnn.tracking.parent import close_parent, open_parent
from bnn.tracking.resume import finished_results, killed_results, other_versions_note
from bnn.tracking.run_dir import lock_run_dir
from bnn.tracking.store import open_store
from bnn.tracking.view import save_view
from bnn.training.shared_display import shared_display

Launch = Callable[[Sequence[Sequence[str]]], Iterable[JobReturn]]
"""Launches jobs by their overrides; yields their results in order."""
AtOnce = Callable[[int, float | None, int | None], int]
"""Jobs that the launcher runs at once, of a number of jobs that take some seconds on some threads;
see `bnn.runs.concurrency.jobs_at_once`."""
MANY = 200
"""Jobs of a sweep from which the check says that it runs, and the time left is not estimated."""
KINDS = 24
"""Distinct costs of jobs that are measured before a sweep, in a few steps each."""
WORKER_ENDED = (
    "hydra/launcher: a worker was killed, perhaps for lack of memory (a smaller "
    "hydra.launcher.n_jobs needs less); the same command with resume=true continues"
)
GOES_ON = (
    "jobs that a cluster has taken may go on; the same command with resume=true then trains what "
    "is missing"
)
END_SECONDS = 5.0
"""Time for which the end of an interrupted sweep waits for workers that end their runs."""
INTERRUPTED = "interrupted; the same command with resume=true continues"


def run_grid(
    composer: JobComposer,
    choices: Sequence[Sequence[str]],
    title: str,
    launch: Launch,
    at_once: AtOnce,
    folder: Path,
) -> list[JobReturn]:
    """Run every distinct job of a grid under one parent run.

    Args:
        composer: composition of jobs.
        choices: overrides of each job.
        title: words of the command line, for the name of the parent run.
        launch: launches jobs.
        at_once: jobs that it runs at once.
        folder: directory of the sweep.

    Returns:
        Results of the jobs that were launched.

    Raises:
        SystemExit: with 1 if a job failed.
        BnnError: for what can be refused before the first job starts.
    """
    jobs = distinct_jobs(composer, choices)
    refuse_fresh(jobs[0].spec)
    if jobs[0].spec.general.dry_run:
        threads = jobs[0].spec.config["trainer"].get("threads")
        print(dry_run([job.spec for job in jobs], lambda total: at_once(len(jobs), total, threads)))
        return []
    jobs, warning = _settle_dataset(composer, jobs)
    sweep = _Sweep(jobs, title, folder, [warning] if warning else [])
    results = sweep.run(launch, at_once)
    if failed := sum(result.status != JobStatus.COMPLETED for result in results):
        print(f"error: {failed} of {len(jobs)} runs failed, see the table", file=sys.stderr)
        sys.exit(1)
    return results


def distinct_jobs(composer: JobComposer, choices: Sequence[Sequence[str]]) -> list[Job]:
    """Checked jobs in order; those that come to the same computation once.

    Raises:
        ConfigError: for a job that cannot run, and for several data sets.
    """
    if len(choices) >= MANY:
        print(f"checking {len(choices)} configurations …", file=sys.stderr, flush=True)
    jobs: dict[str, Job] = {}
    for words in choices:
        job = composer.job(words)
        jobs.setdefault(job.spec.digest, job)
    for line in _not_told_apart(choices):
        print(line, file=sys.stderr, flush=True)
    names = sorted({job.spec.data.name for job in jobs.values()})
    if len(names) > 1:
        raise ConfigError(
            "data: a sweep has one data set, so that its table compares; got " + ", ".join(names)
        )
    return list(jobs.values())


def _not_told_apart(choices: Sequence[Sequence[str]]) -> list[str]:
    """Notes on swept keys that change no result, whose values therefore make no further runs."""
    values: dict[str, set[str]] = {}
    for words in choices:
        for key, word in {key_of(word): word for word in words}.items():  # the last one counts
            values.setdefault(key, set()).add(word)
    return [
        f"note: {key} changes no result: runs that differ in it alone are one; write a command for "
        "each value"
        for key, words in values.items()
        if len(words) > 1 and not moves_result(key)
    ]


def _settle_dataset(composer: JobComposer, jobs: list[Job]) -> tuple[list[Job], str | None]:
    """Jobs on the data set that is really there, decided once, and the warning of a fallback."""
    config = composer.compose(jobs[0].overrides)
    warning = use_data(config)
    if warning is None:
        return jobs, None
    choice = f"data={config.data.name}"
    return [composer.job([*without_dataset(job.overrides), choice]) for job in jobs], warning


class _Sweep:
    """Jobs of a grid, and their parent run in MLflow.

    With `resume=true` jobs that have finished before are left out, and the parent run is that of
    the same jobs.

    Args:
        jobs: distinct jobs.
        title: words of the command line, for the name of the parent run.
        folder: directory of the sweep.
        warnings: warnings about the data set, printed before the jobs and after them.
    """

    def __init__(self, jobs: Sequence[Job], title: str, folder: Path, warnings: list[str]) -> None:
        self.jobs, self.title, self.folder, self.warnings = jobs, title, folder, warnings
        self.first = jobs[0].spec
        self.resume = self.first.general.resume
        self.store = open_store(self.first.tracking.uri, self.first.experiment)
        self.keys = [job.spec.result_key for job in jobs]
        self.outcomes: dict[str, Any] = finished_results(self.store) if self.resume else {}
        self.left = [number for number, key in enumerate(self.keys) if key not in self.outcomes]
        self.elsewhere = [self.outcomes[key]["run_id"] for key in self.keys if key in self.outcomes]
        self.parent = ""

    def run(self, launch: Launch, at_once: AtOnce) -> list[JobReturn]:
        """Launch the jobs that are left; the parent run ends with their status in every case.

        Args:
            launch: launches jobs.
            at_once: jobs that it runs at once.

        Raises:
            BnnError: where the launcher failed, such as for a worker that was killed.
        """
        with lock_run_dir(self.folder):
            notes = [*self.warnings, *_warnings(self.jobs), *self._note_on_earlier_runs()]
            plan = _plan(self.jobs, self.left, at_once)
            results: list[JobReturn] = []
            status = "KILLED"
            self.started = time.time()
            try:
                self._open(plan, notes)
                progress = self.first.config["trainer"]["progress"]
                with shared_display(progress, plan.workers) as display:
                    values = replace(self._environment(plan), display=display)
                    handed = environment_overrides(values, self.store.uri)
                    words = [[*self.jobs[number].overrides, *handed] for number in plan.order]
                    for result in _launched(launch, words):
                        results.append(result)
                complete = all(result.status == JobStatus.COMPLETED for result in results)
                status = "FINISHED" if complete else "FAILED"
            except Exception:
                status = "FAILED"
                raise
            finally:
                with uninterrupted():
                    if self.parent:
                        self._close(plan, results, status)
        return results

    def _note_on_earlier_runs(self) -> list[str]:
        """End of lost runs, and the note on results of other versions, which do not count."""
        if not self.resume:
            return []
        with best_effort("the end of lost runs"):
            end_lost_runs(self.store)
        missing = {self.jobs[number].spec.digest: self.keys[number] for number in self.left}
        note = other_versions_note(self.store, missing) if missing else None
        return [] if note is None else [note]

    def _open(self, plan: _Plan, notes: Sequence[str]) -> None:
        """Begin the parent run, and print the notes and where the sweep is to be seen."""
        jobs, key = len(self.jobs), provenance.result_key("".join(sorted(self.keys)))
        with uninterrupted():
            self.parent = open_parent(
                self.store, f"sweep: {self.title}", jobs, self.folder, key, self.resume
            )
        skipped = f", {jobs - len(self.left)} of them finished before" if self.resume else ""
        for line in [
            *notes,
            f"{jobs} runs on {self.first.data.title}, experiment {self.store.experiment}"
            f"{skipped}{plan.expected()}",
            f"open {self.store.ui_url(self.parent, sweep=True)}",
        ]:
            print(line, flush=True)

    def _environment(self, plan: _Plan) -> JobEnvironment:
        """Values that every job is handed by the sweep's process."""
        estimates = plan.seconds or ([1.0] * len(self.left) if len(self.left) <= MANY else [])
        return JobEnvironment(
            provenance.command(),
            self.parent,
            len(plan.order),
            plugins.loaded_folders(),
            process=os.getpid(),
            started=self.started,
            varying=list(varying_keys([job.spec.config for job in self.jobs])),
            estimates=estimates,
            at_once=plan.workers,
        )

    def _close(self, plan: _Plan, results: Sequence[JobReturn], status: str) -> None:
        """End the parent run with its table and its view, and print the table.

        Args:
            plan: order of the jobs.
            results: what the launcher returned; nothing where it was interrupted, but then the
                store has what finished by then.
            status: status of the parent run.
        """
        with best_effort("what finished before the end"):
            end_lost_runs(self.store, self.parent, END_SECONDS)
            killed = dict.fromkeys(killed_results(self.store, self.parent), INTERRUPTED_RUN)
            self.outcomes = killed | self.outcomes
            self.outcomes |= finished_results(self.store, parent=self.parent)
        for number, result in zip(plan.order, results, strict=False):
            self.outcomes[self.keys[number]] = result._return_value
        rows = table_rows(self.jobs, [self.outcomes.get(key) for key in self.keys])
        found = [self.outcomes.get(key) for key in self.keys]
        ended = sum(isinstance(one, Mapping) for one in found)
        trained = ended - len(self.elsewhere)
        took = clock(time.time() - self.started)
        for line in [
            f"\n{terminal_table(rows)}",
            f"{trained} run{'s' * (trained != 1)} in {took}, sweep run {self.parent[:ID_DIGITS]}",
            *notes_for([job.spec for job in self.jobs]),
            *self.warnings,
            *([INTERRUPTED] if status == "KILLED" else []),
            f"open {self.store.ui_url(self.parent, sweep=True)}",
        ]:
            print(line, flush=True)
        about = (
            f"{len(self.jobs)} runs on {self.first.data.title}. "
            "Test metrics are of the best validation epoch."
        )
        with best_effort("the table of the sweep"):
            close_parent(self.store, self.parent, about, status, rows)
        with best_effort("the view of the sweep"):
            task = build_task(self.first.config)
            ascending = task.metrics[task.headline].direction == "minimize"
            column, title = schema.TEST + task.headline, f"sweep: {self.title}"
            save_view(self.store, self.parent, title, column, ascending, self.elsewhere)


def _launched(launch: Launch, words: Sequence[Sequence[str]]) -> Iterator[JobReturn]:
    """Results of the jobs; an error of a job is one of them, and one that is raised the launcher's.

    Raises:
        BnnError: where the launcher fails.
    """
    try:
        yield from launch(words)
    except (BnnError, HydraException, OmegaConfBaseException):
        raise
    except BrokenExecutor as error:
        raise BnnError(WORKER_ENDED) from error
    except Exception as error:  # such as a job that ran past the limit of its cluster
        raise BnnError(f"hydra/launcher: {format_error(error)}; {GOES_ON}") from error


@dataclass(frozen=True)
class _Plan:
    """Order in which the jobs of a sweep are launched.

    Args:
        order: numbers of the jobs.
        seconds: expected seconds of training of each, in this order; empty where it was not
            measured.
        workers: jobs at once.
    """

    order: list[int]
    seconds: list[float]
    workers: int

    def expected(self) -> str:
        """Expected time, to end a sentence: `, about 4:15 min of training, 2 at once`."""
        took = duration(makespan(self.seconds, self.workers))
        about = f", about {took} to train" if sum(self.seconds) > 10 else ""
        return f"{about}, {self.workers} at once" if self.workers > 1 else about


def _plan(jobs: Sequence[Job], left: list[int], at_once: AtOnce) -> _Plan:
    """Order of the jobs that are left: of jobs side by side the longest start first.

    None is then left over at the end.

    Args:
        jobs: all jobs of the sweep.
        left: numbers of those that are to be trained.
        at_once: jobs that the launcher runs at once.
    """
    measured = _measured_seconds([jobs[number].spec for number in left])
    threads = jobs[0].spec.config["trainer"].get("threads")
    workers = at_once(len(left), sum(measured) if measured else None, threads)
    if not measured or workers == 1:
        return _Plan(left, measured, workers)
    longest = sorted(range(len(left)), key=lambda place: -measured[place])
    return _Plan([left[i] for i in longest], [measured[i] for i in longest], workers)


def _warnings(jobs: Sequence[Job]) -> list[str]:
    """Warnings about the jobs, before they start."""
    return warnings_for(
        [job.spec for job in jobs], [word for job in jobs for word in job.overrides]
    )


def _measured_seconds(specs: Sequence[RunSpec]) -> list[float]:
    """Expected seconds of training of each job, or nothing where measuring them takes long."""
    if not 1 < len(specs) <= MANY or specs[0].general.device != "cpu":
        return []
    if len({cost_key(spec) for spec in specs}) > KINDS:
        return []
    return [round(seconds, 4) for seconds in seconds_by_cost(specs)]
