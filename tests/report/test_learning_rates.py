"""The table by which a learning rate is chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bnn.report.learning_rates import losses_by_rate, rates_table
from bnn.report.rows import ReportError, Row

LOSSES = {("st density", 0.003): 61.5, ("st density", 0.01): 60.5, ("disarm", 0.003): 70.25}


@pytest.fixture
def runs(row: Callable[..., Row]) -> list[Row]:
    return [
        replace(row(), estimator_title=title, optimizer=f"adam lr {rate} cosine", val_loss=loss)
        for (title, rate), loss in LOSSES.items()
    ]


def test_the_least_loss_of_each_estimator_is_bold_and_a_rate_not_tried_is_a_dash(
    runs: list[Row],
) -> None:
    head, _, *lines = rates_table(runs).partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines)]
    assert cells == [
        ["estimator", "lr 0.003", "lr 0.01"],
        ["st density", "61.50", "**60.50**"],
        ["disarm", "**70.25**", "–"],
    ]


def test_runs_of_several_seeds_choose_no_rate(runs: list[Row]) -> None:
    with pytest.raises(ReportError, match=r"expected runs of one seed .* got seeds \[1, 2\]"):
        losses_by_rate([replace(runs[0], seed=1), replace(runs[1], seed=2)])


def test_a_rate_that_was_tried_twice_is_named(runs: list[Row]) -> None:
    with pytest.raises(ReportError, match=r"st density.*several runs at rate 0.003"):
        losses_by_rate([runs[0], runs[0]])
