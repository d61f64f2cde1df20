"""Trial queue of several processes: no trial done twice or lost, and as many as asked for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from support.matrix import one_in
from support.processes import context

from bnn.tuning import queue as ledgers
from bnn.tuning import storage as storages
from bnn.tuning.queue import (
    JOB,
    SWEEPER,
    Heartbeat,
    TrialQueue,
    fail_trial,
    is_gone,
    process,
    reenqueue,
)
from bnn.tuning.storage import StudyError, forget_study, open_storage, open_study, storage_address

IDENTITY = {
    "space": {"x": "interval(0.0, 1.0)"},
    "metric": "val/loss",
    "direction": "minimize",
    "seeds": 1,
    "config": {},
}


JOURNAL = "optuna.journal"


def study(path: Path, file: str = JOURNAL) -> optuna.Study:
    address = str(path / file) if file == JOURNAL else f"sqlite:///{path / file}"
    return open_study(open_storage(address), "s", ["minimize"], IDENTITY)[0]


def ledger(
    path: Path, n_trials: int = 3, stale_after: float = 60.0, file: str = JOURNAL
) -> TrialQueue:
    return TrialQueue(study(path, file), n_trials, stale_after)


def ended_process() -> list:
    child = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    who = [ledgers.machine(), child.pid, ledgers._started(child.pid)]
    assert not is_gone(who)
    child.kill()
    child.wait()
    return who


def test_there_are_as_many_places_as_trials(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    trials = [book.claim() for _ in range(4)]
    assert [trial.number for trial in trials[:3]] == [0, 1, 2] and trials[3] is None
    book.study.tell(trials[0], 1.0)
    assert book.claim() is None, "a complete trial keeps its place"
    fail_trial(book.study, 1, "diverged")
    assert book.claim().number == 3, "a failed one does not"


def test_of_two_that_ask_at_once_one_is_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both see the last place free; the numbers decide."""
    one, two = ledger(tmp_path, 1), ledger(tmp_path, 1)
    asked = type(one.study).ask
    monkeypatch.setattr(
        one.study, "ask", lambda: (two_claims.append(two.claim()), asked(one.study))[1]
    )
    two_claims: list = []
    assert one.claim() is None and two_claims[0].number == 0
    assert [t.state for t in one.study.trials] == [TrialState.RUNNING, TrialState.FAIL]
    assert one.failures() == [], "one too many is nobody's failure"


def test_a_trial_whose_process_has_ended_is_tried_again_with_the_same_values(
    tmp_path: Path,
) -> None:
    book = ledger(tmp_path)
    trial = book.claim()
    value = trial.suggest_float("x", 0, 1)
    assert book.fail_stale_trials() == []
    trial.set_user_attr(SWEEPER, ended_process())
    assert book.fail_stale_trials() == [0] and book.fail_stale_trials() == []
    again = book.claim()
    assert again.number == 1 and again.suggest_float("x", 0, 1) == value
    assert book.failures() == [], "a lost trial is not a failed one"


