"""Signals and killed processes at any moment: no run stays RUNNING, and no worker stays behind.

`python tests/test_interrupted_runs.py TRIES` kills sweeps at random and counts those that survive.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from support.command_line import QUICK, environment, run_here, runs
from support.matrix import one_in

from bnn import interruption
from bnn.interruption import uninterrupted
from bnn.runs import grid, single
from bnn.tracking import outbox
from bnn.tracking.lost_runs import end_lost_runs
from bnn.tracking.run_dir import claim_run_dir, lock_run_dir
from bnn.tracking.store import open_store

SMALL = [*QUICK, "data.limit=192", "model=mlp", "trainer.progress=none"]
ENDED = {"FINISHED", "KILLED"}


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Handlers of SIGINT and SIGTERM as the command has them, put back afterwards."""
    before = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def interrupt_at(
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    call: int,
    number: signal.Signals,
) -> None:
    """Send this process a signal after a call of a function, or before a run is ended.

    Args:
        monkeypatch: patches the function for one test.
        owner: class or module of the function.
        name: name of the function.
        call: number of the call, from 0.
        number: the signal.
    """
    function, count = getattr(owner, name), iter(range(10_000))

    def interrupted(*words: Any, **options: Any) -> Any:
        now = next(count) == call
        if now and name == "set_terminated":
            signal.raise_signal(number)
        result = function(*words, **options)
        if now and name != "set_terminated":
            signal.raise_signal(number)
        return result

    monkeypatch.setattr(owner, name, interrupted)


def statuses(folder: Path) -> list[str]:
    """Statuses of the sweeps and of the runs in a store."""
    return [run.info.status for kind in ("sweep", "run") for run in runs(folder, kind)]


MOMENTS: dict[str, tuple[Any, str, int]] = {
    "begins": (MlflowClient, "create_run", 0),
    "logs its parameters": (outbox.Outbox, "send", 0),
    "logs its data set": (MlflowClient, "log_inputs", 0),
    "logs its checkpoint": (MlflowClient, "log_artifact", 1),
    "ends": (MlflowClient, "set_terminated", 0),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)
EACH_SIGNAL = one_in(
    2,
    [
        pytest.param(moment, number, id=f"{moment}-{number.name}")
        for k, moment in enumerate(MOMENTS)
        for number in (SIGNALS if k % 2 else SIGNALS[::-1])
    ],
)


@pytest.mark.integration
@pytest.mark.parametrize("moment, number", EACH_SIGNAL)
def test_a_signal_while_a_run(
    moment: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, *MOMENTS[moment], number)
    result = run_here(tmp_path, *SMALL)
    assert result.returncode == 128 + number and "Traceback" not in result.stderr
    assert statuses(tmp_path) == ["FINISHED" if moment == "ends" else "KILLED"]


SWEEP_MOMENTS: dict[str, tuple[Any, str, int]] = {
    "begins": (MlflowClient, "create_run", 0),
    "begins its second run": (MlflowClient, "create_run", 2),
    "ends a run": (MlflowClient, "set_terminated", 0),
    "collects its results": (grid, "finished_results", 0),
    "logs its table": (MlflowClient, "log_table", 0),
    "ends": (MlflowClient, "set_terminated", 2),
}


