"""Server outages and later copies of a laptop's runs: no record is lost or logged twice."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from support.command_line import QUICK, client, environment, run_here, runs

from bnn import schema, sync
from bnn.errors import TrackingError
from bnn.tracking import calls, outbox, store
from bnn.tracking.mlflow_adapter import SHARED_VIEW
from bnn.tracking.run_dir import lock_run_dir
from bnn.tracking.store import is_reachable, open_store
from bnn.training.step import TrainState

pytestmark = pytest.mark.server

SMALL = [*QUICK, "trainer.epochs=4", "data.limit=192", "model=mlp", "trainer.progress=none"]
WHOLE = [*SMALL, "tracking.heatmaps=true", "tracking.model=true"]


class Server:
    """`mlflow server` with its own store and port, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri, self.folder = f"http://127.0.0.1:{self.port}", folder
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        words = [
            "--backend-store-uri",
            f"sqlite:///{self.folder}/server.db",
            "--artifacts-destination",
            f"{self.folder}/kept",
        ]
        words += ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *words],
            env=environment(
                MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false", MLFLOW_DISABLE_TELEMETRY="true"
            ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 90
        while not is_reachable(self.uri):
            assert time.monotonic() < deadline and self.process.poll() is None, (
                "the server did not start"
            )
            time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def runs(self, kind: str = "run", experiment: str = "") -> list[Run]:
        store = MlflowClient(self.uri)
        found = [
            store.search_runs([each.experiment_id], f"tags.`bnn.kind` = '{kind}'")
            for each in store.search_experiments()
            if experiment in each.name
        ]
        return sorted((run for page in found for run in page), key=lambda run: run.info.start_time)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a laptop has tracked: a sweep of two runs."""
    folder = tmp_path_factory.mktemp("laptop")
    assert run_here(folder, "-m", *WHOLE, "seed=0,1").returncode == 0
    return folder


def everything(store: MlflowClient, run: Run) -> dict[str, object]:
    """What a run holds, but what says where and how long it was kept."""
    held = {key for key in run.data.metrics if not key.startswith("seconds/")}
    folders = ("", "figures", "checkpoint")
    return {
        "status": run.info.status,
        "params": run.data.params,
        "points": {
            key: [(p.step, p.value) for p in store.get_metric_history(run.info.run_id, key)]
            for key in held
        },
        "files": {
            item.path
            for folder in folders
            for item in store.list_artifacts(run.info.run_id, folder)
        },
        "pictures": sorted(calls.logged_images(store, run.info.run_id)),
        "models": len(run.outputs.model_outputs),
        "inputs": [each.dataset.digest for each in run.inputs.dataset_inputs],
    }


def at_epoch(number: int, then: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do something when this epoch begins."""
    train, count = TrainState.epoch, iter(range(1, 100))

    def epoch(updates: TrainState, progress) -> dict[str, float]:
        if next(count) == number:
            then()
        return train(updates, progress)

    monkeypatch.setattr(TrainState, "epoch", epoch)


def lone(folder: Path, store: str, seed: int) -> tuple[object, Run]:
    """What the run of this seed holds that is in `folder`'s own store; it is made there."""
    assert run_here(folder, *WHOLE, f"seed={seed}", "tracking.experiment=alone").returncode == 0
    run = next(
        run for run in runs(folder, "run", "alone/digits") if run.data.params["seed"] == str(seed)
    )
    return everything(client(folder), run), run


@pytest.mark.slow
def test_a_server_that_goes_and_comes_back_misses_nothing(
    server: Server, local: Path, tmp_path: Path, monkeypatch
) -> None:
    expected = everything(client(local), runs(local, "run")[0])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setattr(outbox, "RETRY", 0.0)
    with monkeypatch.context() as patched:
        at_epoch(2, server.stop, patched)
        at_epoch(4, server.start, patched)
        result = run_here(
            tmp_path, *WHOLE, f"tracking.uri={server.uri}", "tracking.experiment=back"
        )
    assert result.returncode == 0, result.stderr
    assert "the training goes on" in result.stderr and "records of run" in result.stderr
    (run,) = server.runs(experiment="back/")
    assert everything(MlflowClient(server.uri), run) == expected
    assert not list(tmp_path.rglob("outbox"))


@pytest.mark.slow
def test_what_a_dead_server_missed_is_delivered_later(
    server: Server, local: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    expected = everything(client(local), runs(local, "run")[0])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with monkeypatch.context() as patched:
        at_epoch(2, server.stop, patched)
        result = run_here(
            tmp_path, *WHOLE, f"tracking.uri={server.uri}", "tracking.experiment=later"
        )
    assert result.returncode == 0 and "python -m bnn.sync delivers them" in result.stderr
    assert sync.main([str(tmp_path)]) == 1, "the server is still away"
    server.start()
    (run,) = [
        run for run in server.runs() if run.data.tags["bnn.run_dir"].startswith(str(tmp_path))
    ]
    assert run.info.status == "RUNNING"
    assert sync.main([str(tmp_path)]) == 0
    assert f"run {run.info.run_id}" in capsys.readouterr().out
    store = MlflowClient(server.uri)
    assert everything(store, store.get_run(run.info.run_id)) == expected
    assert sync.main([str(tmp_path)]) == 0 and "nothing waits" in capsys.readouterr().out


def test_a_finished_run_that_still_waits_is_not_trained_again(
    server: Server, tmp_path: Path, monkeypatch
) -> None:
    words = [*SMALL, "seed=4", f"tracking.uri={server.uri}", "tracking.experiment=waits"]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with monkeypatch.context() as patched:
        at_epoch(2, server.stop, patched)
        assert run_here(tmp_path, *words).returncode == 0
    server.start()
    resumed = run_here(tmp_path, *words, "resume=true")
    assert resumed.returncode == 0 and "finished before" in resumed.stdout, resumed.stderr
    (run,) = server.runs(experiment="waits/")
    assert run.info.status == "FINISHED" and not list(tmp_path.rglob("outbox"))


def test_one_record_that_is_refused_for_good_holds_up_nothing(
    server: Server, tmp_path: Path, capsys
) -> None:
    store = MlflowClient(server.uri)
    run = store.create_run(store.create_experiment("refused"))
    box = outbox.Outbox(store, run.info.run_id, tmp_path / "run")
    calls: list[tuple[str, dict]] = [
        ("tag", {"key": "a", "value": "1"}),
        ("metrics", {"metrics": {"m\n!": 1.0}, "step": 1, "at": 1}),
        ("image", {"key": "k", "step": 1}),
        ("end", {"status": "FINISHED", "at": 5}),
    ]
    for call, values in calls:
        box._keep(call, values, b"no picture" if call == "image" else b"")
    (payload,) = (tmp_path / "run/outbox").glob("*.payload")
    payload.unlink()
    assert sync.main([str(tmp_path)]) == 0
    found = store.get_run(run.info.run_id)
    assert found.info.status == "FINISHED" and found.data.tags["a"] == "1"
    assert capsys.readouterr().err.count("refuses a record") == 2


@pytest.mark.slow
def test_a_delivery_that_was_cut_off_doubles_nothing(
    server: Server, tmp_path: Path, monkeypatch
) -> None:
    """Two deliveries of the same records, of which the first fails at its last record."""
    expected, _ = lone(tmp_path, server.uri, 3)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with monkeypatch.context() as patched:
        at_epoch(1, server.stop, patched)
        run_here(
            tmp_path, *WHOLE, "seed=3", f"tracking.uri={server.uri}", "tracking.experiment=twice"
        )
    server.start()

    def fails(*_) -> None:
        raise OSError("cut off")

    with monkeypatch.context() as patched:
        patched.setitem(outbox.CALLS, "end", fails)
        assert sync.main([str(tmp_path)]) == 1
    assert sync.main([str(tmp_path)]) == 0
    (run,) = server.runs(experiment="twice/")
    assert everything(MlflowClient(server.uri), run) == expected


def test_a_laptops_runs_are_copied_once_under_their_parent(
    server: Server, local: Path, monkeypatch, capsys
) -> None:
    words = [str(local), "--to", server.uri]
    with monkeypatch.context() as patched:  # a first attempt that is cut off in the second run
        ended, calls = MlflowClient.set_terminated, []

        def ends(store, run_id, *rest):
            calls.append(run_id)
            if len(calls) == 2:
                raise TrackingError("cut off")
            ended(store, run_id, *rest)

        patched.setattr(MlflowClient, "set_terminated", ends)
        assert sync.main(words) == 1
    assert sync.main(words) == 0, capsys.readouterr().err
    assert sync.main(words) == 0 and "nothing is new" in capsys.readouterr().out
    copies = [run for run in server.runs() if "bnn.origin" in run.data.tags]
    (parent,) = server.runs("sweep")
    assert {run.data.tags["mlflow.parentRunId"] for run in copies} == {parent.info.run_id}
    (origin,) = runs(local, "sweep")
    note = origin.data.tags["mlflow.note.content"]
    for copy in [parent, *copies]:
        note = note.replace(copy.data.tags["bnn.origin"], copy.info.run_id)
    here, there = (run.info.experiment_id for run in (origin, parent))
    note = note.replace(f"#/experiments/{here}/", f"#/experiments/{there}/")
    assert parent.data.tags["mlflow.note.content"] == note and parent.info.run_id in note
    assert (
        SHARED_VIEW + parent.info.run_id
        in MlflowClient(server.uri).get_experiment(parent.info.experiment_id).tags
    )
    for original, copy in zip(runs(local, "run"), copies, strict=True):
        assert copy.data.tags["bnn.origin"] == original.info.run_id
        assert everything(MlflowClient(server.uri), copy) == everything(client(local), original)
        assert (copy.info.start_time, copy.info.end_time) == (
            original.info.start_time,
            original.info.end_time,
        )


@pytest.mark.slow
def test_two_copies_at_once_copy_each_run_once(server: Server, tmp_path: Path) -> None:
    assert run_here(tmp_path, *SMALL, "tracking.experiment=at_once", "seed=0").returncode == 0
    assert run_here(tmp_path, *SMALL, "tracking.experiment=at_once", "seed=1").returncode == 0
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(sync.main, [[str(tmp_path), "--to", server.uri]] * 2))
    assert both == [0, 0] and len(server.runs(experiment="at_once/")) == 2


def test_what_runs_is_left_for_later_and_what_was_killed_is_copied(
    server: Server, tmp_path: Path, capsys
) -> None:
    """A sweep and its last job, marked RUNNING: while it is at work, and once it was killed."""
    assert run_here(tmp_path, "-m", *SMALL, "tracking.experiment=half", "seed=0,1").returncode == 0
    done, lost = runs(tmp_path, "run", "half/digits")
    (sweep,) = runs(tmp_path, "sweep", "half/digits")
    copy = [str(tmp_path), "--to", server.uri]
    client(tmp_path).update_run(lost.info.run_id, status="RUNNING")
    with lock_run_dir(Path(lost.data.tags[schema.RUN_DIR])):
        assert sync.main(copy) == 0, capsys.readouterr().err
    (copied,) = server.runs(experiment="half/")
    assert copied.data.tags["bnn.origin"] == done.info.run_id
    client(tmp_path).update_run(sweep.info.run_id, status="RUNNING")
    assert sync.main(copy) == 0, capsys.readouterr().err
    found = {run.data.tags["bnn.origin"]: run.info for run in server.runs(experiment="half/")}
    assert {key: one.status for key, one in found.items()} == {
        done.info.run_id: "FINISHED",
        lost.info.run_id: "KILLED",
    }
    (parent,) = server.runs("sweep", experiment="half/")
    assert parent.info.status == "KILLED"


@pytest.mark.slow
def test_a_copy_follows_a_run_that_went_on(
    server: Server, tmp_path: Path, monkeypatch, capsys
) -> None:
    words = [*SMALL, "tracking.experiment=follows"]
    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        at_epoch(3, lambda: signal.raise_signal(signal.SIGINT), patched)
        run_here(tmp_path, *words)
    assert sync.main([str(tmp_path), "--to", server.uri]) == 0
    copied = server.runs(experiment="follows/")
    assert [run.info.status for run in copied] == ["KILLED"]
    against = run_here(tmp_path, *words, "resume=true", f"tracking.uri={server.uri}")
    assert "goes on" not in against.stdout, "a copy is not gone on with"
    assert run_here(tmp_path, *words, "resume=true").returncode == 0
    assert sync.main([str(tmp_path), "--to", server.uri]) == 0
    (original,) = runs(tmp_path, "run", "follows/digits")
    again = MlflowClient(server.uri).get_run(copied[0].info.run_id)
    assert schema.REASON in copied[0].data.tags and schema.REASON not in again.data.tags
    found, expected = (
        everything(MlflowClient(server.uri), again),
        everything(client(tmp_path), original),
    )
    assert {**found, "files": 0} == {**expected, "files": 0} and found["files"] >= expected["files"]


def test_a_store_is_not_copied_into_itself(server: Server, capsys) -> None:
    assert sync.main(["--uri", server.uri, "--to", f"{server.uri}/"]) == 1
    assert "expected another store" in capsys.readouterr().err


def test_addresses_that_are_none_are_one_line(tmp_path: Path, capsys) -> None:
    for uri in ("http://localhost:abc", "http://ada:secret@localhost:5000"):
        refused = run_here(tmp_path, *SMALL, f"tracking.uri={uri}")
        assert (
            refused.returncode == 1
            and len(refused.stderr.splitlines()) == 1
            and "secret" not in refused.stderr
        )


def test_a_copied_model_predicts(server: Server, local: Path) -> None:
    import mlflow
    import torch

    assert sync.main([str(local), "--to", server.uri]) == 0
    origins = {run.info.run_id for run in runs(local, "run")}
    copies = [run for run in server.runs() if run.data.tags.get("bnn.origin") in origins]
    mlflow.set_tracking_uri(server.uri)
    try:
        loaded = mlflow.pytorch.load_model(f"models:/{copies[0].outputs.model_outputs[0].model_id}")
        assert loaded(torch.rand(3, 1, 8, 8)).shape == (3, 10)
    finally:
        mlflow.set_tracking_uri(None)


@pytest.mark.parametrize("how", ["refuses", "never answers"])
def test_a_server_that_is_away_at_the_start_is_one_clear_line_soon(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store.ANSWER_SECONDS <= 10
    monkeypatch.setattr(store, "ANSWER_SECONDS", 0.5)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        if how == "never answers":
            deaf.listen(5)
        started = time.monotonic()
        result = run_here(
            tmp_path, *SMALL, f"tracking.uri=http://127.0.0.1:{deaf.getsockname()[1]}"
        )
    assert time.monotonic() - started < 15
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1
    assert (
        "does not answer" in result.stderr
        and "tracking.uri=null" in result.stderr
        and "bnn.sync" in result.stderr
    )


def test_wrong_words_for_sync_are_refused(tmp_path: Path, capsys) -> None:
    for words in (["nowhere"], [str(tmp_path), "--experiment", "x"]):
        with pytest.raises(SystemExit):
            sync.main(words)
    for words in (["--to", f"sqlite:///{tmp_path}/there.db"], ["--to", "somewhere"]):
        capsys.readouterr()
        assert sync.main([str(tmp_path), *words]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert "tracking.uri" not in line and ("--to" in line or "--uri" in line), line


def write(uri: str, folder: Path) -> None:
    """A run of twelve epochs, in which something is said as fast as can be."""
    store = open_store(uri, "bnn/digits")
    writer = MlflowClient(store.uri)
    run = writer.create_run(store.experiment_id, tags={"bnn.kind": "run"}).info.run_id
    box = outbox.Outbox(writer, run, folder)
    for step in range(1, 13):
        box.send(
            "metrics",
            {"metrics": {"val/loss": step / 7, "val/accuracy": 0.5}, "step": step, "at": step},
        )
    box.send("end", {"status": "FINISHED", "at": 1000})
    box.close()
    assert not len(box)


@pytest.mark.slow
def test_eight_writers_share_a_local_file(tmp_path: Path) -> None:
    uri, apart = f"sqlite:///{tmp_path}/mlflow.db", multiprocessing.get_context("fork")
    open_store(uri, "bnn/digits")
    writers = [
        apart.Process(target=write, args=(uri, tmp_path / str(number))) for number in range(8)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0] * 8
    for run in runs(tmp_path, "run"):
        steps = [
            point.step for point in client(tmp_path).get_metric_history(run.info.run_id, "val/loss")
        ]
        assert steps == list(range(1, 13)) and run.info.status == "FINISHED"


@pytest.mark.slow
def test_a_server_that_comes_back_with_an_empty_database_takes_no_record(
    server: Server, tmp_path: Path, monkeypatch, capsys
) -> None:
    database, kept = server.folder / "server.db", server.folder / "kept.db"
    words = [*SMALL, "seed=7", f"tracking.uri={server.uri}", "tracking.experiment=emptied"]
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with monkeypatch.context() as patched:
        at_epoch(2, server.stop, patched)
        assert run_here(tmp_path, *words).returncode == 0
    (records,) = tmp_path.rglob(outbox.RECORDS)
    before = records.read_bytes()
    database.rename(kept)
    server.start()
    capsys.readouterr()
    assert sync.main([str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and f"{server.uri} has no run" in said
    assert records.read_bytes() == before
    server.stop()
    kept.replace(database)
    server.start()
    assert sync.main([str(tmp_path)]) == 0
    (run,) = server.runs(experiment="emptied/")
    assert run.info.status == "FINISHED" and not list(tmp_path.rglob("outbox"))
