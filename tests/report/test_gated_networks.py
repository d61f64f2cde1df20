"""The table and the figure of gated networks beside their controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bnn.report.experiment import Experiment
from bnn.report.gated_networks import (
    DENSE,
    OPEN,
    RANDOM,
    UNTRAINED,
    beside_controls,
    conclusion,
    table,
)
from bnn.report.gates_figure import figure, milliseconds
from bnn.report.html.heatmaps import LayerViews
from bnn.report.numbers import Interval
from bnn.report.rows import ReportError, Row

SEEDS = 3
ACCURACY = {"st density": 0.97, "reinmax 1.0": 0.95, UNTRAINED: 0.94, RANDOM: 0.92, DENSE: 0.96}
TIMES = """# CPU

`python -m bnn.benchmark --gates model=gated_mlp --rounds 7`, commit abc

| open (%) | batch | masked (ms) | open blocks (ms) | dense (ms) | masked / open blocks |
|---------:|------:|------------:|-----------------:|-----------:|----------------------|
|       11 |     1 |       0.459 |            0.177 |      0.067 | 2.58 · 2.54–2.66     |
|       11 |    64 |       2.286 |            1.713 |      0.345 | 1.33 · 1.31–1.36     |
|       26 |     1 |       0.448 |            0.273 |      0.113 | 1.65 · 1.42–1.66     |

# CPU

`python -m bnn.benchmark --gates model=gated_cnn --rounds 5`, commit abc

