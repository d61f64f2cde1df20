"""Jobs of a sweep side by side: how many, in which order, and with the same results."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import QUICK, bnn_train, runs

from bnn.errors import ConfigError
from bnn.job_environment import JobEnvironment
from bnn.runs import concurrency

AUTO = {"_target_": "hydra_plugins.bnn_sweepers.auto_launcher.AutoLauncher", "n_jobs": None}
JOBLIB = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher"}
GIB = 2**30


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Function that sets the cores and the free memory of this machine."""

    def set_machine(cores: int, free: float | None) -> None:
        monkeypatch.setattr(concurrency, "cores", lambda: cores)
        monkeypatch.setattr(concurrency, "available_bytes", lambda: free)

    return set_machine


@pytest.mark.parametrize(
    "cores, free, jobs, threads, expected",
    [
        (8, 64 * GIB, 20, 1, 8),
        (8, 64 * GIB, 3, 1, 3),
        (8, 64 * GIB, 20, 2, 4),
        (8, 64 * GIB, 20, None, 1),
        (8, 4 * GIB, 20, 1, 2),
        (8, 1 * GIB, 20, 1, 1),
        (2, None, 20, 1, 2),
        (2, None, 20, 4, 1),
    ],
)
def test_auto_takes_as_many_jobs_as_cores_and_memory_have_room_for(
    machine, cores: int, free: float | None, jobs: int, threads: int | None, expected: int
) -> None:
    machine(cores, free)
    for seconds in (None, 1000.0):
        assert concurrency.jobs_at_once(AUTO, jobs, seconds, threads) == expected


def test_a_sweep_that_is_shorter_than_the_start_of_workers_runs_in_turn(machine) -> None:
    machine(8, None)
    assert concurrency.jobs_at_once(AUTO, 20, 10.0, 1) == 1
    assert concurrency.jobs_at_once({**AUTO, "n_jobs": 3}, 20, 10.0, 1) == 3, "unless asked for"


def test_other_launchers_say_themselves_how_many_jobs_they_run_at_once(machine) -> None:
    machine(8, None)
    assert concurrency.jobs_at_once({"_target_": "basic"}, 20, None, 1) == 1
    assert concurrency.jobs_at_once({**JOBLIB, "n_jobs": 5}, 20, 1.0, 1) == 5
    assert concurrency.jobs_at_once({"array_parallelism": 64}, 100, 1.0, 1) == 64, "submitit"
    assert concurrency.jobs_at_once({"array_parallelism": 64}, 20, 1.0, 1) == 20
    assert concurrency.jobs_at_once({**JOBLIB, "n_jobs": -1}, 20, 1.0, 1) == 8
    with pytest.raises(ConfigError, match=r"n_jobs: expected at least 1"):
        concurrency.jobs_at_once({**AUTO, "n_jobs": 0}, 20, None, 1)


def test_free_memory_is_the_least_of_the_machine_and_its_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    assert concurrency.available_bytes(meminfo, tmp_path) is None
    meminfo.write_text("MemTotal:       24000000 kB\nMemAvailable:    8000000 kB\n")
    assert concurrency.available_bytes(meminfo, tmp_path) == 8000000 * 1024
    (tmp_path / "memory.current").write_text("1000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert concurrency.available_bytes(meminfo, tmp_path) == 8000000 * 1024
    (tmp_path / "memory.max").write_text("5000\n")
    assert concurrency.available_bytes(meminfo, tmp_path) == 4000
    (tmp_path / "memory.stat").write_text("anon 100\ninactive_file 500\nactive_file 7\n")
    assert concurrency.available_bytes(meminfo, tmp_path) == 4500, "with the cache of files"


def test_the_time_left_of_a_sweep_counts_the_jobs_beside_it_as_half_done(monkeypatch) -> None:
    monkeypatch.setattr("time.time", lambda: 100.0)
    one = JobEnvironment("", "", 4, estimates=[10.0] * 4)
    two = JobEnvironment("", "", 4, estimates=[10.0] * 4, at_once=2)
    assert one.time_left(2, 0.0) == pytest.approx(100.0)
    assert two.time_left(2, 0.0) == pytest.approx(100.0 * (40 - 15) / 15)


@pytest.mark.slow
@pytest.mark.integration
def test_two_jobs_at_once_give_the_same_results_and_the_longest_starts_first(
    tmp_path: Path,
) -> None:
    words = [*QUICK, "data.limit=192", "model=mlp", "estimator=st,reinmax", "trainer.epochs=1,40"]
    found = {}
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        result = bnn_train(
            folder, "-m", *words, f"hydra.launcher.n_jobs={count}", OMP_NUM_THREADS="1"
        )
        assert result.returncode == 0, result.stderr
        assert ("2 at once" in result.stdout) == (count == 2)
        found[count] = {
            run.data.tags["bnn.digest"]: {
                key: value
                for key, value in run.data.metrics.items()
                if not key.startswith("seconds/")
            }
            for run in runs(folder, "run")
        }
        assert {run.data.tags["bnn.threads"] for run in runs(folder, "run")} == {"1"}
    assert len(found[1]) == 4 and found[1] == found[2]
    longest = [run for run in runs(folder, "run") if run.data.params["trainer.epochs"] == "40"]
    assert {run.data.tags["bnn.run_dir"][-2:] for run in longest} == {"/0", "/1"}