def test_a_trial_lives_while_its_job_does(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    trial = book.claim()
    trial.set_user_attr(SWEEPER, ended_process())
    trial.set_user_attr(JOB, process())
    assert book.fail_stale_trials() == []
    trial.set_user_attr(JOB, ended_process())
    assert book.fail_stale_trials() == [0]


def test_a_later_process_of_the_same_number_is_another_one() -> None:
    host, pid, started = process()
    assert not is_gone([host, pid, started])
    assert is_gone([host, pid, str(int(started) - 1)])
    assert not is_gone(["elsewhere", pid, "0"])
    assert not is_gone([host, 1, ledgers._started(1)])


def test_a_process_that_ended_and_was_not_waited_for_is_gone() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = [ledgers.machine(), child.pid, ledgers._started(child.pid)]
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(who)
    child.wait()


def test_a_trial_is_not_lost_for_ever(tmp_path: Path) -> None:
    book = ledger(tmp_path, n_trials=1)
    for attempt in range(ledgers.ATTEMPTS):
        assert book.claim().number == attempt
        reenqueue(book.study, attempt, "its process ended")
    assert len(book.failures()) == 1 and "3 times" in book.failures()[0].user_attrs["reason"]
    assert not book.trials(TrialState.WAITING)


def test_only_one_process_gives_a_trial_up(tmp_path: Path) -> None:
    book, other = ledger(tmp_path), ledger(tmp_path)
    book.claim()
    reenqueue(book.study, 0, "lost")
    reenqueue(other.study, 0, "lost")
    assert len(book.trials(TrialState.WAITING)) == 1


def test_what_waits_when_the_study_is_whole_is_closed(tmp_path: Path) -> None:
    book = ledger(tmp_path, n_trials=1)
    first = book.claim()
    book.study.enqueue_trial({"x": 0.5})
    book.close()
    assert len(book.trials(TrialState.WAITING)) == 1, "the study is not whole yet"
    book.study.tell(first, 1.0)
    book.close()
    assert not book.trials(TrialState.WAITING, TrialState.RUNNING)


def test_a_heartbeat_is_heard_while_it_lasts(tmp_path: Path) -> None:
    book = ledger(tmp_path, stale_after=0.8)
    trial = book.claim()
    with Heartbeat(book.study, [0], JOB, 0.8):
        assert book.trials()[0].user_attrs[JOB] == process()
        for role in (SWEEPER, JOB):
            trial.set_user_attr(role, ["elsewhere", 1, "7"])
        for _ in range(8):
            time.sleep(0.2)
            assert book.fail_stale_trials() == []
    assert book.fail_stale_trials() == []
    time.sleep(0.9)
    assert book.fail_stale_trials() == [0]


def test_interruptions_are_not_held_against_a_trial(tmp_path: Path) -> None:
    book = ledger(tmp_path, n_trials=1)
    for attempt in range(2 * ledgers.ATTEMPTS):
        assert book.claim().number == attempt
        assert reenqueue(book.study, attempt, "interrupted", tried=False)
    assert book.failures() == [] and len(book.trials(TrialState.WAITING)) == 1


def test_a_trial_that_ended_meanwhile_is_not_reported_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = ledger(tmp_path)
    trial = book.claim()
    trial.set_user_attr(SWEEPER, ended_process())

    def told_just_then(found: object) -> bool:
        book.study.tell(0, 1.0)
        return True

    monkeypatch.setattr(book, "is_stale", told_just_then)
    assert book.fail_stale_trials() == [] and book.study.trials[0].state == TrialState.COMPLETE


def _take_part(folder: str, n_trials: int, file: str) -> None:
    book = ledger(Path(folder), n_trials, file=file)
    while (trial := book.claim()) is not None:
        trial.suggest_float("x", 0, 1)
        trial.set_user_attr("by", os.getpid())
        time.sleep(0.02)
        book.study.tell(trial, 0.0)


@pytest.mark.integration
@pytest.mark.parametrize("file, waiting", one_in(3, product([JOURNAL, "studies.db"], [0, 10])))
def test_processes_share_the_trials_exactly(tmp_path: Path, file: str, waiting: int) -> None:
    """Three processes; without waiting trials they meet a storage that does not exist yet."""
    for number in range(waiting):
        study(tmp_path, file).enqueue_trial({"x": number / 100})
    workers = [context.Process(target=_take_part, args=(str(tmp_path), 20, file)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 3, (
        "a trial that two of them had is told twice, which fails"
    )
    book = ledger(tmp_path, 20, file=file)
    assert book.done() == 20 and not book.trials(TrialState.RUNNING, TrialState.WAITING)
    assert book.failures() == []
    by = [trial.user_attrs["by"] for trial in book.trials(TrialState.COMPLETE)]
    assert len(set(by)) > 1, "one process did it all: the test shows nothing"


def test_a_study_of_something_else_is_refused_with_both_spaces(tmp_path: Path) -> None:
    study(tmp_path)
    other = {**IDENTITY, "space": {"x": "interval(0.0, 2.0)"}, "config": {"trainer.epochs": "3"}}
    storage = open_storage(str(tmp_path / "optuna.journal"))
    with pytest.raises(StudyError) as caught:
        open_study(storage, "s", ["minimize"], other)
    for words in ("x=interval(0.0, 1.0)", "x=interval(0.0, 2.0)", "trainer.epochs=3", "fresh=true"):
        assert words in str(caught.value)
    assert not open_study(storage, "s", ["minimize"], IDENTITY)[1]
    assert open_study(storage, "other", ["minimize"], other)[1]
    forget_study(storage, "s", 60)
    fresh, made = open_study(storage, "s", ["minimize"], other)
    assert made and fresh.trials == []


def test_a_study_with_a_living_trial_is_not_forgotten(tmp_path: Path) -> None:
    book = ledger(tmp_path)
    trial = book.claim()
    with pytest.raises(StudyError, match="running trial"):
        forget_study(book.study._storage, "s", 60)
    trial.set_user_attr(SWEEPER, ended_process())
    forget_study(book.study._storage, "s", 60)
    forget_study(book.study._storage, "s", 60)


def test_a_study_of_another_program_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storages, "SETTLE_SECONDS", 0.1)
    storage = open_storage(str(tmp_path / JOURNAL))
    foreign = optuna.create_study(study_name="s", storage=storage)
    foreign.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(StudyError, match="not made by this program"):
        open_study(storage, "s", ["minimize"], IDENTITY)
    optuna.create_study(study_name="empty", storage=storage)
    assert not open_study(storage, "empty", ["minimize"], IDENTITY)[1], (
        "its maker was ended before it could say what it is"
    )


def test_the_storage_lies_beside_the_tracking_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_address(None, "sqlite:////there/mlflow.db") == "/there/optuna.journal"
    assert storage_address(None, "http://server:5000") == str(tmp_path / "optuna.journal")
    assert storage_address("mine.journal", "http://server") == str(tmp_path / "mine.journal")
    assert storage_address("sqlite:///mine.db", "http://server") == f"sqlite:///{tmp_path}/mine.db"
    assert storage_address("postgresql+psycopg://u:p@h/d", "x") == "postgresql+psycopg://u:p@h/d"


def test_a_storage_that_cannot_be_used_is_one_line_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"hydra\.sweeper\.storage.*folder"):
        open_storage(str(tmp_path / "missing" / "optuna.journal"))
    started = time.perf_counter()
    with pytest.raises(StudyError, match=r"hydra\.sweeper\.storage") as caught:
        open_storage("nonsense://user:secret@host/db")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(StudyError, match="folder"):
        open_storage(f"sqlite:///{tmp_path}/missing/studies.db")
    assert time.perf_counter() - started < 5, "what can never work is not tried again"
    (tmp_path / "broken.journal").write_text("this is no journal\n" * 3)
    with pytest.raises(StudyError, match=r"broken\.journal"):
        open_storage(str(tmp_path / "broken.journal"))
