"""Table, caption and figure of an experiment, as functions of rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from matplotlib.colors import to_hex

from bnn.report.configurations import group_by_configuration
from bnn.report.document import caption, results_section
from bnn.report.dot_plot import dot_plot
from bnn.report.headline import BOUND, LOSS, headline
from bnn.report.numbers import spread
from bnn.report.reference import REPORTED, reported
from bnn.report.rows import ReportError, Row
from bnn.report.table import columns, table


def cells(rows: list[Row]) -> list[dict[str, str]]:
    """The table, read back: a dictionary a row, by the column's head."""
    head, _, *lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table(rows).splitlines()
    ]
    return [dict(zip(head, line, strict=True)) for line in lines]


def test_mean_and_sample_deviation_are_those_computed_by_hand(row: Callable[..., Row]) -> None:
    accuracies, losses = (0.981, 0.983, 0.985, 0.987), (0.01, 0.02, 0.03, 0.06)
    rows = [
        row(a, seed=s, test_loss=x) for s, (a, x) in enumerate(zip(accuracies, losses, strict=True))
    ]
    # sums of squares 2e-5 and 1.4e-3, divided by 3: sd 0.2582 points (0.2236 if divided by 4)
    # and 0.02160 nats
    [only] = cells(rows)
    assert only["test accuracy (%)"] == "98.40 ± 0.26"
    assert only["test loss (nats)"] == "0.0300 ± 0.0216"
    assert only["mean of 8 (%)"] == "98.50 ± 0.00"
    assert only["seeds"] == "4"
    assert spread(accuracies).sd == pytest.approx((2e-5 / 3) ** 0.5, rel=1e-12)


def test_one_seed_prints_no_spread_and_is_preliminary(row: Callable[..., Row]) -> None:
    alone, pair = [row(0.98)], [row(0.98, seed=0), row(0.97, seed=1)]
    assert cells(alone)[0]["seeds"] == "1 †"
    assert "±" not in results_section(alone, "x.png")
    assert "† Preliminary" in caption(alone)
    assert cells(pair)[0]["seeds"] == "2"
    assert "†" not in results_section(pair, "x.png")
    assert "± is the sample standard deviation" in caption(pair)


def test_a_net_without_stochastic_units_has_one_evaluation(row: Callable[..., Row]) -> None:
    nothing = dict.fromkeys(
        (
            "test_loss_mc_mean",
            "test_accuracy_mc_mean",
            "test_loss_threshold",
            "test_accuracy_threshold",
        )
    )
    [only] = cells([row(0.98, neuron="deterministic", **nothing)])
    assert (only["mean of 8 (%)"], only["threshold (%)"]) == ("–", "–")


def test_rows_come_real_then_stochastic_then_deterministic(rows: list[Row]) -> None:
    lines = [(c["neuron"], c["estimator"].split()[0], c["placement"]) for c in cells(rows)]
    assert lines[0] == ("real", "none", "none")
    assert lines[1:] == [
        (neuron, estimator, placement)
        for neuron in ("stochastic", "deterministic")
        for estimator in ("st", "reinforce", "frozen")
        for placement in ("first", "last", "both")
    ]


def test_different_data_sets_are_refused(row: Callable[..., Row]) -> None:
    with pytest.raises(
        ReportError, match="one data set, so that its rows compare; got digits, mnist"
    ):
        table([row(seed=0), row(seed=1, dataset="digits")])
    with pytest.raises(ReportError, match="got no rows"):
        table([])


def test_a_seed_that_comes_twice_is_refused(row: Callable[..., Row]) -> None:
    with pytest.raises(ReportError, match="each seed of a configuration once"):
        table([row(0.98, seed=1), row(0.97, seed=1)])


