"""Faults of a study's storage and of its watchers: full disks, power cuts, clocks that jump."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from support.command_line import UNSEEN, run_here, runs
from support.postgres import cluster

from bnn import schema
from bnn.errors import StorageError
from bnn.training import checkpoint
from bnn.tuning import journal
from bnn.tuning import optuna_adapter as adapter
from bnn.tuning import storage as storages
from bnn.tuning.journal import JournalFile
from bnn.tuning.queue import HEARD, SWEEPER, TrialQueue, reenqueue
from bnn.tuning.storage import (
    StudyError,
    forget_study,
    open_existing_storage,
    open_storage,
    open_study,
    storage_errors,
)

IDENTITY = {"space": {"x": "interval(0.0, 1.0)"}, "metric": "val/loss", "config": {}}
HALF = b'{"op_code":4,"worker_id":"half of a rec'
POWER_CUT = b"\0" * 5000
DAMAGES = {
    "half a record": HALF,
    "zeros": POWER_CUT,
    "half a record and zeros": HALF + POWER_CUT,
    "zeros and the end of a record": POWER_CUT + b'"x":1}\n',
    "half a record and a line break": HALF + b"\n",
}


def values(path: Path) -> list[float]:
    """Values of the trials of the study in a journal, read by a new process."""
    storage = open_existing_storage(str(path))
    return [t.value for t in optuna.load_study(study_name="s", storage=storage).trials]


def add_trial(path: Path, value: float) -> None:
    study = optuna.create_study(
        study_name="s", storage=open_storage(str(path)), load_if_exists=True
    )
    study.add_trial(optuna.create_trial(value=value))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Journal of a study with one trial."""
    add_trial(tmp_path / "optuna.journal", 1.0)
    return tmp_path / "optuna.journal"


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_end_is_ignored_kept_aside_and_appended_after(file: Path, damage: bytes) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole + damage)
    assert values(file) == [1.0] and file.read_bytes() == whole + damage, "reading changes nothing"
    add_trial(file, 2.0)
    add_trial(file, 3.0)
    assert values(file) == [1.0, 2.0, 3.0] and file.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in file.read_text().splitlines())
    kept = [path.read_bytes() for path in file.parent.glob("optuna.journal.damaged-*")]
    assert kept == ([] if damage == POWER_CUT else [damage])


def test_a_process_that_has_read_the_journal_goes_on_after_a_damage(file: Path) -> None:
    study = optuna.load_study(study_name="s", storage=open_storage(str(file)))
    file.write_bytes(file.read_bytes() + DAMAGES["zeros and the end of a record"])
    assert [trial.value for trial in study.trials] == [1.0]
    add_trial(file, 2.0)
    assert [trial.value for trial in study.trials] == [1.0, 2.0]
    study.add_trial(optuna.create_trial(value=3.0))
    assert values(file) == [1.0, 2.0, 3.0]


