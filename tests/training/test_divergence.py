"""Divergence by size: a training whose loss grows far above its first value stops."""

from __future__ import annotations

import math
import re
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from support.command_line import QUICK, run_here, runs

from bnn.build import read_dataset
from bnn.config.compose import compose
from bnn.errors import DivergedError
from bnn.specify import setup
from bnn.training.loop import FitResult, fit
from bnn.training.step import DIVERGED, TrainState
from bnn.tuning.storage import open_storage

SMALL = ["device=cpu", "data=digits", "data.limit=320", "model=mlp", "model.hidden=16"]
SHORT = [*SMALL, "trainer.progress=none", "trainer.epochs=2", "trainer.evaluation_samples=1"]


def trained(*overrides: str, folder: Path | None = None) -> FitResult:
    made = setup(compose([*SHORT, *overrides]))
    return fit(made.model, made.training, read_dataset(made.spec), folder=folder)


def test_a_loss_far_above_the_first_stops_the_training(tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as stopped:
        trained("optimizer.lr=1e10", folder=tmp_path)
    said = str(stopped.value)
    assert "in epoch 1" in said and "lower optimizer.lr" in said and "\n" not in said
    loss = re.search(r"training loss is (\S+), more than 100 times", said)
    assert loss is not None and float(loss[1]) > 1e6
    assert not (tmp_path / "best.pt").exists(), "an epoch that diverged is never the best one"


@pytest.mark.parametrize("baseline", ["none", "moving_average"])
def test_a_noisy_reinforce_training_is_not_stopped(baseline: str) -> None:
    words = ["estimator=reinforce", f"estimator/baseline={baseline}", "trainer.batch_size=2"]
    result = trained(
        *words, "optimizer=sgd", "optimizer.lr=0.3", "optimizer.momentum=0", "data.limit=64"
    )
    losses = [epoch["train/loss"] for epoch in result.history]
    assert len(losses) == 2 and max(losses) > 2.3, "it learns nothing, or worse, and goes on"


def state(first_loss: float) -> TrainState:
    made = setup(compose(SHORT))
    begun = TrainState(made.model, made.training, read_dataset(made.spec))
    begun.first_loss = first_loss
    return begun


def test_the_limit_is_a_multiple_of_the_first_loss_and_at_least_of_1() -> None:
    begun = state(2.3)
    begun.check_divergence(1, DIVERGED * 2.29)
    with pytest.raises(DivergedError, match="in epoch 3"):
        begun.check_divergence(3, DIVERGED * 2.31)
    begun = state(1e-4)
    begun.check_divergence(1, 0.5)  # trained weights, and a learning rate to get used to
    with pytest.raises(DivergedError):
        begun.check_divergence(1, DIVERGED * 1.01)


def test_a_resumed_training_is_held_to_the_loss_of_its_own_first_step() -> None:
    begun, resumed = state(7.5), state(math.nan)
    resumed.load_state_dict(begun.state_dict())
    assert resumed.first_loss == 7.5


@pytest.mark.integration
def test_a_job_of_a_sweep_that_diverges_by_size_fails_alone(tmp_path: Path) -> None:
    result = run_here(tmp_path, "-m", *QUICK, "data.limit=320", "optimizer.lr=1e10,0.1")
    assert result.returncode == 1 and "1 of 2 runs failed" in result.stderr
    assert [run.info.status for run in runs(tmp_path, "run")] == ["FAILED", "FINISHED"]
    assert "diverged in epoch 1" in result.stdout and "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.integration
def test_a_trial_that_diverges_by_size_fails_and_the_study_goes_on(tmp_path: Path) -> None:
    words = ["-m", *QUICK, "data.limit=320", "hydra/sweeper=bnn_optuna"]
    search = ["optimizer.lr=choice(0.1,1e10)", "hydra.sweeper.max_failures=9"]
    result = run_here(tmp_path, *words, *search, "hydra.sweeper.n_trials=3")
    assert result.returncode == 0, result.stderr
    storage = open_storage(str(tmp_path / "optuna.journal"))
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).trials
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert failed and sum(trial.state == TrialState.COMPLETE for trial in trials) == 3
    assert all("diverged in epoch 1" in trial.user_attrs["reason"] for trial in failed)
