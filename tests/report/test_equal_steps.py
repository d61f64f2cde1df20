"""The table of estimators at equal steps beside the same ones at equal cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bnn.report.equal_steps import Comparison, table
from bnn.report.rows import ReportError, Row

COST = {"st density": (1, 60.0), "mve": (1, 59.0), "disarm": (2, 64.0), "muprop": (2, 65.0),
        "arms 4": (4, 62.0), "frozen": (1, 90.0)}  # fmt: skip
STEPS = {"disarm": (2, 58.0), "muprop": (2, 61.0)}
EPOCHS = 36


def runs(
    row: Row, experiment: str, values: Mapping[str, tuple[int, float]], cheap: bool
) -> list[Row]:
    """Two seeds of each estimator, which are one tenth above and below its bound."""
    return [
        replace(
            row,
            experiment=experiment,
            estimator=title.split()[0],
            estimator_title=title,
            evaluations=passes,
            epochs=EPOCHS // passes if cheap else EPOCHS,
            seed=seed,
            settings="task.name=vae",
            test_loss_mc_mean=value + off,
            test_accuracy=None,
        )
        for title, (passes, value) in values.items()
        for seed, off in enumerate((-0.1, 0.1))
    ]


@pytest.fixture
def cost(row) -> list[Row]:
    return runs(row(), "equal_cost", COST, cheap=True)


@pytest.fixture
def steps(row) -> list[Row]:
    return runs(row(), "vae", STEPS, cheap=False)


def lines(text: str) -> dict[str, list[str]]:
    cells = [
        [c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line
    ]
    return {one[0]: one[1:] for one in cells[2:]}


def test_estimators_are_ranked_at_equal_steps_beside_their_rank_at_equal_cost(cost, steps) -> None:
    found = lines(table(cost, steps))
    assert list(found) == ["disarm", "mve", "st density", "muprop"]
    assert [found[title][-1] for title in found] == ["3, 1", "1, 2", "2, 3", "4, 4"]
    assert found["disarm"][1:5] == [
        "64.00 ± 0.14", "58.00 ± 0.14", "+6.00 [+6.00, +6.00]", "+2.00 [+2.00, +2.00]",
    ]  # fmt: skip
    assert found["muprop"][4] == "-1.00 [-1.00, -1.00]"


def test_one_evaluation_a_step_has_the_same_runs_in_both(cost, steps) -> None:
    found = lines(table(cost, steps))
    assert found["st density"][2:5] == ["–", "–", "reference"]
    assert found["mve"][2:5] == ["–", "–", "+1.00 [+1.00, +1.00]"]


def test_controls_and_estimators_without_runs_at_equal_steps_have_no_row(cost, steps) -> None:
    found = lines(table(cost, steps))
    assert "frozen" not in found and "arms 4" not in found


def test_other_epochs_are_refused(cost, steps) -> None:
    fewer = [replace(one, epochs=18) if one.estimator == "disarm" else one for one in steps]
    with pytest.raises(
        ReportError, match=r"expected equal epochs, hence equal steps; got \[18, 36"
    ):
        Comparison.of(cost, fewer)


def test_an_estimator_in_one_experiment_alone_is_refused(cost, steps) -> None:
    without = [one for one in cost if one.estimator != "muprop"]
    with pytest.raises(ReportError, match=r"^muprop: expected runs at equal cost too"):
        Comparison.of(without, steps)
    no_reference = [one for one in cost if one.estimator != "st"]
    with pytest.raises(ReportError, match=r"no runs of st to compare with"):
        table(no_reference, steps)
