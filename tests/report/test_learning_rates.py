"""The table by which learning rates are chosen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from bnn.report.learning_rates import rates_table
from bnn.report.rows import ReportError, Row

LOSSES = {("st density", 0.003): 61.5, ("st density", 0.01): 60.5, ("disarm", 0.003): 70.25}


@pytest.fixture
def tried(row: Callable[..., Row]) -> list[Row]:
    return [
        replace(
            row(),
            estimator_title=title,
            optimizer=f"adam lr {rate} cosine",
            val_loss=loss,
            epochs=9,
            seed=100,
        )
        for (title, rate), loss in LOSSES.items()
    ]


@pytest.fixture
def chosen(tried: list[Row]) -> list[Row]:
    return [replace(row, seed=seed) for row in tried[1:] for seed in (0, 1)]


def test_the_least_loss_of_each_estimator_is_bold_and_a_rate_not_tried_is_a_dash(
    tried: list[Row], chosen: list[Row]
) -> None:
    page = rates_table(tried, chosen)
    head, _, *lines = page.partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *lines)]
    assert cells == [
        ["estimator", "lr 0.003", "lr 0.01"],
        ["st density", "61.50", "**60.50**"],
        ["disarm", "**70.25**", "–"],
    ]
    assert "by 1 draw, at the best of 9 epochs, seed 100." in page
    assert "3 runs," in page and tried[0].command in page


def test_losses_of_classification_have_four_decimals(tried: list[Row], chosen: list[Row]) -> None:
    small = [replace(row, val_loss=row.val_loss / 1000) for row in tried]
    assert "| st density | 0.0615     | **0.0605** |" in rates_table(small, chosen)


def test_a_rate_that_is_not_the_best_of_those_tried_is_refused(
    tried: list[Row], chosen: list[Row]
) -> None:
    worse = replace(tried[0], seed=0)
    with pytest.raises(ReportError, match=r"st density.* least loss, 0\.01, got 0\.003"):
        rates_table(tried, [*chosen, worse])


def test_a_configuration_without_a_choice_is_refused(tried: list[Row], chosen: list[Row]) -> None:
    with pytest.raises(ReportError, match=r"mve 1\.0.*no learning rate was tried"):
        rates_table(tried, [*chosen, replace(chosen[0], estimator_title="mve 1.0")])


def test_runs_of_several_seeds_choose_no_rate(tried: list[Row], chosen: list[Row]) -> None:
    with pytest.raises(ReportError, match=r"expected runs of one seed .* got seeds \[1, 100\]"):
        rates_table([replace(tried[0], seed=1), tried[1]], chosen)


def test_a_rate_that_was_tried_twice_is_named(tried: list[Row], chosen: list[Row]) -> None:
    with pytest.raises(ReportError, match=r"st density.*several runs at rate 0\.003"):
        rates_table([tried[0], tried[0]], chosen)
