"""Rows: from runs of any version, to CSV and back."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bnn.report import rows
from bnn.report.configurations import group_by_configuration
from bnn.report.row_files import read_csv, write_csv
from bnn.report.rows import ReportError, Row, portable, rows_of
from bnn.tracking.query import FinishedRun


def test_a_file_gives_rows_back_to_the_last_bit(tmp_path: Path, row: Callable[..., Row]) -> None:
    odd = row(0.1 + 0.2, seed=0, test_loss=1e-300, val_loss=1 / 3, seconds_total=float("inf"))
    none = row(5e-324, seed=2**32 - 1, test_loss_mc_mean=None, test_accuracy_mc_mean=None,
               test_loss_threshold=None, test_accuracy_threshold=None)  # fmt: skip
    text = row(1.0, seed=3, hardware='a "quoted", listed\nname', commit="", command="x 'y, z'")
    write_csv(tmp_path / "x.csv", [odd, none, text])
    assert sorted(map(repr, read_csv(tmp_path / "x.csv"))) == sorted(map(repr, [odd, none, text]))


def test_the_order_of_rows_does_not_move_the_file(tmp_path: Path, rows: list[Row]) -> None:
    write_csv(tmp_path / "a.csv", rows)
    random.Random(0).shuffle(rows)
    write_csv(tmp_path / "b.csv", rows)
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_other_columns_are_refused(tmp_path: Path, rows: list[Row]) -> None:
    write_csv(tmp_path / "x.csv", rows)
    text = (tmp_path / "x.csv").read_text()
    (tmp_path / "x.csv").write_text(text.replace("test_loss,", "loss,", 1))
    with pytest.raises(ReportError, match="differs in loss, test_loss"):
        read_csv(tmp_path / "x.csv")


def test_a_cell_that_is_no_number_is_named(tmp_path: Path, row: Callable[..., Row]) -> None:
    write_csv(tmp_path / "x.csv", [row(seed=1), replace(row(seed=2), epochs="ten")])  # type: ignore[arg-type]
    path = tmp_path / "x.csv"
    path.write_text(path.read_text().replace("'ten'", "ten"))
    with pytest.raises(ReportError, match="row 3, epochs: expected a number, got 'ten'"):
        read_csv(path)


def test_a_short_row_and_a_missing_file_are_refused(
    tmp_path: Path, row: Callable[..., Row]
) -> None:
    write_csv(tmp_path / "x.csv", [row()])
    with (tmp_path / "x.csv").open("a") as file:
        file.write("mnist,0.98\n")
    with pytest.raises(ReportError, match="row 3: expected 45 cells, got 2"):
        read_csv(tmp_path / "x.csv")
    with pytest.raises(ReportError, match="--export writes it"):
        read_csv(tmp_path / "y.csv")


def test_a_command_keeps_everything_but_places() -> None:
    command = (
        "python -m bnn.train -m seed=0,1 'tracking.uri=sqlite:////some where/m.db' "
        "++data.root=/x 'placement.layers=[0, 1]'"
    )
    assert portable(command) == "python -m bnn.train -m seed=0,1 'placement.layers=[0, 1]'"


PARAMS = {
    "model.name": "mlp",
    "model.norm": "none",
    "seed": "1",
    "trainer.epochs": "3",
    "trainer.precision": "float32",
    "trainer.evaluation_samples": "8",
    "optimizer.name": "sgd",
    "optimizer.lr": "0.1",
    "optimizer.lr_schedule": "constant",
    "optimizer.momentum": "0.9",
}
TAGS = {
    "dataset": "digits",
    "neuron": "deterministic",
    "law": "logistic",
    "estimator": "reinforce",
    "estimator_title": "reinforce",
    "placement": "both",
    "anneal": "none",
    "bnn.commit": "abc",
    "bnn.hardware": "a CPU",
    "bnn.threads": "2",
    "bnn.versions": "torch 2.15.0",
    "bnn.command": "python -m bnn.train",
}
METRICS = {
    "best_epoch": 2.0,
    "val_best/loss": 0.4,
    "val_best/accuracy": 0.9,
    "test/loss": 0.5,
    "test/accuracy": 0.8,
    "test/loss_threshold": 0.55,
    "test/accuracy_threshold": 0.75,
    "seconds/train": 10.0,
    "seconds/total": 12.0,
}


def finished(seed: int, params: dict[str, str], tags: dict[str, str], metrics: dict) -> FinishedRun:
    """A run of a seed with parameters, tags and metrics beside the common ones."""
    return FinishedRun(
        run_id=f"run{seed}",
        ended=seed,
        params={**PARAMS, "seed": str(seed), **params},
        tags={**TAGS, "bnn.digest": f"digest{seed}", **tags},
        metrics={**METRICS, **metrics},
    )


def run_of_0_1_0(seed: int) -> FinishedRun:
    """A run with the tags and metrics of version 0.1.0, which had one task and one group."""
    tags = {"bnn.explores": "yes", "bnn.passes": "4"}
    return finished(seed, {}, tags, {"test/loss_mean": 0.45, "test/accuracy_mean": 0.85})


def run_of_this_version(seed: int) -> FinishedRun:
    """The same under the names of this version."""
    params = {
        "task.name": "classification",
        "optimizer.groups.estimator.lr": "None",
        "optimizer.groups.task.weight_decay": "None",
    }
    tags = {"bnn.samples_in_training": "yes", "bnn.evaluations": "4"}
    metrics = {"test/loss_mc_mean": 0.45, "test/accuracy_mc_mean": 0.85}
    return finished(seed, params, tags, metrics)


def test_a_run_of_version_0_1_0_has_the_row_of_the_same_run_of_this_version() -> None:
    (old,), (new,) = (rows_of([make(1)], "x") for make in (run_of_0_1_0, run_of_this_version))
    assert old == new
    assert (old.samples_in_training, old.evaluations) == ("yes", 4)
    assert (old.test_accuracy_mc_mean, old.test_loss_mc_mean) == (0.85, 0.45)
    assert old.test_accuracy_threshold == 0.75 and old.settings == "optimizer.momentum=0.9"


def test_seeds_of_both_versions_are_one_configuration() -> None:
    rows = rows_of([run_of_0_1_0(1), run_of_this_version(2)], "x")
    (only,) = group_by_configuration(rows)
    assert [row.seed for row in only.rows] == [1, 2]
    other = finished(3, {"optimizer.groups.estimator.lr": "0.01"}, run_of_0_1_0(3).tags, {})
    assert len(group_by_configuration([*rows, *rows_of([other], "x")])) == 2


def test_a_validation_by_one_draw_is_that_of_runs_before_the_key() -> None:
    earlier = {"trainer.batch_size": "64"}
    settings = [
        rows._settings({**earlier, "trainer.validation_samples": draws}) for draws in ("1", "10")
    ]
    assert settings == [
        "trainer.batch_size=64",
        "trainer.batch_size=64; trainer.validation_samples=10",
    ]
