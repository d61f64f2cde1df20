"""Estimate of a dry run: agreement of number and noun, and one unit throughout."""

from __future__ import annotations

import pytest

from bnn.config.compose import compose
from bnn.runs import dry_run
from bnn.specify import specify


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(59.6, "1:00 min"), (322, "5:22 min"), (3599.7, "1:00:00 h"), (12492, "3:28:12 h")],
)
def test_a_duration_is_a_clock_with_its_unit(seconds: float, expected: str) -> None:
    assert dry_run.duration(seconds) == expected


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (1, "1 run, about 1:44:06 h of training on cpu"),
        (2, "2 runs, about 3:28:12 h of training on cpu"),
    ],
)
def test_the_sum_of_a_dry_run_has_the_unit_of_its_rows(
    runs: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "seconds_of", lambda spec: 6246.0)
    specs = [
        specify(compose(["data=digits", f"seed={seed}", "device=cpu"])) for seed in range(runs)
    ]
    *rows, total = dry_run.dry_run(specs).splitlines()
    assert total == expected
    assert rows[-1].endswith("  1:44:06 |")
    if runs == 2:
        assert dry_run.dry_run(specs, lambda total: 2).splitlines()[-1] == (
            "2 runs, about 1:44:06 h of training, 2 at once on cpu"
        )


def test_jobs_side_by_side_take_as_long_as_the_worker_that_ends_last() -> None:
    assert dry_run.makespan([], 4) == 0
    assert dry_run.makespan([5, 3, 3, 3], 2) == 8, "5 and 3, and 3 and 3"
    assert dry_run.makespan([5, 1], 8) == 5
    assert dry_run.makespan([2, 2, 2], 1) == 6
