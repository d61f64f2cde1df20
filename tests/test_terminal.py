"""Output of a run and a sweep on a terminal: names, lines, bar, table, and an interruption."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.command_line import QUICK, environment, runs

from bnn import job
from bnn.config.canonical import canonical
from bnn.config.compose import compose
from bnn.config.titles import run_title, varying_keys
from bnn.job_environment import JobEnvironment
from bnn.runs.jobs import Job
from bnn.runs.sweep_table import table_rows, terminal_table
from bnn.specify import specify
from bnn.tasks import Classification
from bnn.training.callback import FitContext
from bnn.training.progress import ProgressBar, display_mode
from bnn.training.shared_display import SharedDisplay, shared_display, written_for_display

MAIN = [
    (f"estimator={estimator}", f"placement={placement}")
    for estimator in ("st", "reinforce")
    for placement in ("first", "last", "both")
]
"""Jobs of the main command of the README."""


def configs(jobs: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    return [canonical(compose(["device=cpu", *words])) for words in jobs]


@pytest.mark.parametrize(
    ("jobs", "names"),
    [
        (MAIN[:2], ["first · stochastic · st · s0", "last · stochastic · st · s0"]),
        (
            [("estimator=st", "seed=1"), ("estimator=reinforce", "seed=2")],
            ["st · s1 · stochastic · both", "reinforce · s2 · stochastic · both"],
        ),
        (
            [("optimizer.lr=0.1",), ("optimizer.lr=0.2",)],
            ["lr 0.1 · stochastic · st · both · s0", "lr 0.2 · stochastic · st · both · s0"],
        ),
        (
            [("estimator=arms", "estimator.samples=2"), ("estimator=arms", "estimator.samples=3")],
            [
                "samples 2 · stochastic · arms · both · s0",
                "samples 3 · stochastic · arms · both · s0",
            ],
        ),
        (
            [("placement=none",), ("placement=both",)],
            ["real · s0", "st · both · stochastic · s0"],
        ),
    ],
)
def test_what_varies_in_a_sweep_comes_first_in_the_names_of_its_runs(jobs, names) -> None:
    plain = configs(jobs)
    varying = varying_keys(plain)
    assert [run_title(config, varying) for config in plain] == names


def test_a_run_that_stands_alone_keeps_its_name() -> None:
    (plain,) = configs([("estimator=reinforce", "seed=3")])
    assert run_title(plain) == "stochastic · reinforce · both · s3"


def main_table(outcomes: Sequence[Any]) -> str:
    jobs = [Job(list(words), specify(compose(["device=cpu", *words]))) for words in MAIN]
    return terminal_table(table_rows(jobs, outcomes))


def finished(number: int) -> dict[str, Any]:
    test = {"accuracy": 0.9812, "accuracy_mc_mean": 0.9901, "loss": 0.0341}
    return {"test": test, "seconds": 123.4, "run_id": f"{number:032x}"[::-1]}


def test_the_table_of_the_main_command_fits_100_columns() -> None:
    above, _, *table = main_table([finished(number) for number in range(6)]).splitlines()
    assert above == "all with neuron stochastic, law logistic, seed 0"
    assert len(table) == 8 and max(map(len, table)) <= 100
    assert "| first     |" in table[2] and "00000000 |" in table[2]


def test_a_run_that_failed_has_its_reason_below_the_table() -> None:
    outcomes = [finished(0), ValueError("a long reason " * 9), None, *map(finished, (3, 4, 5))]
    lines = main_table(outcomes).splitlines()
    assert max(map(len, lines[1:10])) <= 100
    assert re.search(r"\| failed +\|$", lines[5]) and re.search(r"\| not run +\|$", lines[6])
    assert lines[10].startswith("st · last · stochastic · s0: ValueError: a long reason")


def test_the_time_left_of_a_sweep_follows_the_cost_of_its_jobs() -> None:
    sweep = JobEnvironment(
        "", "", 3, started=time.time() - 100, estimates=[10.0, 40.0, 50.0], process=os.getpid()
    )
    assert sweep.time_left(0, 1.0) == pytest.approx(900, rel=0.01)
    assert sweep.time_left(1, 1.0) == pytest.approx(100, rel=0.01)
    assert sweep.time_left(2, 0.5) == pytest.approx(100 * 25 / 75, rel=0.01)
    assert sweep.time_left(0, 0.0) is None, "nothing is known yet"
    assert replace(sweep, estimates=[]).time_left(1, 1.0) is None
    assert replace(sweep, estimates=[0.0, 0.0]).time_left(1, 1.0) is None
    again = JobEnvironment(**json.loads(sweep.to_environment()["BNN_JOB"]))
    assert again == sweep


def test_jobs_that_share_a_terminal_write_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert display_mode("auto") == "bar"
    assert display_mode("auto", shares_terminal=True) == "lines"
    assert display_mode("bar", shares_terminal=True) == "bar"
    assert not JobEnvironment("", "", 1, process=os.getpid()).shares_terminal
    assert JobEnvironment("", "", 1, process=1).shares_terminal


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> tuple[str, str]:
    """Output of two epochs of a run in a sweep: stdout, and a terminal of 80 columns."""
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    context = FitContext(
        None,
        Classification(),
        None,
        0,
        "[10/12] " + "name · " * 5,
        10,
        5,
        0,  # type: ignore[arg-type]
    )
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        bar = ProgressBar("bar", lambda share: 7384.0)
        bar.on_fit_start(context)
        for epoch in (1, 2):
            for _ in range(5):
                bar.on_step_end()
            bar.on_epoch_end(epoch, {"val/accuracy": 0.98123, "train/loss": 0.0341})
        bar.on_fit_end()
        with bar.activity("evaluating, drawing …"):
            pass
    return capsys.readouterr().out, written(leader)


def written(leader: int) -> str:
    """Everything that was written to a terminal, which this closes."""
    text = b""
    with contextlib.suppress(OSError):  # the end of a terminal
        while part := os.read(leader, 4096):
            text += part
    os.close(leader)
    return text.decode()


def screen(text: str) -> list[str]:
    """Lines that a terminal shows after some output of plain lines and tqdm's bars."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[\w|[\r\n]|[^\x1b\r\n]+", text):
        if token == "\x1b[A":
            row -= 1
        elif token == "\n":
            row, column = row + 1, 0
        elif token == "\r":
            column = 0
        else:
            lines[row] = (
                lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            )
            column += len(token)
        lines += [""] * (row + 1 - len(lines))
    return [line.rstrip() for line in lines if line.strip()]


