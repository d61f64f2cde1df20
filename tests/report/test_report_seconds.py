"""Seconds to an accuracy: a table of two experiments' seconds, cell by cell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnn.paths import folder
from bnn.report.row_files import read_csv
from bnn.report.rows import ReportError
from bnn.report.seconds import seconds_table

EARLIER = read_csv(folder("sweeps") / "results" / "main_command_cpu.csv")


def test_each_cell_stands_beside_its_own_with_its_share_of_core_seconds() -> None:
    now = [
        replace(row, seed=seed, epochs=4, threads=1, seconds_train=0.25 * row.seconds_train)
        for row in EARLIER
        for seed in (1, 2)
    ]
    before = [replace(row, threads=2, seed=seed) for row in EARLIER for seed in (1, 2)]
    lines = [line.split("|")[1:-1] for line in seconds_table(now, before).splitlines()[2:]]
    assert len(lines) == 6
    for line in lines:
        cells = [cell.strip() for cell in line]
        assert cells[-1] == "0.12" or cells[-1] == "0.13"
        (row,) = [row for row in EARLIER if [row.neuron, row.estimator, row.placement] == cells[:3]]
        assert cells[3:6] == [
            f"{100 * row.test_accuracy:.2f} ± 0.00", str(row.epochs), f"{row.seconds_train:.0f} ± 0"
        ]  # fmt: skip


def test_a_cell_that_the_earlier_table_lacks_is_named() -> None:
    with pytest.raises(ReportError, match="expected one configuration in the earlier table, got 0"):
        seconds_table(EARLIER, EARLIER[1:])


def test_seeds_that_the_earlier_table_lacks_are_left_out() -> None:
    slow = [replace(row, seed=7, seconds_train=1e6) for row in EARLIER]
    assert seconds_table([*EARLIER, *slow], EARLIER) == seconds_table(EARLIER, EARLIER)
