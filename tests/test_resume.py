"""`resume=true`: finished runs are not repeated, interrupted ones continue in their own run."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from mlflow.entities import Run
from support.command_line import QUICK, client, run_here, runs

from bnn.config import provenance
from bnn.tracking.run_dir import lock_run_dir, run_dir_of
from bnn.training.loop import fit

pytestmark = pytest.mark.integration

SMALL = [*QUICK, "trainer.epochs=4", "data.limit=192", "model=mlp", "trainer.progress=none"]
FINAL = ("test/", "val_best/", "best_epoch")


def run_apart(folder: Path, *words: str, after: float | None = None) -> int:
    """Command line in a process forked from this one, killed after so many seconds.

    Returns its exit code, or minus the signal that ended it.
    """
    if not (child := os.fork()):
        torch.set_num_threads(1)
        code = 1
        try:
            code = run_here(folder, *words).returncode
        finally:
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def timed(folder: Path, *words: str) -> float:
    """The seconds that a run takes which nothing interrupts."""
    started = time.perf_counter()
    assert run_apart(folder, *words) == 0
    return time.perf_counter() - started


def finals(run: Run) -> dict[str, float]:
    return {key: value for key, value in run.data.metrics.items() if key.startswith(FINAL)}


def the_run(folder: Path) -> Run:
    (run,) = runs(folder, "run")
    return run


def history(folder: Path, key: str) -> list[tuple[int, float]]:
    return [
        (point.step, point.value)
        for point in client(folder).get_metric_history(the_run(folder).info.run_id, key)
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    assert run_here(folder, *SMALL).returncode == 0
    return folder


def test_a_run_that_finished_is_not_trained_again(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = the_run(whole)
    monkeypatch.setattr("bnn.training.loop.fit", None)
    again = run_here(whole, *SMALL, "resume=true")
    assert again.returncode == 0, again.stderr
    assert f"run {before.info.run_id[:8]} (finished before)" in again.stdout
    assert finals(the_run(whole)) == finals(before)
    assert not list(whole.rglob("last.pt")), "a finished run leaves nothing to go on with"


def cut_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch, epoch: int, how: type[BaseException], *words: str
) -> None:
    """Let the training end in the middle of this epoch."""
    from bnn.training.step import TrainState

    train = TrainState.epoch

    def ends(state: TrainState, callback) -> dict[str, float]:
        steps = state.learning_rate.state_dict()["last_epoch"]
        if steps == (epoch - 1) * state.steps:
            raise how
        return train(state, callback)

    with monkeypatch.context() as patched, contextlib.suppress(how):
        patched.setattr(TrainState, "epoch", ends)
        run_here(folder, *SMALL, *words)


def test_a_run_that_was_interrupted_goes_on_in_its_own_run(
    whole: Path, tmp_path: Path, monkeypatch
) -> None:
    cut_off(tmp_path, monkeypatch, 3, KeyboardInterrupt)
    begun = the_run(tmp_path)
    assert begun.info.status == "KILLED" and [
        step for step, _ in history(tmp_path, "val/loss")
    ] == [1, 2]
    resumed = run_here(tmp_path, *SMALL, "resume=true")
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumes run {begun.info.run_id}" in resumed.stdout
    run = the_run(tmp_path)
    assert run.info.status == "FINISHED" and "bnn.reason" not in run.data.tags
    assert finals(run) == finals(the_run(whole))
    for key in ("train/loss", "val/loss", "val/accuracy", "schedule/lr"):
        assert history(tmp_path, key) == history(whole, key), key


def test_without_it_a_new_run_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(tmp_path, monkeypatch, 3, KeyboardInterrupt)
    assert run_here(tmp_path, *SMALL).returncode == 0
    assert [run.info.status for run in runs(tmp_path, "run")] == ["KILLED", "FINISHED"]


@pytest.mark.parametrize("changes", ["seed=1", "optimizer.lr=0.03", "the code"])
def test_another_result_is_trained_anew(
    whole: Path, tmp_path: Path, changes: str, monkeypatch
) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    words = [changes] if "=" in changes else []
    if not words:
        monkeypatch.setattr(provenance, "_code", lambda: b"other")
    result = run_here(tmp_path, *SMALL, *words, "trainer.epochs=1", "resume=true")
    assert result.returncode == 0 and "finished before" not in result.stdout
    assert len(runs(tmp_path, "run")) == 2


def test_what_only_watches_does_not_make_it_another(whole: Path) -> None:
    result = run_here(
        whole, *SMALL, "resume=true", "trainer.progress=lines", "tracking.heatmaps=true"
    )
    assert "finished before" in result.stdout


def test_a_run_that_another_process_trains_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(tmp_path, monkeypatch, 3, KeyboardInterrupt)
    home = Path(the_run(tmp_path).data.tags["bnn.run_dir"])
    with lock_run_dir(home):
        result = run_here(tmp_path, *SMALL, "resume=true")
    assert result.returncode == 1 and "another process is at work" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_run_on_another_machine_is_not_taken_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(tmp_path, monkeypatch, 3, KeyboardInterrupt)
    run = the_run(tmp_path)
    store, home = client(tmp_path), Path(run.data.tags["bnn.run_dir"])
    store.set_tag(run.info.run_id, "bnn.host", "elsewhere")
    store.set_tag(run.info.run_id, "bnn.run_dir", "/a/folder/there")
    shutil.move(home, tmp_path / "on_its_disk")
    store.update_run(run.info.run_id, status="RUNNING")
    refused = run_here(tmp_path, *SMALL, "resume=true")
    assert refused.returncode == 1 and "RUNNING on elsewhere" in refused.stderr
    store.set_terminated(run.info.run_id, "KILLED")
    resumed = run_here(tmp_path, *SMALL, "resume=true")
    assert resumed.returncode == 0 and "resumes run" in resumed.stdout, (
        "its checkpoint was among its artifacts"
    )
    assert [step for step, _ in history(tmp_path, "val/loss")] == [1, 2, 3, 4]


@pytest.mark.slow
def test_a_folder_that_is_another_runs_by_now_is_not_gone_on_with(
    tmp_path: Path, monkeypatch
) -> None:
    """hydra.run.dir used again: the checkpoint there is of another training."""
    cut_off(tmp_path, monkeypatch, 3, KeyboardInterrupt, "hydra.run.dir=out")
    cut_off(tmp_path, monkeypatch, 2, KeyboardInterrupt, "hydra.run.dir=out", "optimizer.lr=0.03")
    first, second = runs(tmp_path, "run")
    store = client(tmp_path)
    resumed = run_here(tmp_path, *SMALL, "resume=true", "hydra.run.dir=out2")
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumes run {first.info.run_id}, from " in resumed.stdout, (
        "from its own checkpoint, in the store"
    )
    assert [point.step for point in store.get_metric_history(first.info.run_id, "val/loss")] == [
        1,
        2,
        3,
        4,
    ]
    assert store.get_run(second.info.run_id).info.status == "KILLED"


def test_a_status_set_by_hand_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(tmp_path, monkeypatch, 3, KeyboardInterrupt)
    client(tmp_path).set_terminated(the_run(tmp_path).info.run_id)
    assert run_here(tmp_path, *SMALL, "resume=true").returncode == 0
    assert len(runs(tmp_path, "run")) == 2


def test_a_folder_of_somebody_else_is_not_here(tmp_path: Path) -> None:
    (tmp_path / "owner").write_text("key")
    assert run_dir_of({"bnn.run_dir": str(tmp_path), "bnn.run_dir_owner": "key"}) == tmp_path
    assert run_dir_of({"bnn.folder": str(tmp_path), "bnn.home": "key"}) == tmp_path, "of 0.1.0"
    assert run_dir_of({"bnn.run_dir": str(tmp_path), "bnn.run_dir_owner": "another"}) is None
    assert (
        run_dir_of({"bnn.run_dir": "/proc/1/root/nowhere", "bnn.run_dir_owner": "key"}) is None
        and run_dir_of({}) is None
    )


def test_a_finished_run_keeps_no_checkpoint_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(tmp_path, monkeypatch, 3, KeyboardInterrupt)
    run_id = the_run(tmp_path).info.run_id
    assert len(client(tmp_path).list_artifacts(run_id, "checkpoint")) == 2
    assert run_here(tmp_path, *SMALL, "resume=true").returncode == 0
    assert [item.path for item in client(tmp_path).list_artifacts(run_id, "checkpoint")] == [
        "checkpoint/best.pt"
    ]


@pytest.mark.slow  # beside it, tests/test_interrupted_runs.py has the moments one by one
def test_killed_at_random_moments_it_comes_to_the_same_end(whole: Path, tmp_path: Path) -> None:
    moments, expected, store = random.Random(0), finals(the_run(whole)), client(tmp_path)
    takes, killed = 0.0, 0
    for number in range(20):
        if number in (
            0,
            5,
        ):  # from the sixth on without the exported model, which takes longer than all the rest
            words = [*SMALL, f"tracking.model={number < 5}"]
            takes = min(timed(tmp_path, *words) for _ in range(2))
        for run in runs(tmp_path, "run"):
            store.delete_run(run.info.run_id)
        at = moments.uniform(0.1 * takes, 0.9 * takes)
        killed += run_apart(tmp_path, *words, after=at) == -signal.SIGKILL
        assert run_apart(tmp_path, *words, "resume=true") == 0
        run = runs(tmp_path, "run")[-1]
        assert run.info.status == "FINISHED" and finals(run) == expected, f"killed after {at:.3f} s"
        for key in ("val/loss", "test/loss", "seconds/total"):
            steps = [point.step for point in store.get_metric_history(run.info.run_id, key)]
            assert steps == ([1, 2, 3, 4] if key == "val/loss" else [4]), (
                f"{key} at {steps} after a kill at {at:.3f} s"
            )
    assert killed > 15, "most of the kills met a living process"


def test_a_sweep_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["-m", *SMALL, "seed=0,1,2"]
    calls = []

    def stops(*given, **options):
        calls.append(0)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(*given, **options)

    with monkeypatch.context() as patched:
        patched.setattr("bnn.runs.execute.fit", stops)
        assert run_here(tmp_path, *words).returncode != 0
    assert [run.info.status for run in runs(tmp_path, "run")] == ["FINISHED", "KILLED"]
    resumed = run_here(tmp_path, *words, "resume=true")
    assert resumed.returncode == 0, resumed.stderr
    assert (
        "3 runs on scikit-learn digits, experiment bnn/digits, 1 of them finished before"
        in resumed.stdout
    )
    assert "2 runs in" in resumed.stdout
    (parent,) = runs(tmp_path, "sweep")
    assert parent.info.status == "FINISHED"
    done = [run for run in runs(tmp_path, "run") if run.info.status == "FINISHED"]
    assert sorted(run.data.params["seed"] for run in done) == ["0", "1", "2"]
    assert {run.data.tags["mlflow.parentRunId"] for run in done} == {parent.info.run_id}
    assert all(run.info.run_id in parent.data.tags["mlflow.note.content"] for run in done)
    nothing = run_here(tmp_path, *words, "resume=true")
    assert (
        nothing.returncode == 0
        and "3 of them finished before" in nothing.stdout
        and "0 runs in" in nothing.stdout
    )
