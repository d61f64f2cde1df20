"""Objective of a study: one trial in its job, on each of its seeds.

Every epoch is reported to the study, which stops the trial when its pruner says so. The test split
is not read.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, open_dict
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.study import Study
from optuna.trial import TrialState

from bnn import schema
from bnn.errors import (
    DivergedError,
    Pruned,
    StorageError,
    Superseded,
    TrackingError,
    format_error,
)
from bnn.job_environment import JobEnvironment
from bnn.runs.execute import SeedResult, execute_trial_seed
from bnn.specify import specify
from bnn.training.callback import Callback
from bnn.training.shared_display import progress_of
from bnn.tuning import optuna_adapter as adapter
from bnn.tuning import queue
from bnn.tuning.samplers_pruners import pruner, should_prune
from bnn.tuning.settings import Assignment
from bnn.tuning.storage import open_storage, storage_errors

VALUES, SPREAD, RUNS, STOPPED = "values_by_seed", "spread", "runs", "stopped"
"""Attributes of a trial: each objective by seed, its sample standard deviation over seeds, the
MLflow runs, and where it was stopped early."""


@dataclass(frozen=True)
class _Report(Callback):
    """Intermediate values of one seed of a trial, and the pruner's decision after each epoch."""

    study: Study
    assignment: Assignment
    index: int
    """Position of the seed among those of the trial."""
    last: int | None
    """Epoch after which nothing is left to prune: the last of the last seed."""
    judge: BasePruner

    @storage_errors()
    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        study, assignment = self.study, self.assignment
        if adapter.trial_state(study, assignment.number) != TrialState.RUNNING:
            raise Superseded("another process has ended this trial")
        metric = assignment.metrics[0]
        if len(assignment.metrics) > 1 or metric not in metrics:
            return
        value, stride = metrics[metric], assignment.stride
        if not math.isfinite(value):
            raise DivergedError(f"{metric} became {value} after epoch {epoch}: lower optimizer.lr")
        step = self.index * stride + epoch
        adapter.set_intermediate_value(study, assignment.number, step, value)
        trial_id = adapter.trial_id(study, assignment.number)
        if epoch != self.last and should_prune(self.judge, study, trial_id, self.index, stride):
            seed = assignment.seeds[self.index]
            raise Pruned(f"pruned after epoch {epoch} of seed {seed}")


@storage_errors()
def run_trial(config: DictConfig, folder: Path, job: JobEnvironment) -> dict[str, Any]:
    """Train every seed of a trial, and tell the study how it ended.

    It ends complete with the means over seeds, pruned, or failed with the reason. An interruption,
    and a store or storage that fails, re-enqueue the trial, and go on upwards.

    Args:
        config: composed configuration of the trial.
        folder: directory of the trial; each seed has one of its own in it.
        job: environment of the job, with the trial.

    Returns:
        The trial's number and state.
    """
    assert job.trial is not None
    assignment = Assignment(**job.trial)
    storage = open_storage(assignment.storage)
    study = optuna.load_study(study_name=assignment.study, storage=storage)
    number = assignment.number
    with queue.Heartbeat(study, [number], queue.JOB, assignment.stale_after):
        try:
            results = _train_seeds(config, folder, assignment, study, job)
        except Pruned as stop:
            _set_attributes(study, number, {STOPPED: str(stop)})
            state = _tell(study, number, TrialState.PRUNED)
        except Superseded:
            state = adapter.trial_state(study, number).name
        except (TrackingError, StorageError) as error:  # the next trial would fare no better
            # else the next command finds it without a process
            with contextlib.suppress(StorageError), storage_errors():
                queue.reenqueue(study, number, str(error), tried=False)
            raise
        except (KeyboardInterrupt, SystemExit):
            queue.reenqueue(study, number, "interrupted", tried=False)
            raise
        except Exception as error:
            queue.fail_trial(study, number, format_error(error))
            state = "FAIL"
        else:
            metrics = assignment.metrics
            by_seed = {name: [result.values[name] for result in results] for name in metrics}
            spread = {
                name: statistics.stdev(values) if len(values) > 1 else None
                for name, values in by_seed.items()
            }
            _set_attributes(study, number, {VALUES: by_seed, SPREAD: spread})
            means = [statistics.fmean(values) for values in by_seed.values()]
            state = _tell(study, number, TrialState.COMPLETE, means)
    return {"trial": number, "state": state}


def _train_seeds(
    config: DictConfig, folder: Path, assignment: Assignment, study: Study, job: JobEnvironment
) -> list[SeedResult]:
    judge, number = pruner(assignment.pruner), assignment.number
    params = " ".join(f"{key}={value}" for key, value in assignment.params.items())
    tags = {
        schema.TRIAL: str(number),
        schema.STUDY: assignment.study,
        schema.TRIAL_PARAMS: params,
    }
    results: list[SeedResult] = []
    for index, seed in enumerate(assignment.seeds):
        with open_dict(config):
            config.seed = seed
        spec = specify(config, number)
        is_last = index == len(assignment.seeds) - 1
        last = int(spec.config["trainer"]["epochs"]) if is_last else None
        report = _Report(study, assignment, index, last, judge)
        title, place = f"[trial {number}] {spec.title}", folder / f"seed_{seed}"
        with progress_of(spec.config["trainer"]["progress"], job, number) as progress:
            result = execute_trial_seed(
                spec, place, job.parent, title, progress=progress, tags=tags, report=report
            )
        results.append(result)
        _set_attributes(study, number, {RUNS: [result.run_id for result in results]})
    return results


@storage_errors()
def _set_attributes(study: Study, number: int, attributes: Mapping[str, Any]) -> None:
    with contextlib.suppress(UpdateFinishedTrialError):
        for key, value in attributes.items():
            adapter.set_attribute(study, number, key, value)


def _tell(study: Study, number: int, state: TrialState, values: list[float] | None = None) -> str:
    """State that the trial ends in; a verdict that is there already stands."""
    with contextlib.suppress(UpdateFinishedTrialError):
        study.tell(number, values, state=state, skip_if_finished=True)
    return adapter.trial_state(study, number).name
