"""One run from a composed configuration: check, read data, train, evaluate, track. Heavy imports wait until it is called,
so that `--help` and composition stay quick."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from bnn.config import refuse_ignored
from bnn.errors import BnnError, ConfigError
from bnn.tuning.settings import TRIAL, Assignment

if TYPE_CHECKING:
    from bnn.build import Plan
    from bnn.data import Dataset
    from bnn.tasks import Task
    from bnn.tracking.run import MlflowRun
    from bnn.tracking.store import Store
    from bnn.training.loop import FitResult
    from bnn.tuning.trial import Report, Trained

Answer = TypeVar("Answer")
PARENT = "BNN_PARENT_RUN_ID"
CELLS = "BNN_CELLS"
"""Environment variables that a sweep hands to its jobs, through every launcher: its run, and how many jobs it has."""


@dataclass(frozen=True)
class Summary:
    """What a finished run answers to the sweep: plain values, which travel between processes."""

    title: str
    digest: str
    dataset: str
    law: str
    test: Mapping[str, float]
    """Test metrics by name; `accuracy_mean` is that of the reading `mean`."""
    seconds: float
    run_id: str
    look_at: str
    trained: bool = True
    """Whether it was trained now, and had not finished before."""


def probe(plan: Plan, data: Dataset) -> Callable[[int], dict[str, float]] | None:
    """The lab's measurements during training, where they are asked for."""
    if not plan.lab.every:
        return None
    from bnn.lab.probe import Probe

    lab, split, task = plan.lab, data.validation, plan.recipe.task
    inputs, targets = task.batch(split.images[: lab.batch], split.labels[: lab.batch])
    return Probe(
        plan.model,
        plan.recipe.estimator,
        inputs,
        targets,
        task.loss,
        lab.every,
        lab.draws,
        lab.reference,
        plan.recipe.settings.precision,
    )


def told(task: Task, test: Mapping[str, float]) -> str:
    """Test metrics in words: `accuracy 98.92 %, loss 0.0340`. Nats are not named."""
    units = {
        name: f" {metric.unit}" if metric.unit == "%" else ""
        for name, metric in task.metrics.items()
    }
    return ", ".join(
        f"{name} {metric.format(test[name])}{units[name]}" for name, metric in task.metrics.items()
    )


def execute(plan: Plan, folder: Path, parent: str | None, title: str) -> Summary:
    """Train and track what `plan` describes; checkpoints go to `folder`, or to that of the run that it goes on with. With
    `resume=true` a run that has finished before is only answered."""
    from bnn.tracking.earlier import finished
    from bnn.tracking.run import by_reading

    config, result, store = dict(plan.config), plan.result, _store(plan)
    about = {
        "title": plan.title,
        "digest": plan.digest,
        "dataset": plan.data.name,
        "law": config["neuron"]["law"],
    }
    if plan.general.resume and result in (done := finished(store, result)):
        return Summary(
            **about, **done[result], look_at=store.look_at(done[result]["run_id"]), trained=False
        )

    def finish(run: MlflowRun, trained: FitResult, data: Dataset) -> Summary:
        task, draws = plan.recipe.task, plan.recipe.settings.evaluation_samples
        scores = task.evaluations(plan.model, data.test, draws, plan.recipe.seed)
        seconds = run.finish(trained, scores)
        return Summary(
            **about,
            test=by_reading(scores),
            seconds=seconds,
            run_id=run.id,
            look_at=store.look_at(run.id),
        )

    return _tracked(plan, store, folder, title, parent, finish)


def train_seed(
    plan: Plan,
    folder: Path,
    title: str,
    report: Report,
    *,
    parent: str | None,
    tags: dict[str, str],
) -> Trained:
    """Train one seed of a trial and track it; the test set is not read. With `resume=true` a seed that the study has trained
    before is only reported."""
    from bnn.tracking.earlier import finished_trial
    from bnn.tuning.trial import Trained

    store = _store(plan)
    if plan.general.resume and (done := finished_trial(store, plan.result, tags["study"])):
        for epoch, metrics in enumerate(done.history, 1):
            report(epoch, metrics)
        return Trained(
            {**done.history[done.best_epoch - 1], "seconds/train": done.train_seconds}, done.run_id
        )

    def finish(run: MlflowRun, trained: FitResult, data: Dataset) -> Trained:
        run.finish_trial(trained)
        return Trained(
            {**trained.history[trained.best_epoch - 1], "seconds/train": trained.train_seconds},
            run.id,
        )

    return _tracked(plan, store, folder, title, parent, finish, tags, report)


def _store(plan: Plan) -> Store:
    """The store of the plan; with `resume=true` it has all that waited for it here."""
    from bnn.tracking.earlier import settle
    from bnn.tracking.store import open_store

    store = open_store(plan.tracking.uri, f"{plan.tracking.experiment}/{plan.data.name}")
    if plan.general.resume:
        settle(store, plan.result)
    return store