def epochs_of(title: str, count: int, finished: int = 0) -> FitContext:
    return FitContext(None, Classification(), None, 0, title, count, 5, finished)  # type: ignore[arg-type]


def test_jobs_side_by_side_share_one_display_with_their_lines_above_the_bars(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    display = SharedDisplay(tmp_path)
    with os.fdopen(follower, "w") as terminal, contextlib.ExitStack() as second:
        monkeypatch.setattr(sys, "stderr", terminal)
        jobs = second.enter_context(written_for_display(str(tmp_path), 1))
        jobs.on_fit_start(epochs_of("[2/2] reinforce · " + "name · " * 9, 4, finished=1))
        with written_for_display(str(tmp_path), 0) as first:
            first.on_fit_start(epochs_of("[1/2] st", 4))
            for epoch in (1, 2):
                for _ in range(5):
                    first.on_step_end()
                first.on_epoch_end(epoch, {"val/accuracy": 0.98123, "train/loss": 0.0341})
            display.refresh()
            with first.activity("evaluating, drawing …"):
                display.refresh()
            print("[1/2] st: test accuracy 98.92 %", file=sys.stdout)
        monkeypatch.setattr(sys, "stdout", terminal)
        display.refresh()
    text = written(leader)
    assert "  epoch 3/4  val 98.12 %  |███████       |" in text
    assert "  evaluating, drawing …  |███████       |" in text
    assert max(len(line) for line in re.split(r"[\r\n]+|\x1b\[A", text)) <= 80
    shown = screen(text)
    assert shown[0] == "[1/2] st: test accuracy 98.92 %"
    assert shown[1].startswith("  epoch 2/4  |███▌          |"), "of the other job"
    assert "[2/2] reinforce" in shown[1] and len(shown) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.txt", "1.txt"]


def test_a_further_seed_of_a_trial_begins_a_bar_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    display = SharedDisplay(tmp_path)
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with written_for_display(str(tmp_path), 0) as job:
            for finished in (3, 0):  # the seed before was at its last epoch
                job.on_fit_start(epochs_of("trial", 4, finished=finished))
                display.refresh()
                time.sleep(0.02)
            job.on_epoch_end(1, {"val/accuracy": 0.98, "train/loss": 0.03})
            display.refresh()
        display.close()
    text = written(leader)
    assert "epoch 4/4" in text and "epoch 1/4" in text
    assert not re.search(r"-\d\d:\d\d left", text), "no time below 0"


@pytest.mark.parametrize(
    ("mode", "at_once", "terminal"),
    [("lines", 2, True), ("none", 2, True), ("auto", 1, True), ("auto", 2, False)],
)
def test_no_display_without_a_terminal_or_jobs_side_by_side(
    monkeypatch: pytest.MonkeyPatch, mode: str, at_once: int, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with shared_display(mode, at_once) as folder:
        assert folder == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with shared_display("auto", 2) as folder:
        assert os.path.isdir(folder)
    assert not os.path.isdir(folder)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize("words", [("seed=1,2,3",), ("study=anneal", "hydra.sweeper.n_trials=3")])
def test_a_terminal_shows_jobs_side_by_side_in_one_display(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    side_by_side = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.epochs=4"]
    leader, follower = os.openpty()
    termios.tcsetwinsize(follower, (40, 100))
    command = [sys.executable, "-m", "bnn.train", "-m", *QUICK, *words, *side_by_side]
    command = [word for word in command if not word.startswith("trainer.progress")]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=follower, stderr=follower
    )
    os.close(follower)
    text = written(leader)
    assert process.wait(timeout=60) == 0
    assert re.search(r"epoch \d/4 .*\|.*left, \[", text), "a bar of a job"
    assert not re.search(r"train loss", text), "no line for each epoch"
    shown = screen(text)
    assert not any("left, [" in line for line in shown), "no bar stays"
    if words == ("seed=1,2,3",):
        assert sum("test accuracy" in line for line in shown) == 3


def test_a_bar_shows_epoch_and_accuracy_first_and_fits_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    lines, terminal = shown(monkeypatch, capsys)
    parts = [re.sub(r"\x1b\[\w", "", part) for part in re.split(r"[\r\n]+", terminal)]
    assert max(map(len, parts)) <= 80
    bars = [part for part in parts if "|" in part]
    assert any(bar.startswith("  epoch 3/10  val 98.12 %  |") for bar in bars)
    assert any("sweep 2:03:04" in bar for bar in bars)
    assert any("evaluating, drawing …" in part for part in parts)
    assert lines.splitlines()[1:] == [
        "  epoch 1/10  val 98.12 %  train loss 0.0341",
        "  epoch 2/10  val 98.12 %  train loss 0.0341",
    ]


def test_an_interrupted_worker_starts_no_further_job(monkeypatch: pytest.MonkeyPatch) -> None:
    class Settings:
        mode = None

    monkeypatch.setattr(job.HydraConfig, "get", Settings)
    monkeypatch.setattr(JobEnvironment, "current", lambda: JobEnvironment("", "", 2, process=1))

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "_interrupted", type(job._interrupted)())
    monkeypatch.setattr(job, "check_choices", interrupted)
    Settings.overrides = type("Overrides", (), {"task": []})  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        job.run(None)  # type: ignore[arg-type]
    monkeypatch.setattr(job, "check_choices", lambda *arguments: pytest.fail("a second job began"))
    with pytest.raises(KeyboardInterrupt):
        job.run(None)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.integration
def test_an_interrupt_of_parallel_jobs_leaves_no_further_run_and_says_how_to_go_on(
    tmp_path: Path,
) -> None:
    words = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=1,2,3,4", "model=mlp"]
    command = [sys.executable, "-m", "bnn.train", "-m", *QUICK, *words, "trainer.epochs=3000"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen: set[str] = set()
    for line in process.stdout:
        if found := re.match(r"  (\[\d/4\]).*epoch \d+/3000", line):
            seen.add(found[1])
        if len(seen) == 2:
            break
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert "interrupted; the same command with resume=true continues" in rest
    assert [run.info.status for run in runs(tmp_path, "run")] == ["KILLED", "KILLED"]
