"""Metrics by epoch over seeds: means, bands, the runs they are of, and their figures."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from bnn.report.configurations import group_by_configuration
from bnn.report.histories import (
    band,
    error_percent,
    last_spread,
    layer_names,
    without_metrics,
)
from bnn.report.html.epoch_figures import HEALTH, layer_figures, learning_figures
from bnn.report.html.panels import shared_scale
from bnn.report.rows import Row


@pytest.fixture
def three(row: Callable[..., Row]):
    """One configuration of three seeds; a run is named for its seed."""
    [only] = group_by_configuration([row(seed=seed, run_id=f"run{seed}") for seed in (1, 2, 3)])
    return only


def test_a_band_is_the_mean_the_lowest_and_the_highest_seed_of_each_epoch(three) -> None:
    histories = {
        f"run{s}": {"val/loss": {1: x, 2: x / 2}} for s, x in ((1, 0.1), (2, 0.2), (3, 0.6))
    }
    made = band(three, histories, "val/loss")
    assert made is not None and made.epochs == (1, 2) and made.runs == ("run1", "run2", "run3")
    assert made.mean == pytest.approx((0.3, 0.15))
    assert made.low == (0.1, 0.05) and made.high == (0.6, 0.3)


def test_an_epoch_that_not_every_seed_has_is_left_out_so_that_a_mean_is_of_the_same_runs_throughout(
    three,
) -> None:
    histories = {
        "run1": {"a": {1: 1.0, 2: 1.0}},
        "run2": {"a": {1: 3.0, 2: math.nan, 3: 5.0}},
        "run3": {"a": {1: 5.0, 2: 1.0}},
    }
    made = band(three, histories, "a")
    assert made is not None and (made.epochs, made.mean) == ((1,), (3.0,))


def test_a_seed_without_the_metric_is_not_among_the_runs_that_the_band_names(three) -> None:
    made = band(
        three, {"run1": {"a": {1: 2.0}}, "run2": {"b": {1: 9.0}}, "run3": {"a": {1: 4.0}}}, "a"
    )
    assert made is not None and made.runs == ("run1", "run3") and made.mean == (3.0,)
    assert band(three, {"run2": {"b": {1: 9.0}}}, "a") is None
    assert band(three, {"run1": {"a": {1: math.inf}}}, "a") is None


def test_the_worst_accuracy_is_the_highest_error(three) -> None:
    histories = {f"run{s}": {"a": {1: x}} for s, x in ((1, 0.9), (2, 0.95), (3, 1.0))}
    made = band(three, histories, "a", error_percent)
    assert (
        made is not None
        and made.low == (0,)
        and made.high == pytest.approx((10,))
        and made.mean == pytest.approx((5,))
    )


def test_the_numbers_at_the_end_are_of_the_last_epoch_that_all_seeds_have(three) -> None:
    histories = {f"run{s}": {"a": {1: 0.0, 2: float(s)}} for s in (1, 2, 3)}
    histories["run1"]["a"][3] = 100.0
    found = last_spread(three, histories, "a", lambda value: 10 * value)
    assert found is not None and found.mean == 20 and found.sd == 10


def test_layers_are_those_of_any_run_and_a_run_without_any_is_told(
    three, row: Callable[..., Row]
) -> None:
    histories = {
        "run2": {"units/act2/dead": {1: 0.0}, "units/act1/dead": {1: 0.0}, "val/loss": {1: 0.0}}
    }
    assert layer_names(three, histories, "units") == ["act1", "act2"]
    assert without_metrics([three], histories, "units") == [] and without_metrics(
        [three], histories, "lab"
    ) == [three]


def test_axes_hold_every_band_and_are_linear_where_a_value_is_not_positive(three) -> None:
    made = [band(three, {"run1": {"a": {1: x}}}, "a") for x in (0.01, 5.0)]
    both = shared_scale("x", [one for one in made if one], log=True)
    assert both.log and both.low < 0.01 and both.high > 5
    zero = [band(three, {"run1": {"a": {1: 0.0}}}, "a")]
    flat = shared_scale("x", [one for one in zero if one], log=True)
    assert not flat.log and flat.low < 0 < flat.high


@pytest.fixture
def drawn(row: Callable[..., Row]):
    """Two configurations of two seeds with both kinds of metrics, and their histories."""
    rows = [row(seed=s, run_id=f"{p}{s}", placement=p) for p in ("first", "both") for s in (1, 2)]
    found = group_by_configuration(rows)
    histories = {}
    for k, r in enumerate(rows, 1):
        names = ("act1",) if r.placement == "first" else ("act1", "act2")
        units = {f"units/{name}/{m.key}": {1: k / 10, 2: k / 20} for name in names for m in HEALTH}
        parts = {
            f"{part}/{key}": {1: k / 10, 2: k / 20}
            for part in ("train", "val")
            for key in ("loss", "accuracy")
        }
        histories[r.run_id] = parts | units
    return found, histories


def values(axis) -> list[list[float]]:
    """Values of the lines in front."""
    return [
        list(map(float, line.get_ydata())) for line in axis.get_lines() if line.get_zorder() == 3
    ]


def test_a_curve_is_drawn_from_all_seeds_and_no_line_is_of_one(drawn) -> None:
    found, histories = drawn
    made = learning_figures(found, histories)
    first = next(c for c in found if c.first.placement == "first")
    loss, wrong = made[first].figure.axes
    assert (
        values(loss) == [pytest.approx([0.15, 0.075])] * 2
    )  # seeds have 0.1 and 0.2, then half of it
    assert values(wrong) == [pytest.approx([85, 92.5])] * 2
    edges = loss.collections[0].get_paths()[0].vertices
    assert {(float(x), round(float(y), 6)) for x, y in edges} >= {
        (1, 0.1),
        (1, 0.2),
        (2, 0.05),
        (2, 0.1),
    }
    assert made[first].runs == {"first1", "first2"}


def test_all_figures_of_a_section_share_their_axes_and_a_layer_looks_the_same_in_each(
    drawn,
) -> None:
    found, histories = drawn
    made = layer_figures(found, histories, "units", HEALTH)
    one, other = (each.figure.axes for each in made.values())
    assert [a.get_ylim() for a in one] == [a.get_ylim() for a in other] and one[
        0
    ].get_xlim() == other[0].get_xlim()
    colours = [[line.get_color() for line in axes[0].get_lines()] for axes in (one, other)]
    assert sorted(map(len, colours)) == [1, 2] and colours[0][0] == colours[1][0]
    assert len({colour for each in colours for colour in each}) == 2


def test_others_of_the_same_units_and_placement_stand_in_grey(
    drawn, row: Callable[..., Row]
) -> None:
    _, histories = drawn
    rows = [
        row(seed=1, run_id="first1", placement="first"),
        row(
            seed=1, run_id="first2", placement="first", estimator="frozen", estimator_title="frozen"
        ),
        row(seed=1, run_id="both1", placement="both"),
    ]
    made = learning_figures(group_by_configuration(rows), histories)
    behind = {
        c.first.run_id: [line for line in each.figure.axes[0].get_lines() if line.get_zorder() == 1]
        for c, each in made.items()
    }
    assert {run: len(lines) for run, lines in behind.items()} == {
        "first1": 1,
        "first2": 1,
        "both1": 0,
    }
    assert list(behind["first1"][0].get_ydata()) == [0.2, 0.1]


def test_a_configuration_without_the_metrics_has_no_figure(drawn) -> None:
    found, histories = drawn
    assert (
        len(
            learning_figures(
                found, {run: h for run, h in histories.items() if run.startswith("both")}
            )
        )
        == 1
    )
    assert (
        learning_figures(found, {}) == {} and layer_figures(found, histories, "lab", HEALTH) == {}
    )


def test_a_metric_that_no_run_has_is_not_drawn(drawn) -> None:
    """The runs of a task without an accuracy have curves of their loss alone."""
    found, histories = drawn
    losses = {
        run: {key: of for key, of in each.items() if "accuracy" not in key}
        for run, each in histories.items()
    }
    assert all(len(one.figure.axes) == 1 for one in learning_figures(found, losses).values())
    assert all(len(one.figure.axes) == 2 for one in learning_figures(found, histories).values())
