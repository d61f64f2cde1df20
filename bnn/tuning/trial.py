"""What a job does with a trial: it trains each seed, reports every epoch to the study itself, stops when the pruner says so,
and says how it ended. Nothing here reads the test set."""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, open_dict
from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import TrialState

from bnn.build import Plan, plan
from bnn.errors import DivergedError, Pruned, TrackingError
from bnn.tuning import ledger
from bnn.tuning.optuna_parts import pruner, should_prune
from bnn.tuning.settings import Assignment
from bnn.tuning.storage import open_storage

VALUES, SPREAD, RUNS, STOPPED = "values_by_seed", "spread", "runs", "stopped"
"""Attributes of a trial: each objective by seed, its sample standard deviation over seeds, the tracking runs, where it was
stopped early."""

Report = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Trained:
    """One seed of a trial: the objectives by name, and its run in the tracking store."""

    values: Mapping[str, float]
    run_id: str


Train = Callable[[Plan, Path, str, Report], Trained]
"""(plan, folder, title, report) -> what one seed came to. `report` is called after each epoch and may raise Pruned."""


def run_trial(
    config: DictConfig, folder: Path, assignment: Assignment, train: Train
) -> dict[str, Any]:
    """Train every seed of a trial and tell the study how it ended: complete with the means, pruned, failed with the reason.

    An interruption gives the trial back to whoever asks next, and goes on upwards.
    """
    study = optuna.load_study(study_name=assignment.study, storage=open_storage(assignment.storage))
    number = assignment.number
    with ledger.Heartbeat(study, [number], ledger.JOB, assignment.stale_after):
        try:
            trained = _seeds(config, folder, assignment, study, train)
        except Pruned as stop:
            _attributes(study, number, {STOPPED: str(stop)})
            state = _tell(study, number, TrialState.PRUNED)
        except TrackingError as error:  # the store is away, and the next trial would fare no better
            ledger.give_up(study, number, str(error), tried=False)
            raise
        except (KeyboardInterrupt, SystemExit):
            ledger.give_up(study, number, "interrupted", tried=False)
            raise
        except Exception as error:
            words = str(error).partition("\n")[0]
            ledger.fail(
                study,
                number,
                words if isinstance(error, ArithmeticError) else f"{type(error).__name__}: {words}",
            )
            state = "FAIL"
        else:
            by_seed = {
                metric: [each.values[metric] for each in trained] for metric in assignment.metrics
            }
            spread = {
                m: statistics.stdev(values) if len(values) > 1 else None
                for m, values in by_seed.items()
            }
            _attributes(study, number, {VALUES: by_seed, SPREAD: spread})
            means = [statistics.fmean(values) for values in by_seed.values()]
            state = _tell(study, number, TrialState.COMPLETE, means)
    return {"trial": number, "state": state}


def _seeds(
    config: DictConfig, folder: Path, assignment: Assignment, study: Study, train: Train
) -> list[Trained]:
    judge, trial_id = pruner(assignment.pruner), ledger.id_of(study, assignment.number)
    trained: list[Trained] = []
    for index, seed in enumerate(assignment.seeds):
        with open_dict(config):
            config.seed = seed

        checked = plan(config, assignment.number)
        last = checked.recipe.settings.epochs if index == len(assignment.seeds) - 1 else None

        def report(
            epoch: int,
            metrics: Mapping[str, float],
            index: int = index,
            seed: int = seed,
            last: int | None = last,
        ) -> None:
            if study._storage.get_trial(trial_id).state != TrialState.RUNNING:
                raise Pruned("another process has ended this trial")
            if len(assignment.metrics) > 1 or assignment.metrics[0] not in metrics:
                return
            value = metrics[assignment.metrics[0]]
            if not math.isfinite(value):
                raise DivergedError(
                    f"{assignment.metrics[0]} became {value} after epoch {epoch}: lower optimizer.lr"
                )
            study._storage.set_trial_intermediate_value(
                trial_id, index * assignment.stride + epoch, value
            )
            if epoch != last and should_prune(judge, study, trial_id, index, assignment.stride):
                raise Pruned(f"pruned after epoch {epoch} of seed {seed}")

        title = f"[trial {assignment.number}] {checked.title}"
        trained.append(train(checked, folder / f"seed_{seed}", title, report))
        _attributes(study, assignment.number, {RUNS: [each.run_id for each in trained]})
    return trained


def _attributes(study: Study, number: int, attributes: Mapping[str, Any]) -> None:
    with contextlib.suppress(UpdateFinishedTrialError):
        for key, value in attributes.items():
            study._storage.set_trial_user_attr(ledger.id_of(study, number), key, value)


def _tell(study: Study, number: int, state: TrialState, values: list[float] | None = None) -> str:
    """The state that the trial ends in: another's verdict stands where there is one already."""
    with contextlib.suppress(UpdateFinishedTrialError):
        study.tell(number, values, state=state, skip_if_finished=True)
    return study._storage.get_trial(ledger.id_of(study, number)).state.name
