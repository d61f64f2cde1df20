"""One tracked run: from a specification to a finished MLflow run.

`execute` trains, evaluates on the test split and tracks; `execute_trial_seed` trains one seed of a
trial, which never reads the test split. Both resume, with `resume=true`, what an earlier process
left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch

from bnn import schema
from bnn.build import TrainingSetup, build, read_dataset
from bnn.combinations import memory_errors
from bnn.config.specification import RunSpec
from bnn.data import Dataset
from bnn.lab.probe import GradientProbe
from bnn.runs.beginning import run_to_continue, weights_of_run
from bnn.runs.describe import describe
from bnn.tasks import Task
from bnn.tracking.description import test_metrics
from bnn.tracking.failures import best_effort
from bnn.tracking.lost_runs import end_lost_runs
from bnn.tracking.resume import (
    Interrupted,
    ShorterRun,
    find_finished_trial,
    find_interrupted,
    finished_results,
    flush_pending,
    other_versions_note,
)
from bnn.tracking.run import MlflowRun
from bnn.tracking.run_dir import lock_run_dir
from bnn.tracking.store import Store, open_store
from bnn.training import checkpoint
from bnn.training.callback import Callback
from bnn.training.loop import FitResult, fit, score_test_split
from bnn.training.progress import ProgressBar
from bnn.training.shared_display import Progress
from bnn.training.threads import threads

Result = TypeVar("Result")


@dataclass(frozen=True)
class RunSummary:
    """Result of a finished run, in plain values that travel between processes.

    Args:
        title: display name.
        digest: digest of the configuration.
        dataset: name of the data set.
        law: name of the noise law.
        test: test metrics by name, such as `accuracy` and `accuracy_mc_mean`.
        seconds: wall-clock seconds of the run.
        run_id: MLflow run id.
        ui_url: how to open the run in MLflow's UI.
        trained: whether it was trained now; False where it had finished before.
    """

    title: str
    digest: str
    dataset: str
    law: str
    test: Mapping[str, float]
    seconds: float
    run_id: str
    ui_url: str
    trained: bool = True


@dataclass(frozen=True)
class SeedResult:
    """Result of one seed of a trial.

    Args:
        values: objectives by name, at the best epoch.
        run_id: MLflow run id.
    """

    values: Mapping[str, float]
    run_id: str


def format_metrics(task: Task, test: Mapping[str, float]) -> str:
    """Test metrics as text: `accuracy 98.92 %, loss 0.0340`; nats are not named."""
    words = []
    for name, metric in task.metrics.items():
        unit = f" {metric.unit}" if metric.unit == "%" else ""
        words.append(f"{name} {metric.format(test[name])}{unit}")
    return ", ".join(words)


def execute(
    spec: RunSpec,
    folder: Path,
    parent: str | None,
    title: str,
    *,
    progress: Progress | None = None,
) -> RunSummary:
    """Train, evaluate and track one run.

    Args:
        spec: specification of the run.
        folder: run directory for checkpoints, unless an interrupted run has its own.
        parent: MLflow run id of the sweep; None: the run stands alone.
        title: display name on the terminal.
        progress: callback that shows the progress; None: a line for each epoch.

    Returns:
        The summary; with `resume=true` and a run that has finished before, that run's.

    Raises:
        BnnError: for anything that a user can act on.
    """
    shown = ProgressBar("lines") if progress is None else progress
    store = _open_store(spec)
    if done := _finished(spec, store):
        return done
    earlier = _interrupted(spec, store, folder, title, None, alone=parent is None)
    if earlier is None and (done := _finished(spec, store)):
        return done  # by another process, between the two looks

    def finish(
        run: MlflowRun, setup: TrainingSetup, fitted: FitResult, data: Dataset
    ) -> RunSummary:
        with shown.activity("evaluating, drawing …"):
            scores = score_test_split(setup.model, setup.training, data, fitted)
            seconds = run.finish(fitted, scores)
        return _summary(spec, store, test_metrics(scores), seconds, run.id)

    return _TrackedTraining(spec, store, folder, title, parent, earlier, shown).run(finish)


def _finished(spec: RunSpec, store: Store) -> RunSummary | None:
    """Summary of the run that has finished before; None without `resume=true`."""
    if spec.general.resume and (done := finished_results(store, spec.result_key)):
        return _summary(spec, store, **done[spec.result_key], trained=False)
    return None


def _summary(
    spec: RunSpec,
    store: Store,
    test: Mapping[str, float],
    seconds: float,
    run_id: str,
    trained: bool = True,
) -> RunSummary:
    return RunSummary(
        title=spec.title,
        digest=spec.digest,
        dataset=spec.data.name,
        law=spec.config["neuron"]["law"],
        test=test,
        seconds=seconds,
        run_id=run_id,
        ui_url=store.ui_url(run_id),
        trained=trained,
    )


def execute_trial_seed(
    spec: RunSpec,
    folder: Path,
    parent: str | None,
    title: str,
    *,
    progress: Progress,
    tags: Mapping[str, str],
    report: Callback,
) -> SeedResult:
    """Train and track one seed of a trial; the test split is not read.

    Args:
        spec: specification of the seed's run.
        folder: run directory for checkpoints.
        parent: MLflow run id of the study.
        title: display name on the terminal.
        progress: callback that shows the progress.
        tags: tags of the trial; `study` among them.
        report: callback that hears of every epoch, also of those before an interruption.

    Returns:
        The objectives; with `resume=true` and a seed that the study has trained before, that run's.

    Raises:
        Pruned: from `report`.
        BnnError: for anything that a user can act on.
    """
    store = _open_store(spec)
    if spec.general.resume:
        done = find_finished_trial(store, spec.result_key, tags[schema.STUDY])
        if done is not None:
            _replay(done.history, report)
            return _seed_result(done.history, done.best_epoch, done.train_seconds, done.run_id)

    def finish(
        run: MlflowRun, setup: TrainingSetup, fitted: FitResult, data: Dataset
    ) -> SeedResult:
        run.finish_trial(fitted)
        return _seed_result(fitted.history, fitted.best_epoch, fitted.train_seconds, run.id)

    study = tags[schema.STUDY]
    earlier = _interrupted(spec, store, folder, title, study, alone=parent is None)
    return _TrackedTraining(
        spec, store, folder, title, parent, earlier, progress, tags, report
    ).run(finish)


def _seed_result(
    history: Sequence[Mapping[str, float]], best_epoch: int, seconds: float, run_id: str
) -> SeedResult:
    return SeedResult({**history[best_epoch - 1], schema.TRAIN_SECONDS: seconds}, run_id)


def _open_store(spec: RunSpec) -> Store:
    """Store of a run; with `resume=true` it has all that waited for it on this machine."""
    store = open_store(spec.tracking.uri, spec.experiment)
    if spec.general.resume:
        flush_pending(store, spec.result_key)
    return store


@dataclass(frozen=True)
class _TrackedTraining:
    """Training in a new MLflow run, or with `resume=true` in the one that was interrupted.

    Args:
        spec: specification of the run.
        store: tracking store.
        folder: run directory, unless the interrupted run has its own.
        title: display name on the terminal.
        parent: MLflow run id of the sweep.
        earlier: the run that was interrupted.
        progress: callback that shows the progress.
        trial: tags of a trial.
        report: callback that hears of every epoch, also of those before an interruption.
    """

    spec: RunSpec
    store: Store
    folder: Path
    title: str
    parent: str | None
    earlier: Interrupted | None
    progress: Progress
    trial: Mapping[str, str] | None = None
    report: Callback | None = None

    def run(
        self, finish: Callable[[MlflowRun, TrainingSetup, FitResult, Dataset], Result]
    ) -> Result:
        """Train; `finish` ends the MLflow run and makes the result."""
        spec, earlier = self.spec, self.earlier
        initial = weights_of_run(spec, self.store)
        setup = build(spec, initial[1] if initial else None)
        shorter = self._shorter_run(setup)
        tags = {schema.INIT_FROM: initial[0]} if initial else {}
        tags |= {schema.CONTINUED_FROM: shorter.run_id} if shorter else {}
        run_id = earlier.run_id if earlier else None
        folder = earlier.folder if earlier else self.folder
        data = read_dataset(spec)
        with (
            threads(setup.training.settings.threads),
            lock_run_dir(folder),
            # the description has the number of threads, hence within their context
            MlflowRun(
                self.store, describe(setup, tags), folder, self.parent, self.trial, run_id
            ) as run,
            memory_errors(spec.config, "model", "estimator", "trainer"),
        ):
            run.dataset(data)
            if shorter is not None and shorter.last is not None:
                state = checkpoint.load_last(shorter.last)
                run.log_history(state["history"])
                checkpoint.save(folder / checkpoint.LAST, state)
            fitted = fit(
                setup.model,
                setup.training,
                data,
                callbacks=self._callbacks(run, setup),
                folder=folder,
                metadata=spec.checkpoint_metadata,
                title=self.title,
                resume=earlier is not None or shorter is not None,
            )
            return finish(run, setup, fitted, data)

    def _shorter_run(self, setup: TrainingSetup) -> ShorterRun | None:
        """Finished run of fewer epochs that this one continues, with `resume=true`; no trial's."""
        if not self.spec.general.resume or self.earlier is not None or self.trial is not None:
            return None
        return run_to_continue(setup, self.store, self.title)

    def _callbacks(self, run: MlflowRun, setup: TrainingSetup) -> list[Callback]:
        """Callbacks of the training; `report` has heard of the epochs before an interruption."""
        probes = [GradientProbe(setup.training, self.spec.lab)] if self.spec.lab.every else []
        reports = [self.report] if self.report is not None else []
        if self.earlier is not None and self.report is not None:
            history = checkpoint.load_last(self.earlier.folder / checkpoint.LAST)["history"]
            _replay(history, self.report)
        return [*probes, run, *reports, self.progress]


