"""Faults around a training: signals, full disks, damaged files, each reported in one line."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from support.command_line import QUICK, ForkedCommand, bnn_train, client, run_here, runs
from support.matrix import one_in

from bnn import schema, sync
from bnn.errors import TrackingError
from bnn.runs import execute
from bnn.tasks import Classification
from bnn.tracking import outbox
from bnn.tracking import run as tracked
from bnn.tracking.resume import finished_results
from bnn.tracking.run_dir import claim_run_dir
from bnn.tracking.store import open_store

pytestmark = pytest.mark.integration

SMALL = [*QUICK, "trainer.epochs=3", "data.limit=192", "model=mlp", "trainer.progress=lines"]


@pytest.mark.parametrize(
    "number", one_in(2, [signal.SIGINT, signal.SIGTERM]), ids=["Ctrl-C", "SIGTERM"]
)
def test_signals_end_a_run_cleanly_and_the_same_command_goes_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    words = [*SMALL, "trainer.epochs=30"]
    process = ForkedCommand(tmp_path, *words)
    for line in process.stdout:
        if "epoch 3/30" in line:
            break
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number and "Traceback" not in error, error
    assert [run.info.status for run in runs(tmp_path, "run")] == ["KILLED"]
    resumed = run_here(tmp_path, *words, "resume=true")
    assert resumed.returncode == 0 and "resumes run" in resumed.stdout
    assert [run.info.status for run in runs(tmp_path, "run")] == ["FINISHED"]


def test_a_disk_that_is_full_for_an_artifact_delays_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    log, full = MlflowClient.log_artifact, iter(range(100))

    def fills_up(*words, **options) -> None:
        if next(full) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        log(*words, **options)

    monkeypatch.setattr(MlflowClient, "log_artifact", fills_up)
    result = run_here(tmp_path, *SMALL)
    assert result.returncode == 0 and "No space left on device" in result.stderr
    (run,) = runs(tmp_path, "run")
    assert run.info.status == "FINISHED", "there was room again at the end"
    assert [
        item.path for item in client(tmp_path).list_artifacts(run.info.run_id, "checkpoint")
    ] == ["checkpoint/best.pt"]


def test_where_nothing_can_be_written_one_line_says_so(tmp_path: Path) -> None:
    class Gone:
        tracking_uri = "http://127.0.0.1:9"

        def set_tag(self, *_) -> None:
            raise OSError("gone")

    (tmp_path / outbox.FOLDER).write_text("a file where the folder would be")
    with pytest.raises(TrackingError, match="resume=true"):
        outbox.Outbox(Gone(), "run", tmp_path / "other" / "..").send(
            "tag", {"key": "a", "value": "b"}
        )  # type: ignore[arg-type]


def test_an_outbox_cannot_reach_out_of_its_folder(tmp_path: Path, capsys) -> None:
    """A record that names a file elsewhere is not read from there."""
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "x")
    run_id = MlflowClient(store.uri).create_run(store.experiment_id).info.run_id
    (tmp_path / "secret").write_bytes(b"secret")
    box = tmp_path / "run" / outbox.FOLDER
    box.mkdir(parents=True)
    (box / outbox.ADDRESS).write_text(json.dumps({"uri": store.uri, "run_id": run_id}))
    record = {"call": "file", "values": {"path": "taken"}, "payload": "../../secret"}
    (box / outbox.RECORDS).write_text(json.dumps(record) + "\n")
    assert sync.main([str(tmp_path / "run")]) == 0
    assert "refuses a record" in capsys.readouterr().err
    assert not MlflowClient(store.uri).list_artifacts(run_id)


def test_a_record_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "x")
    box = tmp_path / "run" / outbox.FOLDER
    box.mkdir(parents=True)
    tags = {
        "bnn.run_dir": str(tmp_path / "run"),
        "bnn.run_dir_owner": claim_run_dir(tmp_path / "run"),
    }
    run_id = MlflowClient(store.uri).create_run(store.experiment_id, tags=tags).info.run_id
    (box / outbox.ADDRESS).write_text(json.dumps({"uri": store.uri, "run_id": run_id}))
    record = json.dumps({"call": "tag", "values": {"key": "a", "value": "b"}, "payload": ""})
    (box / outbox.RECORDS).write_text(record + "\n" + record[:20])
    assert sync.main([str(tmp_path)]) == 0
    run = MlflowClient(store.uri).get_run(run_id)
    assert run.data.tags["a"] == "b" and run.info.status == "KILLED"


def test_a_database_of_an_older_mlflow_says_how_to_upgrade(tmp_path: Path) -> None:
    assert run_here(tmp_path, *SMALL, "trainer.epochs=1").returncode == 0
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        database.commit()
    result = bnn_train(tmp_path, *SMALL)
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1 and "mlflow db upgrade" in result.stderr, (
        result.stderr
    )


def test_what_is_in_names_and_tags_stays_text(tmp_path: Path) -> None:
    """A name that is markup, a path or a table's border changes nothing around it."""
    name = "a|b <script>alert(1)</script>"
    result = run_here(
        tmp_path, "-m", *SMALL, "trainer.epochs=1", f"tracking.experiment='{name}'", "seed=0,1"
    )
    assert result.returncode == 0, result.stderr
    assert len(runs(tmp_path, "run", f"{name}/digits")) == 2


def test_a_resume_finds_a_run_that_finishes_while_it_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_here(tmp_path, *SMALL)
    looks = []

    def none_at_first(*place: object) -> dict[str, object]:
        looks.append(place)
        return {} if len(looks) == 1 else finished_results(*place)

    monkeypatch.setattr(execute, "finished_results", none_at_first)
    again = run_here(tmp_path, *SMALL, "resume=true")
    assert len(runs(tmp_path, "run")) == 1 and "(finished before)" in again.stdout


def test_a_resumed_run_keeps_the_claim_on_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = [*SMALL, "trainer.epochs=3"]
    with monkeypatch.context() as patch:
        patch.setattr(Classification, "evaluations", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_here(tmp_path, *stopped)
    (run,) = runs(tmp_path, "run")
    monkeypatch.setattr(tracked, "claim_run_dir", lambda folder: pytest.fail("claimed again"))
    run_here(tmp_path, *stopped, "resume=true")
    (again,) = runs(tmp_path, "run")
    assert again.info.status == "FINISHED"
    owners = [one.data.tags[schema.RUN_DIR_OWNER] for one in (run, again)]
    assert owners[0] == owners[1]


def test_two_resumes_at_once_train_it_once(tmp_path: Path) -> None:
    words = [*SMALL, "trainer.epochs=30"]
    first = ForkedCommand(tmp_path, *words)
    for line in first.stdout:
        if "epoch 2/30" in line:
            break
    first.kill()
    first.wait()
    both = []
    for _ in range(2):
        both.append(ForkedCommand(tmp_path, *words, "resume=true"))
        time.sleep(0.2)
    errors = [command.communicate()[1] for command in both]
    assert sorted(command.returncode for command in both) in ([0, 1], [0, 0])
    (run,) = runs(tmp_path, "run")
    steps = [
        point.step for point in client(tmp_path).get_metric_history(run.info.run_id, "val/loss")
    ]
    assert run.info.status == "FINISHED" and steps == list(range(1, 31))
    for command, error in zip(both, errors, strict=True):
        assert (
            command.returncode == 0
            or "another process is at work" in error
            or "a moment ago" in error
        )