|       11 |     1 |       0.552 |            0.469 |      0.369 | 1.17 · 1.16–1.23     |
"""


def network(row: Callable[..., Row], title: str, share: float, accuracy: float) -> list[Row]:
    """Seeds of one kind of gates; the spread of accuracies is one in ten thousand."""
    gates = {OPEN: "open", DENSE: "open", RANDOM: "random"}.get(title, "input")
    blocks = 1 if title == DENSE else 40
    has_gates = gates != "open"
    controls = {UNTRAINED: "frozen", RANDOM: "frozen", OPEN: "none", DENSE: "none"}
    estimator = controls.get(title, title)
    opened = share if has_gates else 1.0
    further = f"multiply_adds={1e6 * (share if title != OPEN else 1)}; open={opened}"
    if has_gates:
        further += f"; multiply_adds_threshold={0.9e6 * share}"
        further += "".join(
            f"; units/gater.act/{name}={value}"
            for name, value in (("information", 0.2), ("mostly_off", 0.1), ("mostly_on", 0.05))
        )
    return [
        row(
            accuracy + 1e-4 * seed,
            seed=seed,
            model="gated_mlp",
            neuron="stochastic" if has_gates else "real",
            estimator=estimator.split()[0],
            estimator_title=estimator,
            placement="last" if has_gates else "none",
            further=further,
            test_accuracy_threshold=0.98 if has_gates else None,
            settings=f"model.blocks={blocks}; model.gates={gates}; model.open={share}",
        )
        for seed in range(SEEDS)
    ]


@pytest.fixture
def gated(row) -> list[Row]:
    rows = [
        one
        for share, off in ((0.1, 0.0), (0.25, 0.01))
        for title, accuracy in ACCURACY.items()
        for one in network(row, title, share, accuracy + off)
    ]
    return rows + network(row, OPEN, 0.25, 0.985)


def lines(rows: list[Row]) -> dict[tuple[str, str], list[str]]:
    """Cells of the table by share and gates."""
    cells = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in table(rows).splitlines()
        if line.startswith("|")
    ]
    return {(one[0], one[1]): one[2:] for one in cells[2:]}


def test_gates_stand_beside_the_three_controls_of_their_share(gated: list[Row]) -> None:
    found = lines(gated)
    assert len(found) == 2 * 5 + 1
    st = found["0.1", "st density"]
    assert st[:8] == [
        "3", "97.01 ± 0.01", "10.0 ± 0.0", "100 ± 0", "98.00 ± 0.00", "90 ± 0", "15 ± 0",
        "0.200 ± 0.000",
    ]  # fmt: skip
    assert st[8:] == [
        "+1.00 [+1.00, +1.00]", "+3.00 [+3.00, +3.00]", "+5.00 [+5.00, +5.00]", "yes",
    ]  # fmt: skip
    reinmax = found["0.25", "reinmax 1.0"]
    assert reinmax[8] == "-1.00 [-1.00, -1.00]" and reinmax[-1] == "no"
    assert found["0.1", DENSE][8:] == ["reference", "–", "–", "–"]
    assert found["–", OPEN][1].startswith("98.51")


def test_gates_pay_only_ahead_of_every_control() -> None:
    ahead, behind = Interval(1, 0.5, 1.5), Interval(-1, -1.5, -0.5)
    unclear = Interval(0.1, -0.5, 0.7)
    assert conclusion([ahead, ahead, ahead]) == "yes"
    assert conclusion([ahead, ahead, behind]) == "no"
    assert conclusion([unclear, ahead, behind]) == "no"
    assert conclusion([ahead, unclear, ahead]) == "undecided"
    assert conclusion([ahead, None, ahead]) == "–"


def test_a_missing_control_and_two_of_one_kind_are_refused(gated: list[Row]) -> None:
    without = [one for one in gated if "gates=random" not in one.settings]
    with pytest.raises(ReportError, match=r"model.open=0.1: no random gates to compare to"):
        table(without)
    twice = [
        replace(one, settings=f"{one.settings}; model.gater=32", digest=f"{one.digest}+")
        for one in gated
        if one.estimator == "st"
    ]
    with pytest.raises(ReportError, match=r"st density: expected one configuration"):
        table([*gated, *twice])
    open_twice = [
        replace(one, settings=one.settings.replace("open=0.25", "open=0.1"), digest=f"{one.seed}")
        for one in gated
        if "gates=open" in one.settings and "blocks=40" in one.settings
    ]
    with pytest.raises(ReportError, match=r"all open: expected one configuration"):
        table([*gated, *open_twice])


def test_a_report_has_the_table_where_all_controls_are_there(gated: list[Row], rows) -> None:
    for some, expected in (
        (gated, True),
        ([one for one in gated if "gates=random" not in one.settings], False),
        (rows, False),
    ):
        assert (beside_controls(some) is not None) is expected
        made = Experiment(["gating"], some, "", {}, LayerViews(), None, "")
        assert ("| gates pay |" in made.markdown("gating")) is expected
        assert ("Gates beside their controls" in made.html_page()) is expected


def test_networks_without_gates_are_refused(rows: list[Row]) -> None:
    with pytest.raises(ReportError, match=r"expected a gated network, which has model.gates"):
        table(rows)


def test_milliseconds_are_those_of_one_image_and_of_the_model() -> None:
    assert milliseconds(TIMES, "gated_mlp") == {
        11: {"gated": 0.177, "dense": 0.067},
        26: {"gated": 0.273, "dense": 0.113},
    }
    assert milliseconds(TIMES, "gated_cnn") == {11: {"gated": 0.469, "dense": 0.369}}
    with pytest.raises(ReportError, match="expected one section of model=other, got 0"):
        milliseconds(TIMES, "other")
    batches = TIMES.replace("|     1 |", "|    64 |")
    with pytest.raises(ReportError, match="model=gated_mlp: expected rows of batch 1, got none"):
        milliseconds(batches, "gated_mlp")


def test_milliseconds_are_read_from_what_the_benchmark_printed() -> None:
    printed = Path(__file__).parents[2] / "sweeps" / "results" / "gates_time.txt"
    for model in ("gated_mlp", "gated_cnn"):
        found = milliseconds(printed.read_text(encoding="utf-8"), model)
        assert [round(share, -1) for share in found] in ([10, 30, 50], [10, 20, 50])
        assert all(0 < of["dense"] < of["gated"] for of in found.values())


def test_the_figure_joins_the_shares_over_multiply_adds_and_over_milliseconds(
    gated: list[Row],
) -> None:
    left, right = figure(gated, milliseconds(TIMES, "gated_mlp")).axes
    curves = {of.get_label(): list(of.lines[0].get_xdata()) for of in left.containers}
    assert curves["st density"] == [100.0, 250.0] and curves[OPEN] == [1000.0]
    timed = {of.get_label(): list(of.lines[0].get_xdata()) for of in right.containers}
    assert timed["st density"] == [0.177, 0.273] and timed[DENSE] == [0.067, 0.113]
    assert RANDOM not in timed and UNTRAINED in timed


def test_gated_networks_of_another_task_have_no_such_table(gated: list[Row]) -> None:
    words = "task.name=structured"
    others = [replace(r, settings=f"{r.settings}; {words}", test_accuracy=None) for r in gated]
    assert beside_controls(gated) is not None and beside_controls(others) is None