def _replay(history: Sequence[Mapping[str, float]], report: Callback) -> None:
    """Call of `report.on_epoch_end` for each epoch of a history."""
    for epoch, metrics in enumerate(history, 1):
        report.on_epoch_end(epoch, metrics)


def _interrupted(
    spec: RunSpec, store: Store, folder: Path, title: str, study: str | None, alone: bool
) -> Interrupted | None:
    """Run to be resumed, which is printed; where there is none, runs of other versions are.

    None without `resume=true`.
    """
    if not spec.general.resume:
        return None
    earlier = find_interrupted(store, spec.result_key, folder, study)
    if alone:
        with best_effort("the end of lost runs"):
            end_lost_runs(store)
    if earlier is not None:
        note = _threads_note(earlier.threads, spec.config["trainer"].get("threads"))
        print(f"{title}: resumes run {earlier.run_id}, from {earlier.folder}{note}", flush=True)
    elif alone and (others := other_versions_note(store, {spec.digest: spec.result_key})):
        print(others, flush=True)
    return earlier


def _threads_note(before: str, asked: int | None) -> str:
    """Note on a run that is resumed with another number of threads than it began with."""
    now = torch.get_num_threads() if asked is None else asked
    if before == str(now):
        return ""
    return f" (with {now} threads instead of {before}: not the same to the last bit)"