@pytest.mark.integration
@pytest.mark.parametrize("moment", one_in(3, SWEEP_MOMENTS))
def test_a_signal_while_a_sweep(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_at(monkeypatch, *SWEEP_MOMENTS[moment], signal.SIGINT)
    result = run_here(tmp_path, "-m", *SMALL, "seed=0,1")
    assert result.returncode == 128 + signal.SIGINT and "Traceback" not in result.stderr
    found = statuses(tmp_path)
    assert found and set(found) <= ENDED
    if moment in ("collects its results", "logs its table", "ends"):
        assert found == ["FINISHED"] * 3, "the record was whole"
    else:
        assert found[0] == "KILLED"


@pytest.mark.integration
@pytest.mark.parametrize("call", one_in(3, [0, 1, 2]))
def test_a_signal_while_a_study_begins_and_ends(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = ["create_run", "create_run", "set_terminated"][call]
    interrupt_at(monkeypatch, MlflowClient, name, call, signal.SIGINT)
    words = ["hydra/sweeper=bnn_optuna", "optimizer.lr=interval(0.01,0.3)"]
    result = run_here(tmp_path, "-m", *SMALL, *words, "hydra.sweeper.n_trials=2")
    assert result.returncode == 128 + signal.SIGINT and "Traceback" not in result.stderr
    found = [run.info.status for kind in ("sweep", "trial") for run in runs(tmp_path, kind)]
    assert found and set(found) <= ENDED


@pytest.mark.integration
def test_a_sweep_whose_worker_was_killed_ends_its_run_and_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """End of a worker, which writes nothing more."""

    def killed(spec: Any, folder: Path, parent: str, title: str, **options: Any) -> Any:
        store = open_store(spec.tracking.uri, spec.experiment)
        tags = {"bnn.run_dir": str(folder.absolute()), "bnn.run_dir_owner": claim_run_dir(folder)}
        tags |= {"bnn.kind": "run", "mlflow.parentRunId": parent}
        MlflowClient(store.uri).create_run(store.experiment_id, tags=tags)
        raise Killed

    run_grid = grid.run_grid

    def with_killed_workers(
        composer: Any, choices: Any, title: str, launch: Any, at_once: Any, to: Path
    ) -> Any:
        def launch_and_fail(jobs: Any) -> Any:
            with contextlib.suppress(Killed):
                list(launch(jobs))
            raise BrokenProcessPool("A worker process was terminated\nexit codes: SIGKILL")

        return run_grid(composer, choices, title, launch_and_fail, at_once, to)

    monkeypatch.setattr(single, "execute", killed)
    monkeypatch.setattr(grid, "run_grid", with_killed_workers)
    result = run_here(tmp_path, "-m", *SMALL, "seed=0,1")
    assert result.returncode == 1 and len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: hydra/launcher: a worker was killed")
    assert statuses(tmp_path) == ["FAILED", "KILLED"]


# ---- signals that wait


def test_a_signal_during_a_record_comes_at_its_end() -> None:
    written = []
    with pytest.raises(KeyboardInterrupt), uninterrupted():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        written.append("record")
    assert written == ["record"]
    with pytest.raises(SystemExit), uninterrupted(), uninterrupted():
        signal.raise_signal(signal.SIGTERM)
        written.append("another")
    assert written == ["record", "another"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_signal_without_a_handler_of_ones_own_waits_too() -> None:
    """SIG_DFL is 0: in a worker SIGTERM would end the process within the record."""
    code = (
        "import signal; from bnn.interruption import uninterrupted\n"
        "with uninterrupted():\n"
        "    signal.raise_signal(signal.SIGTERM); print('record', flush=True)\n"
        "print('never')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "record\n")


# ---- runs whose process died


def test_runs_of_dead_processes_are_ended_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "x")
    mlflow = MlflowClient(store.uri)

    def run_in(folder: Path) -> str:
        folder.mkdir()
        tags = {"bnn.run_dir": str(folder), "bnn.run_dir_owner": claim_run_dir(folder)}
        return mlflow.create_run(store.experiment_id, tags=tags).info.run_id

    dead, living, elsewhere = (run_in(tmp_path / name) for name in ("a", "b", "c"))
    (tmp_path / "c" / "owner").unlink()
    with lock_run_dir(tmp_path / "b"):
        end_lost_runs(store)
        found = [mlflow.get_run(run_id) for run_id in (dead, living, elsewhere)]
    assert [run.info.status for run in found] == ["KILLED", "RUNNING", "RUNNING"]
    assert found[0].data.tags["bnn.reason"] == "its process ended unexpectedly"


def test_a_run_that_ends_while_it_is_looked_at_keeps_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "x")
    mlflow, folder = MlflowClient(store.uri), tmp_path / "run"
    folder.mkdir()
    tags = {"bnn.run_dir": str(folder), "bnn.run_dir_owner": claim_run_dir(folder)}
    run_id = mlflow.create_run(store.experiment_id, tags=tags).info.run_id
    get_run = MlflowClient.get_run

    def finished_just_then(self: MlflowClient, run_id: str) -> Any:
        self.set_terminated(run_id, "FINISHED")
        return get_run(self, run_id)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "get_run", finished_just_then)
        end_lost_runs(store)
    assert mlflow.get_run(run_id).info.status == "FINISHED"


# ---- workers whose sweep died

SWEEP = """
import multiprocessing, os, sys, time
sys.path[:0] = {path!r}
from bnn import interruption

def job(sweep):
    interruption.POLL_SECONDS, interruption.GRACE_SECONDS = 0.1, {grace}
    with interruption.ends_with_sweep(sweep):
        print("pid", os.getpid(), flush=True)
        while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                print("interrupted", flush=True)
                if not {stuck}:
                    raise

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=job, args=(os.getpid(),)).start()
"""


@pytest.mark.parametrize("stuck", [False, True], ids=["ends its record", "is stuck"])
def test_a_worker_ends_soon_after_its_sweep_was_killed(stuck: bool, tmp_path: Path) -> None:
    file = tmp_path / "sweep.py"
    file.write_text(SWEEP.format(path=[str(Path(interruption.__file__).parents[1])],
                                 grace=0.5 if stuck else 30.0, stuck=stuck))  # fmt: skip
    sweep = subprocess.Popen([sys.executable, str(file)], stdout=subprocess.PIPE, text=True)
    assert sweep.stdout is not None
    worker = int(sweep.stdout.readline().split()[1])
    sweep.kill()
    rest = sweep.stdout.read()  # until the worker, which has the pipe too, has ended
    sweep.wait()
    assert rest.startswith("interrupted\n")
    with pytest.raises(ProcessLookupError):
        _wait_for_end(worker)


def _wait_for_end(pid: int, seconds: float = 20.0) -> None:
    """Wait for the end of a process that is no child of this one.

    Raises:
        ProcessLookupError: once it has ended.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        os.kill(pid, 0)
        time.sleep(0.1)


# ---- at random moments

FAULTS = [
    "data=digits", "model=mlp", "device=cpu", "trainer.epochs=25", "trainer.progress=none",
    "trainer.evaluation_samples=2", "seed=0,1,2", "tracking.heatmaps=false",
    "tracking.model=false", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
]  # fmt: skip
"""Sweep of three runs by two workers, which takes seconds after the imports."""


def _stat(pid: int) -> list[str]:
    """Fields of a process in `/proc` after its name: state, parent, …; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def workers_of(folder: Path) -> list[int]:
    """Python processes that run with a working directory, zombies left out."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        pid = int(process.name)
        with contextlib.suppress(OSError):
            if (process / "cwd").resolve() == folder.resolve() and _stat(pid)[:1] != ["Z"]:
                found.append(pid)
    return found


def survives(folder: Path, moment: random.Random) -> tuple[str, list[str]]:
    """Kill a sweep at a random moment, and resume it.

    Args:
        folder: folder of the sweep, empty.
        moment: draws the signal, the process that it goes to, and the time.

    Returns:
        What was done, and what was wrong afterwards.
    """
    command = [sys.executable, "-m", "bnn.train", "-m", *FAULTS]
    with (folder / "log").open("w") as log:
        options = {"cwd": folder, "env": environment(), "stdout": log, "stderr": log}
        sweep = subprocess.Popen(command, **options)
        number = moment.choice([signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
        end = time.monotonic() + 120
        while not (folder / "mlflow.db").exists() and time.monotonic() < end:
            time.sleep(0.05)  # before it there is nothing to lose
        seconds = moment.uniform(0, 20)
        with contextlib.suppress(subprocess.TimeoutExpired):
            sweep.wait(seconds)
        loky = [pid for pid in workers_of(folder) if _stat(pid)[1:2] == [str(sweep.pid)]]
        target = moment.choice([sweep.pid, *loky])
        with contextlib.suppress(ProcessLookupError):
            os.kill(target, number)
        kind = "sweep" if target == sweep.pid else "worker"
        what = f"{number.name} to the {kind} after {seconds:.1f} s"
        sweep.wait(120)
        end = time.monotonic() + interruption.POLL_SECONDS + interruption.GRACE_SECONDS
        while (left := workers_of(folder)) and time.monotonic() < end:
            time.sleep(0.2)
        wrong = [f"process {pid} is left" for pid in left]
        for _ in range(2):  # the first may be told that a run is still at work
            code = subprocess.run([*command, "resume=true"], **options, timeout=200).returncode
    wrong += [f"exit code {code}"] if code else []
    seeds = [r.data.params["seed"] for r in runs(folder, "run") if r.info.status == "FINISHED"]
    wrong += [] if sorted(seeds) == ["0", "1", "2"] else [f"finished seeds {seeds}"]
    wrong += ["a run is left RUNNING"] if "RUNNING" in statuses(folder) else []
    return what, wrong


def fault_loop(tries: int, seed: int = 0) -> int:
    """Number of sweeps, of so many that are killed at random, that end as one that was not."""
    moment, survived = random.Random(seed), 0
    for number in range(1, tries + 1):
        with tempfile.TemporaryDirectory() as folder:
            what, wrong = survives(Path(folder), moment)
        survived += not wrong
        print(f"{number}: {what}: {'; '.join(wrong) or 'survived'}", flush=True)
    print(f"tried {tries} / survived {survived}")
    return survived


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_sweeps_that_are_killed_at_random_moments_resume() -> None:
    assert fault_loop(8) == 8


if __name__ == "__main__":
    tries = int(sys.argv[1])
    sys.exit(fault_loop(tries) < tries)


def test_a_closed_pipe_ends_no_run(tmp_path: Path) -> None:
    """As of `python -m bnn.train -m … | head -1`."""
    words = [sys.executable, "-m", "bnn.train", "-m", *QUICK, "model=mlp", "seed=0,1",
             "trainer.progress=lines", "hydra.launcher.n_jobs=1"]  # fmt: skip
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    said = process.stderr.read().decode()
    assert process.wait() == 0 and "Broken" not in said and "Traceback" not in said
    assert [run.info.status for run in runs(tmp_path, "run")] == ["FINISHED"] * 2
    (parent,) = runs(tmp_path, "sweep")
    assert parent.info.status == "FINISHED"
