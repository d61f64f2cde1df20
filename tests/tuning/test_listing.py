"""Laws of `python -m bnn.tuning`, and of the names that Optuna has of a study's objectives."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from bnn.tuning.__main__ import main
from bnn.tuning.storage import open_storage, open_study

IDENTITY = {"space": {"x": "interval(0.0, 1.0)"}, "metric": "val/loss", "config": {}}
NOON = datetime(2031, 5, 6, 12, 30)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def add_trial(
    study: optuna.Study, state: TrialState, value: float | None = None, seconds: float = 0
) -> None:
    trial = create_trial(
        state=state,
        value=value,
        params={"x": 0.25},
        distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
    )
    if state != TrialState.RUNNING:
        trial.datetime_start = NOON - timedelta(seconds=seconds)
        trial.datetime_complete = NOON
    study.add_trial(trial)


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Working directory with a journal of two studies, of which one has trials."""
    monkeypatch.chdir(tmp_path)
    storage = open_storage(str(tmp_path / "optuna.journal"))
    study, _ = open_study(storage, "first", ["minimize"], IDENTITY)
    add_trial(study, TrialState.COMPLETE, 0.5)
    add_trial(study, TrialState.COMPLETE, 0.25)
    add_trial(study, TrialState.PRUNED)
    open_study(storage, "second", ["minimize"], IDENTITY)
    return tmp_path


def test_studies_are_listed_with_trials_by_state_best_value_and_date(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    head, _, first, second = capsys.readouterr().out.splitlines()
    counted = ["complete", "pruned", "failed", "running"]
    assert cells(head) == ["study", *counted, "best", "latest trial"]
    assert cells(first) == ["first", "2", "1", "0", "0", "val/loss 0.25", "2031-05-06 12:30"]
    assert cells(second) == ["second", "0", "0", "0", "0", "–", "–"]


def test_one_study_has_a_table_of_its_trials_with_value_and_date(
    journal: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["first"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"\| +1 \| +0\.25 \| +0\.25 \| +0 \| 2031-05-06 12:30 \| complete", shown)
    assert main(["first", "second"]) == 0
    assert "2031-05-06" not in capsys.readouterr().out, "several are compared"
    assert main(["first", "second", "--trials"]) == 0
    assert capsys.readouterr().out.count("2031-05-06") == 3


@pytest.mark.parametrize("storage", ["optuna.journal", "sqlite:///studies.db"])
def test_optuna_has_the_names_of_the_objectives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.chdir(tmp_path)
    both = {**IDENTITY, "metric": "val/loss, seconds/train"}
    study, _ = open_study(open_storage(storage), "s", ["minimize", "minimize"], both)
    assert study.metric_names == ["val/loss", "seconds/train"]


def test_a_study_of_an_earlier_version_gets_them_when_it_goes_on_and_keeps_its_trials(
    journal: Path, recwarn: pytest.WarningsRecorder
) -> None:
    storage = open_storage(str(journal / "optuna.journal"))
    study = optuna.load_study(study_name="first", storage=storage)
    before = study.get_trials()
    study.set_metric_names(["other"])
    recwarn.clear()
    again, made = open_study(storage, "first", ["minimize"], IDENTITY)
    assert not made and again.metric_names == ["val/loss"] and again.get_trials() == before
    assert not [one for one in recwarn if "xperimental" in str(one.category)]


def test_the_second_of_two_studies_takes_fewer_seconds_or_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage(str(tmp_path / "optuna.journal"))
    for name, seconds in (("short", 50), ("long", 100)):
        study, _ = open_study(storage, name, ["minimize"], IDENTITY)
        add_trial(study, TrialState.COMPLETE, 0.5, seconds)
    assert main(["long", "short"]) == 0
    assert "The second took 50 % fewer seconds than the first." in capsys.readouterr().out
    assert main(["short", "long"]) == 0
    assert "The second took 100 % more seconds than the first." in capsys.readouterr().out
