"""Sweeps under the launchers of Hydra: parent, children, and a job that fails."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from support.command_line import QUICK, bnn_train, run_here, runs
from support.launchers import LAUNCHERS, NEEDS

from bnn.paths import folder
from bnn.runs import grid

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "launcher",
    [pytest.param(name, marks=[] if name == "joblib" else pytest.mark.slow) for name in LAUNCHERS],
)
def test_parent_children_and_a_failure_through_each_launcher(launcher: str, tmp_path: Path) -> None:
    if launcher in NEEDS and importlib.util.find_spec(NEEDS[launcher]) is None:
        pytest.skip(f"{NEEDS[launcher]} is not installed")
    # under joblib the third job begins after one has failed; the others start all jobs at once
    rates = "1e39,0.1,0.05" if launcher == "joblib" else "1e39,0.1"
    small = [*QUICK, "data.limit=192", "model=mlp", f"optimizer.lr={rates}"]
    count = len(rates.split(","))
    result = bnn_train(tmp_path, "-m", *small, *LAUNCHERS[launcher], OMP_NUM_THREADS="")
    assert result.returncode == 1 and f"1 of {count} runs failed" in result.stderr, result.stderr
    (parent,) = runs(tmp_path, "sweep")
    children = runs(tmp_path, "run")
    assert parent.info.status == "FAILED"
    assert sorted(run.info.status for run in children) == ["FAILED", *["FINISHED"] * (count - 1)]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert "lower optimizer.lr" in parent.data.tags["mlflow.note.content"]
    assert all(
        f"optimizer.lr={rates}" in run.data.tags["bnn.command"] for run in [parent, *children]
    )
    if launcher in ("joblib", "ray"):
        share = max(1, len(os.sched_getaffinity(0)) // 2) if launcher == "joblib" else 1
        assert {run.data.tags["bnn.threads"] for run in children} == {str(share)}, (
            "jobs side by side share the cores"
        )


def test_slurm_is_submitit_with_the_cores_that_it_asks_for() -> None:
    pytest.importorskip("submitit")
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        made = compose(
            "train",
            ["hydra/launcher=slurm", "hydra.launcher.partition=gpu"],
            return_hydra_config=True,
        )
    launcher = OmegaConf.to_container(made.hydra.launcher, resolve=False)
    assert (
        launcher["_target_"].endswith("submitit_launcher.SlurmLauncher")
        and launcher["partition"] == "gpu"
    )
    assert "OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK" in launcher["setup"][0]


def test_an_error_of_the_launcher_itself_is_one_line_and_the_sweep_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As submitit raises one for a job that ran past the limit of its cluster."""
    run = grid.run_grid

    def limited(composer, choices, title, launch, *rest):
        def fails(jobs):
            yield from launch(jobs[:1])
            raise TimeoutError("job 7 ran past its limit")

        return run(composer, choices, title, fails, *rest)

    words = [*QUICK, "data.limit=192", "model=mlp", "seed=0,1"]
    with monkeypatch.context() as patched:
        patched.setattr(grid, "run_grid", limited)
        result = run_here(tmp_path, "-m", *words)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "error: hydra/launcher: TimeoutError: job 7 ran past its limit" in result.stderr
    (parent,), (child,) = runs(tmp_path, "sweep"), runs(tmp_path, "run")
    assert (parent.info.status, child.info.status) == ("FAILED", "FINISHED")
    again = run_here(tmp_path, "-m", *words, "resume=true")
    assert again.returncode == 0 and "1 of them finished before" in again.stdout
