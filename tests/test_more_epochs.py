"""More epochs of a finished run: gone on with where its state is kept, or else said why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow.entities import Run
from support.command_line import QUICK, client, run_here, runs

from bnn.config.compose import compose
from bnn.runs.beginning import key_of_length
from bnn.specify import setup

SMALL = [*QUICK, "data.limit=192", "model=mlp", "model.hidden=16", "trainer.progress=none"]
RATE = ["optimizer.lr_schedule=constant", "optimizer.warmup=0"]
CONSTANT = ["anneal=none", *RATE]


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (CONSTANT, None),
        (["anneal=none", RATE[0], "optimizer.warmup=0.1"], "optimizer.lr_schedule"),
        (["anneal=none", "optimizer.warmup=0"], "optimizer.lr_schedule"),
        ([*RATE, "anneal=cosine"], "anneal.name"),
        ([*RATE, "anneal=geometric"], None),
    ],
)
def test_a_schedule_of_the_number_of_epochs_has_no_shorter_beginning(
    words: list[str], key: str | None
) -> None:
    made = setup(compose(["data=digits", "device=cpu", "trainer.epochs=4", *words]))
    assert key_of_length(made, 2) == key


def command(folder: Path, *words: str) -> str:
    result = run_here(folder, *SMALL, *words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def losses(folder: Path, run: Run) -> list[tuple[int, float]]:
    points = client(folder).get_metric_history(run.info.run_id, "train/loss")
    return [(point.step, point.value) for point in points]


def finals(run: Run) -> dict[str, float]:
    return {key: v for key, v in run.data.metrics.items() if key.startswith(("test/", "val_best"))}


@pytest.mark.integration
def test_a_run_that_keeps_its_state_goes_on_to_the_same_end(tmp_path: Path) -> None:
    command(tmp_path, *CONSTANT, "trainer.epochs=2", "trainer.keep_last=true")
    assert len(list(tmp_path.rglob("last.pt"))) == 1
    out = command(tmp_path, *CONSTANT, "trainer.epochs=4", "resume=true")
    short, long = runs(tmp_path, "run")
    assert f"goes on from run {short.info.run_id}, after epoch 2" in out
    assert long.data.tags["bnn.continued_from"] == short.info.run_id
    assert len(list(tmp_path.rglob("last.pt"))) == 1, "the longer run keeps none"
    command(tmp_path, *CONSTANT, "trainer.epochs=4")
    whole = runs(tmp_path, "run")[-1]
    assert losses(tmp_path, long) == losses(tmp_path, whole) and finals(long) == finals(whole)
    assert [step for step, _ in losses(tmp_path, long)] == [1, 2, 3, 4]


@pytest.mark.integration
def test_why_a_training_begins_anew_is_said(tmp_path: Path) -> None:
    command(tmp_path, *CONSTANT, "trainer.epochs=1")
    assert not list(tmp_path.rglob("last.pt"))
    out = command(tmp_path, *CONSTANT, "trainer.epochs=2", "resume=true")
    (first, second) = runs(tmp_path, "run")
    begin = f"model.init_from={first.info.run_id} begins with its weights"
    assert f"note: run {first.info.run_id} finished after 1 of 2 epochs, but its optimizer" in out
    assert begin in out and len(losses(tmp_path, second)) == 2
    command(tmp_path, "anneal=none", "trainer.epochs=1", "trainer.keep_last=true")
    cosine = runs(tmp_path, "run")[-1]
    out = command(tmp_path, "anneal=none", "trainer.epochs=2", "resume=true")
    assert f"run {cosine.info.run_id} finished after 1 of 2 epochs, but optimizer.lr_sch" in out
    assert "=cosine with optimizer.warmup depends on trainer.epochs: trained anew" in out