def _tracked(
    plan: Plan,
    store: Store,
    folder: Path,
    title: str,
    parent: str | None,
    finish: Callable[[MlflowRun, FitResult, Dataset], Answer],
    trial: Mapping[str, str] | None = None,
    report: Report | None = None,
) -> Answer:
    """Train in a run of its own, or with `resume=true` in the one that was interrupted, and answer what `finish` makes of
    it. trial: tags of a trial; report: is told every epoch, those before the interruption too."""
    from bnn.build import read
    from bnn.tracking.earlier import interrupted, of_another_source
    from bnn.tracking.home import alive
    from bnn.tracking.run import MlflowRun, described
    from bnn.training import checkpoint
    from bnn.training.loop import Reporting, fit

    study = trial["study"] if trial else None
    earlier = interrupted(store, plan.result, folder, study) if plan.general.resume else None
    if earlier:
        folder = earlier.folder
        print(
            f"{title}: goes on with run {earlier.run_id}, from {folder}{other_threads(earlier.threads)}",
            flush=True,
        )
    elif (
        plan.general.resume
        and parent is None
        and (note := of_another_source(store, {plan.digest: plan.result}))
    ):
        print(note, flush=True)
    data = read(plan)
    with (
        alive(folder),
        MlflowRun(
            store, described(plan), folder, parent, trial, earlier.run_id if earlier else None
        ) as run,
    ):
        run.dataset(data)
        if earlier and report:
            for epoch, metrics in enumerate(
                checkpoint.load(folder / checkpoint.LAST)["history"], 1
            ):
                report(epoch, metrics)
        trained = fit(
            plan.model,
            plan.recipe,
            data,
            tracker=Reporting(run, report) if report else run,
            folder=folder,
            about=plan.about,
            title=title,
            probe=probe(plan, data),
            resume=earlier is not None,
        )
        return finish(run, trained, data)


def other_threads(before: str) -> str:
    """What to say of a run that goes on with another number of threads than it began with."""
    import torch

    now = torch.get_num_threads()
    return (
        ""
        if before == str(now)
        else f" (with {now} threads instead of {before}: not the same to the last bit)"
    )


def run(config: DictConfig) -> dict[str, Any] | None:
    """The task that Hydra runs: one configuration, alone or as a job of a sweep."""
    settings = HydraConfig.get()
    alone = settings.mode == RunMode.RUN
    try:
        refuse_ignored(config, settings.overrides.task)
        if alone and (study := settings.runtime.choices.get("study")):
            raise ConfigError(
                f"study={study}: a study is many runs; write -m: python -m bnn.train -m study={study} …"
            )
        return _run(
            config, Path(settings.runtime.output_dir), 0 if alone else int(settings.job.num)
        )
    except BnnError as error:
        if alone:
            raise SystemExit(f"error: {error}") from error
        raise
    except Exception:
        if not alone:
            traceback.print_exc()  # a sweep's table has one line for it
        raise


def refuse_fresh(plan: Plan) -> None:
    """Errors: ConfigError for `fresh` where there is nothing to forget."""
    if plan.general.fresh:
        raise ConfigError(
            "fresh=true: only a study keeps trials that it could forget; write -m study=NAME beside it"
        )


def _run(config: DictConfig, folder: Path, number: int) -> dict[str, Any] | None:
    if assigned := os.environ.get(TRIAL):
        return _trial(config, folder, Assignment.from_json(assigned))
    from bnn.build import plan

    checked = plan(config, number)
    refuse_fresh(checked)
    warning = None
    parent = os.environ.get(PARENT)
    if parent is None:  # a sweep of ours has said and settled all this before its first job
        from bnn.forecast import dry_run, notices

        if config.dry_run:
            print(dry_run([checked]))
            return None
        from bnn.data import use_data

        if warning := use_data(config):
            checked = plan(config, number)
        for line in filter(None, [warning, *notices([checked])]):
            print(line, flush=True)
    title = (
        checked.title if parent is None else f"[{number + 1}/{os.environ[CELLS]}] {checked.title}"
    )
    summary = execute(checked, folder, parent, title)
    print(
        f"{title}: test {told(checked.recipe.task, summary.test)}, {summary.seconds:.0f} s, "
        f"run {summary.run_id}{'' if summary.trained else ' (finished before)'}",
        flush=True,
    )
    if parent is None:
        print(
            f"look at it: {summary.look_at}", *([warning] if warning else []), sep="\n", flush=True
        )
    return asdict(summary)


def _trial(config: DictConfig, folder: Path, assignment: Assignment) -> dict[str, Any]:
    from bnn.tuning.trial import run_trial

    shown = " ".join(f"{key}={value}" for key, value in assignment.params.items())
    tags = {"trial": str(assignment.number), "study": assignment.study, "trial_params": shown}
    train = partial(train_seed, parent=os.environ.get(PARENT), tags=tags)
    return run_trial(config, folder, assignment, train)