def test_a_disk_that_is_full_for_a_moment_loses_no_study(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, study = (
        file.read_bytes(),
        optuna.load_study(study_name="s", storage=open_storage(str(file))),
    )

    def full(descriptor: int) -> None:
        os.ftruncate(descriptor, len(whole) + 10)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(journal.os, "fsync", full)
        with pytest.raises(
            StorageError, match=r"optuna\.journal cannot be written \(No space"
        ) as no:
            study.add_trial(optuna.create_trial(value=2.0))
    assert "\n" not in str(no.value) and file.read_bytes() == whole
    study.add_trial(optuna.create_trial(value=3.0))
    assert values(file) == [1.0, 3.0]


def test_a_disk_that_stays_full_keeps_the_damaged_end_in_place(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged end that cannot be copied is not cut."""
    storage = open_storage(str(file))
    file.write_bytes(file.read_bytes() + HALF)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(journal.os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        optuna.load_study(study_name="s", storage=storage).set_user_attr("a", 1)
    assert file.read_bytes().endswith(HALF)


def test_a_damage_between_records_is_named_by_its_line(file: Path) -> None:
    add_trial(file, 2.0)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([lines[0], HALF, *lines[1:]]))
    with pytest.raises(StudyError, match="line 2 is no record"):
        open_storage(str(file))


@pytest.mark.parametrize("content", [b"one line of text", b"one line of text\n", b"SQLite\0\0"])
def test_a_file_of_something_else_is_not_cut(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises((StorageError, StudyError), match="line 1 is no record"):
        add_trial(path, 1.0)
    assert path.read_bytes() == content


def test_a_last_line_longer_than_a_block_is_found(tmp_path: Path) -> None:
    path = tmp_path / "optuna.journal"
    book = JournalFile(path)
    for number in range(3):
        book.append_logs([{"op_code": number, "text": "x" * 3 * journal.BLOCK}])
    path.write_bytes(path.read_bytes() + HALF * 500)
    book.append_logs([{"op_code": 3}])
    assert [log["op_code"] for log in JournalFile(path).read_logs(0)] == [0, 1, 2, 3]
    assert [log["op_code"] for log in book.read_logs(2)] == [2, 3]


def test_programs_that_use_optunas_own_backend_read_and_write_the_same_file(file: Path) -> None:
    other = JournalStorage(JournalFileBackend(str(file)))
    optuna.load_study(study_name="s", storage=other).add_trial(optuna.create_trial(value=2.0))
    add_trial(file, 3.0)
    found = optuna.load_study(study_name="s", storage=other).trials
    assert [trial.value for trial in found] == values(file) == [1.0, 2.0, 3.0]


SMALL = [
    "data=digits", "data.limit=192", "model=mlp", "device=cpu", "trainer.epochs=2",
    "trainer.progress=none", "hydra/sweeper=bnn_optuna", "hydra.sweeper.n_trials=2",
    "optimizer.lr=tag(log,interval(0.01,0.3))", *UNSEEN,
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("record", [2, 7, 12])
def test_a_study_on_a_disk_that_was_full_ends_in_one_line_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: int
) -> None:
    append, count = JournalFile._append, iter(range(10_000))

    def full_once(self: JournalFile, content: bytes) -> None:
        if next(count) == record:
            with self._path.open("ab") as file:
                file.write(content[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, content)

    monkeypatch.setattr(JournalFile, "_append", full_once)
    monkeypatch.setattr(storages, "SETTLE_SECONDS", 0.2)
    first = run_here(tmp_path, "-m", *SMALL)
    lines = [line for line in first.stderr.splitlines() if line]
    assert first.returncode == 1 and len(lines) == 1 and lines[0].startswith("error: "), lines
    assert "optuna.journal cannot be written (No space left on device)" in lines[0]
    again = run_here(tmp_path, "-m", *SMALL)
    assert again.returncode == 0, again.stderr
    (study,) = optuna.get_all_study_names(open_storage(str(tmp_path / "optuna.journal")))
    trials = optuna.load_study(
        study_name=study, storage=open_storage(str(tmp_path / "optuna.journal"))
    ).trials
    assert sum(trial.state == TrialState.COMPLETE for trial in trials) == 2
    assert not [trial for trial in trials if not trial.state.is_finished()]


# ---- heartbeats


class Clock:
    """Monotonic clock of a worker that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def watched(tmp_path: Path, n_trials: int = 3) -> tuple[TrialQueue, optuna.Trial, Clock]:
    """Trial queue with a running trial, and the clock of the worker that watches it."""
    study, _ = open_study(
        open_storage(str(tmp_path / "optuna.journal")), "s", ["minimize"], IDENTITY
    )
    clock = Clock()
    queue = TrialQueue(study, n_trials, 100.0, clock)
    trial = queue.claim()
    assert trial is not None
    return queue, trial, clock


def test_a_living_process_of_this_machine_is_not_given_up_when_clocks_jump(tmp_path: Path) -> None:
    """A laptop that slept for a night: its last heartbeat is old, and its process lives."""
    queue, trial, clock = watched(tmp_path)
    trial.set_user_attr(HEARD, time.time() - 30_000)
    assert queue.fail_stale_trials() == []
    clock.seconds = 30_000.0
    assert queue.fail_stale_trials() == []


@pytest.mark.parametrize("skew", [-100_000, 0, 100_000])
def test_silence_elsewhere_is_measured_by_the_clock_of_the_watcher(
    tmp_path: Path, skew: float
) -> None:
    queue, trial, clock = watched(tmp_path)
    trial.set_user_attr(SWEEPER, ["elsewhere", 1, "7"])
    for heartbeat in range(5):  # every 90 s, by a clock that is off
        trial.set_user_attr(HEARD, time.time() + skew + heartbeat)
        assert queue.fail_stale_trials() == []
        clock.seconds += 90
        assert queue.fail_stale_trials() == []
    clock.seconds += 20
    assert queue.fail_stale_trials() == [0]


def test_a_trial_elsewhere_is_given_up_after_a_whole_watch_alone(tmp_path: Path) -> None:
    """Its heartbeat is old when the watch begins: the other clock may be behind."""
    queue, trial, clock = watched(tmp_path)
    trial.set_user_attr(SWEEPER, ["elsewhere", 1, "7"])
    trial.set_user_attr(HEARD, time.time() - 1000)
    clock.seconds = 500.0
    assert queue.fail_stale_trials() == []
    clock.seconds = 599.0
    assert queue.fail_stale_trials() == []
    clock.seconds = 601.0
    assert queue.fail_stale_trials() == [0]


def test_fresh_waits_for_a_sign_of_life_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, trial, _ = watched(tmp_path)
    trial.set_user_attr(SWEEPER, ["elsewhere", 1, "7"])
    storage = open_storage(str(tmp_path / "optuna.journal"))
    monkeypatch.setattr(storages, "POLL_SECONDS", 0.05)
    with monkeypatch.context() as patched:
        patched.setattr(
            storages.time, "sleep", lambda seconds: trial.set_user_attr(HEARD, time.time())
        )
        with pytest.raises(StudyError, match=r"running trial \(0\)"):
            forget_study(storage, "s", 60.0)
    forget_study(storage, "s", 0.2)
    assert "waiting 60 s for a sign of life" in capsys.readouterr().out
    assert optuna.get_all_study_names(storage) == []


def test_values_of_a_trial_that_was_claimed_and_not_begun_are_tried_again(tmp_path: Path) -> None:
    queue, _, _ = watched(tmp_path)
    queue.study.enqueue_trial({"x": 0.25})
    assert queue.claim() is not None
    reenqueue(queue.study, 1, "interrupted", tried=False)
    again = queue.claim()
    assert again is not None and again.suggest_float("x", 0, 1) == 0.25


def test_an_outage_is_one_for_all_threads_and_ends_with_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(storages.time, "monotonic", lambda: now)
    monkeypatch.setattr(storages, "RECONNECT_SECONDS", 10.0)
    outage = storages._Outage()
    found = {}
    for now in (0.0, 9.0, 10.5, 11.0):
        found[now] = outage.may_end()
    assert found == {0.0: True, 9.0: True, 10.5: False, 11.0: False}
    outage.end()
    now = 12.0
    assert outage.may_end(), "another outage"
    now = 100.0
    assert outage.may_end(), "a failure long after the last one"


@pytest.mark.server
def test_a_database_server_that_restarts_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    with cluster("ada", "secret") as server:
        address = f"postgresql+psycopg://ada:secret@127.0.0.1:{server.port}/postgres"
        study = optuna.create_study(study_name="s", storage=open_storage(address))
        study.add_trial(optuna.create_trial(value=1.0))
        server.stop()
        begins_again = threading.Timer(2.0, server.start)
        begins_again.start()
        try:
            adapter.storage_of(study).set_study_user_attr(study._study_id, "during", "the restart")
        finally:
            begins_again.join()
        study.add_trial(optuna.create_trial(value=2.0))
        assert study.user_attrs["during"] == "the restart"
        assert [trial.value for trial in study.trials] == [1.0, 2.0]
        monkeypatch.setattr(storages, "RECONNECT_SECONDS", 2.0)
        other = optuna.load_study(study_name="s", storage=open_storage(address))
        server.stop()
        seconds = []
        try:
            for _ in range(2):
                begun = time.monotonic()
                failed = pytest.raises(StorageError, match=r"^hydra\.sweeper\.storage: .*goes on")
                with failed as no, storage_errors():
                    other.set_user_attr("after", "the limit")
                seconds.append(time.monotonic() - begun)
        finally:
            server.start()
        assert "secret" not in str(no.value) and "\n" not in str(no.value)
        assert seconds[0] >= 2 > seconds[1], "a server that stays away is waited for once"
        other.set_user_attr("after", "the outage")
        assert other.user_attrs["after"] == "the outage"


STUDY = ["-m", "hydra/sweeper=bnn_optuna", *UNSEEN, "optimizer.lr=tag(log,interval(0.01,0.3))",
         "data=digits", "device=cpu", "data.limit=100", "trainer.epochs=3", "trainer.progress=none",
         "hydra.sweeper.n_trials=2", "hydra/sweeper/pruner=none"]  # fmt: skip


def trials(folder: Path) -> list[optuna.trial.FrozenTrial]:
    storage = open_storage(str(folder / "optuna.journal"))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage).trials


@pytest.mark.integration
def test_a_database_that_fails_in_a_trial_fails_no_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = adapter.set_intermediate_value

    def fails(study: optuna.Study, number: int, step: int, value: float) -> None:
        if step == 2:
            raise StorageInternalError("the connection was cut")
        report(study, number, step, value)

    with monkeypatch.context() as patched:
        patched.setattr(adapter, "set_intermediate_value", fails)
        ended = run_here(tmp_path, *STUDY)
    assert ended.returncode == 1 and "Traceback" not in ended.stderr
    assert "the database failed" in ended.stderr and "the same command goes on" in ended.stderr
    assert run_here(tmp_path, *STUDY).returncode == 0
    lost, *others = trials(tmp_path)
    assert lost.state == TrialState.FAIL and "lost" in lost.user_attrs
    assert [trial.state for trial in others] == [TrialState.COMPLETE] * 2
    assert others[0].params == lost.params, "the trial was tried again with its own values"


@pytest.mark.integration
def test_a_trial_that_another_process_has_ended_keeps_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = adapter.set_intermediate_value

    def ended(study: optuna.Study, number: int, step: int, value: float) -> None:
        report(study, number, step, value)
        if (number, step) == (0, 2):
            assert reenqueue(study, number, "silent for too long")

    with monkeypatch.context() as patched:
        patched.setattr(adapter, "set_intermediate_value", ended)
        assert run_here(tmp_path, *STUDY).returncode == 0
    first, *others = trials(tmp_path)
    assert first.state == TrialState.FAIL and first.user_attrs["lost"]
    assert [trial.state for trial in others] == [TrialState.COMPLETE] * 2
    (run,) = [run for run in runs(tmp_path, "trial") if run.data.tags["trial"] == "0"]
    assert run.info.status == "KILLED" and schema.PRUNED not in run.data.tags
    assert (Path(run.data.tags[schema.RUN_DIR]) / checkpoint.LAST).is_file()
