"""Laws of the file that holds rows."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bnn.report.row_files import read_csv, write_csv
from bnn.report.rows import ReportError, Row, portable


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
    with pytest.raises(ReportError, match="row 3: expected 36 cells, got 2"):
        read_csv(tmp_path / "x.csv")
    with pytest.raises(ReportError, match="--export writes it"):
        read_csv(tmp_path / "y.csv")


def test_a_command_keeps_everything_but_places() -> None:
    command = "python -m bnn.train -m seed=0,1 'tracking.uri=sqlite:////some where/m.db' ++data.root=/x 'placement.layers=[0, 1]'"
    assert portable(command) == "python -m bnn.train -m seed=0,1 'placement.layers=[0, 1]'"