@pytest.mark.parametrize(
    ("field", "other", "head"),
    [
        ("optimizer", "adam lr 0.002 cosine", "optimizer"),
        ("epochs", 20, "epochs"),
        ("precision", "bf16", "precision"),
        ("norm", "group", "norm"),
        ("anneal", "linear", "anneal"),
        ("model", "mlp", "model"),
        ("law", "logistic", "law"),
        ("evaluation_samples", 16, "M"),
        (
            "settings",
            "data.limit=None; neuron.rescale_gradient=True; optimizer.momentum=0.9",
            "neuron.rescale_gradient",
        ),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_stay_apart_and_the_table_says_in_what(
    row: Callable[..., Row], field: str, other: object, head: str
) -> None:
    rows = [row(0.98, seed=0), row(0.97, seed=1), replace(row(0.96, seed=2), **{field: other})]
    assert sorted(c["seeds"] for c in cells(rows)) == ["1 †", "2"]
    assert len({c[head] for c in cells(rows)}) == 2
    assert head == "law" or head not in cells(rows[:2])[0]


def test_a_setting_that_goes_with_the_placement_needs_no_column(row: Callable[..., Row]) -> None:
    first = row(placement="first", settings="placement.layers=[0]")
    both = row(placement="both", settings="placement.layers=[0, -1]")
    assert "placement.layers" not in cells([first, both])[0]


def test_reported_numbers_stand_beside_frozen_and_are_marked_beside_reinforce(
    rows: list[Row],
) -> None:
    found = {(c["neuron"], c["estimator"].split()[0], c["placement"]): c for c in cells(rows)}
    assert len(REPORTED) == 13
    assert found["real", "none", "none"]["reported (%)"] == "98.79"
    assert found["stochastic", "frozen", "both"]["reported (%)"] == "80.68"
    assert found["stochastic", "frozen", "both"]["reported loss"] == "3.2085"
    assert found["stochastic", "reinforce", "both"]["reported (%)"] == "80.68 ‡"
    assert found["deterministic", "st", "last"]["reported loss"] == "0.0743"
    assert "‡ Published rows of this name" in caption(rows)


def test_reported_numbers_stand_beside_runs_of_their_own_protocol_only(rows: list[Row]) -> None:
    for change in (
        {"dataset": "fashion_mnist"},
        {"model": "mlp"},
        {"epochs": 2},
        {"optimizer": "sgd lr 0.05 cosine"},
        {"anneal": "cosine"},
        {"weights": "sign"},
        {"norm": "group"},
        {"settings": "anneal.slope=2.0"},
        {"settings": "data.limit=1000"},
        {"settings": "trainer.batch_size=512"},
    ):
        others = [replace(row, **change) for row in rows]
        assert "reported (%)" not in cells(others)[0]
        assert "‡" not in results_section(others, "x.png")


def test_straight_through_was_published_under_the_uniform_law_by_its_density(
    row: Callable[..., Row],
) -> None:
    assert reported(row()) is not None
    for change in ({"law": "gaussian"}, {"estimator_title": "st identity"}):
        assert reported(replace(row(), **change)) is None


def test_the_caption_names_what_the_rows_stand_on(row: Callable[..., Row]) -> None:
    rows = [
        row(seed=0),
        row(seed=1, commit="def456+", command="python -m bnn.train seed=1", seconds_total=1000.25),
    ]
    text = caption(rows)
    for fact in (
        "`mnist`",
        "epochs 10",
        "sgd lr 0.1 constant",
        "float32",
        "2 runs, 1,101 s in total",
        "1 thread a run",
        "AMD EPYC, 2 cores",
        "torch 2.15.0",
        "abc123, def456+ (+: with uncommitted changes)",
    ):
        assert fact in text
    block = text.split("```")[1]
    assert block == (
        "bash\npython -m bnn.train -m experiment=seed_table seed=0,1\npython -m bnn.train seed=1\n"
    )  # each command once


def test_the_figure_shows_every_seed_at_its_error(rows: list[Row]) -> None:
    axis = dot_plot(rows).axes[0]
    dots = [
        float(x)
        for drawn in axis.collections
        if drawn.get_sizes()[0] == 14
        for x in drawn.get_offsets()[:, 0]
    ]
    assert sorted(dots) == pytest.approx(sorted(100 * (1 - row.test_accuracy) for row in rows))
    assert axis.get_xscale() == "log"


def test_the_figure_puts_reported_numbers_on_their_own_rows_once(rows: list[Row]) -> None:
    axis = dot_plot(rows).axes[0]
    diamonds = [
        float(drawn.get_offsets()[0, 0]) for drawn in axis.collections if drawn.get_sizes()[0] == 48
    ]
    assert sorted(diamonds) == pytest.approx(sorted(100 - r.accuracy for r in REPORTED.values()))


def test_an_estimator_has_one_colour_and_two_have_two(rows: list[Row]) -> None:
    labels = dot_plot(rows).axes[0].get_yticklabels()
    colours = {
        name: {to_hex(label.get_color()) for label in labels if label.get_text().startswith(name)}
        for name in ("st density", "reinforce", "frozen")
    }
    assert [len(found) for found in colours.values()] == [1, 1, 1]
    assert len(set.union(*colours.values())) == 3


def test_a_net_without_errors_can_be_drawn(row: Callable[..., Row]) -> None:
    assert dot_plot([row(1.0), row(0.99, seed=1)]).axes[0].get_xscale() == "linear"


def test_a_configuration_is_summarised_over_its_seeds_only(rows: list[Row]) -> None:
    found = group_by_configuration(rows)
    assert len(found) == 19
    assert all([r.seed for r in c.rows] == [0, 1] for c in found)


def bounds(row: Callable[..., Row], **changed: Any) -> list[Row]:
    settings = "task.binarize=threshold; task.name=structured"
    values = {"test_accuracy_mc_mean": None, "test_accuracy_threshold": None, "val_accuracy": None}
    rows = [
        row(
            None,
            seed=seed,
            settings=settings,
            test_loss=60.0 + seed,
            test_loss_mc_mean=55.0 + seed,
            **{**values, **changed},
        )
        for seed in (0, 1)
    ]
    real = row(
        None, neuron="real", placement="none", estimator="none", estimator_title="none",
        settings=settings, test_loss=70.0,
        **{**values, "test_loss_mc_mean": None, "test_loss_threshold": None},
    )  # fmt: skip
    return [real, *rows]


def test_tasks_of_likelihoods_are_compared_by_the_bound_of_several_draws(
    row: Callable[..., Row],
) -> None:
    rows = bounds(row)
    metric = headline(rows)
    assert metric is BOUND and metric.title == "test bound (nats)"
    assert [metric.value(one) for one in rows] == [70.0, 55.0, 56.0], "units that do not draw"
    assert metric.gain(rows[1], rows[0]) == 15
    table = columns(group_by_configuration(rows))
    assert table["test bound (nats)"] == ["70.00", "55.50 ± 0.71"]
    assert table["one draw (nats)"] == ["70.00", "60.50 ± 0.71"] and "threshold (nats)" in table
    without = columns(group_by_configuration(bounds(row, test_loss_threshold=None)))
    assert "threshold (nats)" not in without
    assert "task structured binarize threshold" in caption(rows)
    drawn = [
        replace(one, settings="task.binarize=dynamic; task.name=structured", digest=f"d{k}")
        for k, one in enumerate(rows)
    ]
    both = "task structured binarize dynamic or threshold"
    assert both in caption([*rows, *drawn]) and both in caption([*drawn, *rows])
    assert "over 8 draws of the stochastic units" in caption(rows)
    other = [replace(one, settings="task.name=of_a_plug_in") for one in rows]
    assert headline(other) is LOSS


@pytest.mark.parametrize(
    "accuracy, anneal, is_far",
    [(0.8, "cosine", True), (0.93, "cosine", False), (0.8, "none", False)],
    ids=["far", "near", "beside a published result"],
)
def test_a_control_far_beyond_the_others_is_an_arrow_and_does_not_scale_the_axis(
    row: Callable[..., Row], accuracy: float, anneal: str, is_far: bool
) -> None:
    control = {"estimator": "frozen", "estimator_title": "frozen"}
    rows = [row(0.96, anneal=anneal), row(0.94, anneal=anneal, estimator_title="st identity")]
    rows += [row(accuracy, seed=s, anneal=anneal, **control) for s in (0, 1)]
    figure = dot_plot(rows)
    (axis,) = figure.axes
    assert [text.get_text() for text in axis.texts] == (["20.00 ⟶"] if is_far else [])
    low, high = axis.get_xlim()
    assert 0 < low < 4 and (6 < high < 7 if is_far else high > 7)
    marks = [text.get_text() for text in figure.legends[0].texts]
    assert ("mean beyond the axis" in marks) == is_far


def test_a_control_beside_one_other_configuration_is_no_arrow(row: Callable[..., Row]) -> None:
    control = {"estimator": "frozen", "estimator_title": "frozen", "anneal": "cosine"}
    axis = dot_plot([row(0.96, anneal="cosine"), row(0.5, **control)]).axes[0]
    assert not axis.texts and axis.get_xlim()[1] > 50
