"""The table and the figure of the same estimators in experiments of several tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from bnn.report.across_tasks import TaskResults, figure, results_by_task, table, titles
from bnn.report.rows import ReportError, Row

BOUNDS = {"st density": 60.0, "reinmax 1.0": 58.0, "disarm": 61.0, "frozen": 100.0}
ACCURACIES = {"st density": 0.97, "disarm": 0.95, "muprop": 0.96, "frozen": 0.8}


def experiment(row: Row, task: str, values: Mapping[str, float]) -> list[Row]:
    """Two seeds of each estimator, which are one hundredth above and below its value."""
    made = []
    for title, value in values.items():
        for seed, off in enumerate((-0.01, 0.01)):
            one = replace(
                row,
                neuron="stochastic",
                placement="both",
                estimator=title.split()[0],
                estimator_title=title,
                seed=seed,
                run_id=f"{task}{title}{seed}",
                digest=f"{task}{title}{seed}",
                settings="" if task == "classification" else f"task.name={task}",
            )
            if task != "classification":
                one = replace(one, test_accuracy=None, test_loss_mc_mean=value + off)
            else:
                one = replace(one, test_accuracy=value + off)
            made.append(one)
    return made


@pytest.fixture
def tables(rows: list[Row]) -> list[TaskResults]:
    return results_by_task(
        {
            "one": experiment(rows[0], "classification", ACCURACIES),
            "two": experiment(rows[0], "vae", BOUNDS),
        }
    )


def test_each_task_has_its_metric_and_its_ranks_without_the_controls(tables) -> None:
    first, second = tables
    assert (first.task, first.metric.title) == ("classification", "test accuracy (%)")
    assert (second.task, second.metric.title) == ("vae", "test bound (nats)")
    assert first.ranks() == {"st density": 1, "muprop": 2, "disarm": 3}
    assert second.ranks() == {"reinmax 1.0": 1, "st density": 2, "disarm": 3}


def test_biased_estimators_come_first_and_controls_last(tables) -> None:
    assert titles(tables) == [
        ("reinmax", "reinmax 1.0"),
        ("st", "st density"),
        ("muprop", "muprop"),
        ("disarm", "disarm"),
        ("frozen", "frozen"),
    ]


def test_differences_are_paired_and_above_0_where_an_estimator_is_better(tables) -> None:
    lines = {line.split("|")[1].strip(): line for line in table(tables).splitlines() if "|" in line}
    assert "97.00 ± 1.41" in lines["st density"] and lines["st density"].count("reference") == 2
    assert "58.00 ± 0.01" in lines["reinmax 1.0"] and "+2.00 [+2.00, +2.00]" in lines["reinmax 1.0"]
    assert "-2.00 [-2.00, -2.00]" in lines["disarm"] and "-1.00 [-1.00, -1.00]" in lines["disarm"]
    ranks = {title: line.split("|")[-2].strip() for title, line in lines.items()}
    assert ranks["reinmax 1.0"] == "–, 1" and ranks["disarm"] == "3, 3"
    assert ranks["frozen"] == "–, –" and ranks["muprop"] == "2, –"
    assert [line.split("|")[2].strip() for line in (lines["muprop"], lines["st density"])] == [
        "yes",
        "no",
    ]


def test_the_figure_has_a_panel_a_task_with_the_distance_behind_straight_through(tables) -> None:
    first, second = figure(tables).axes
    assert [first.get_title(), second.get_title()] == ["classification", "vae"]
    assert first.get_xlabel() == "points of error behind straight-through"
    assert second.get_xlabel() == "nats behind straight-through"
    shown = [label.get_text() for label in first.get_yticklabels()]
    assert shown == ["reinmax 1.0", "st density", "muprop", "disarm"]
    means = {
        float(path.get_offsets()[0][1]): float(path.get_offsets()[0][0])
        for path in second.collections
        if len(path.get_offsets()) == 1
    }
    assert means == pytest.approx({0: -2, 1: 0, 3: 1})


def test_files_of_one_task_are_refused(rows: list[Row]) -> None:
    some = experiment(rows[0], "vae", BOUNDS)
    with pytest.raises(ReportError, match="a task of its own in each file"):
        results_by_task({"one": some, "two": some})
    mixed = [*some, *experiment(rows[0], "structured", BOUNDS)]
    with pytest.raises(ReportError, match=r"x.csv: expected one task, got structured, vae"):
        results_by_task({"x": mixed})
