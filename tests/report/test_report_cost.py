"""Cost figures, and the names and marker styles that tell configurations apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from matplotlib.colors import to_hex

from bnn.report.configurations import group_by_configuration
from bnn.report.cost import COSTS, cost_and_error, known_costs
from bnn.report.cost_plot import cost_plot, marker_styles
from bnn.report.display_names import full_names, placement_name, plot_text, short_names
from bnn.report.html.sections import cost_section
from bnn.report.numbers import Range
from bnn.report.rows import Row
from bnn.report.table import columns

EVALUATIONS, SECONDS, MULTIPLY_ADDS = COSTS


def test_the_cost_is_evaluations_a_step_times_epochs_and_the_seconds_of_the_updates(
    row: Callable[..., Row],
) -> None:
    rows = [
        row(0.9, seed=1, evaluations=4, epochs=3, seconds_train=10, seconds_total=99),
        row(0.96, seed=2, evaluations=4, epochs=3, seconds_train=30, seconds_total=99),
    ]
    found = group_by_configuration(rows)
    [(evaluations, error)], [(seconds, _)] = (
        cost_and_error(found, name).values() for name in (EVALUATIONS, SECONDS)
    )
    assert evaluations == Range(12, 12, 12) and seconds == Range(20, 10, 30)
    assert (error.mean, error.low, error.high) == pytest.approx((7, 4, 10))


def test_a_point_is_drawn_at_the_means_with_bars_to_the_lowest_and_the_highest_seed(
    row: Callable[..., Row],
) -> None:
    found = group_by_configuration(
        [row(0.9, seed=1, seconds_train=10), row(0.96, seed=2, seconds_train=30)]
    )
    [bars] = cost_plot(found, "stochastic", SECONDS).axes[0].containers
    assert [float(v[0]) for v in bars.lines[0].get_data()] == pytest.approx([20, 7])
    ends = {
        tuple(map(float, end))
        for drawn in bars.lines[2]
        for end in drawn.get_segments()[0].round(9)
    }
    assert ends == {(10, 7), (30, 7), (20, 4), (20, 10)}


def test_a_neuron_has_its_own_figure_with_the_real_valued_beside_it_on_the_axes_of_all(
    rows: list[Row],
) -> None:
    found = group_by_configuration(rows)
    made = {
        neuron: cost_plot(found, neuron, SECONDS).axes[0]
        for neuron in ("stochastic", "deterministic")
    }
    assert [len(axis.containers) for axis in made.values()] == [
        10,
        10,
    ]  # 9 cells each and the real-valued network
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in made.values()}) == 1


def test_colour_tells_the_estimator_and_the_marker_the_placement(rows: list[Row]) -> None:
    found = group_by_configuration(rows)
    look = marker_styles(found)
    for key, of in (
        ("color", lambda c: c.first.estimator),
        ("marker", lambda c: c.first.placement),
    ):
        pairs = {(of(c), look[c][key]) for c in found}
        assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    assert to_hex(str(look[found[0]]["color"])) == "#444444"


def test_more_estimators_than_colours_still_look_different(row: Callable[..., Row]) -> None:
    found = group_by_configuration(
        [row(estimator=f"e{k}", estimator_title=f"e{k} 0.5") for k in range(18)]
    )
    assert len({(one["color"], one["fillstyle"]) for one in marker_styles(found).values()}) == 18


@pytest.mark.integration
def test_no_figure_of_evaluations_is_drawn_where_all_cost_the_same(
    rows: list[Row], row: Callable[..., Row]
) -> None:
    same = group_by_configuration(
        [row(seed=s, placement=p) for p in ("first", "both") for s in (0, 1)]
    )
    more = group_by_configuration(
        [replace(r, evaluations=4 if r.estimator == "reinforce" else 1) for r in rows]
    )
    assert (
        cost_section(same).body.count("<img") == 1
        and "equally many evaluations" in cost_section(same).body
    )
    assert (
        cost_section(more).body.count("<img") == 4
        and "equally many evaluations" not in cost_section(more).body
    )


def test_seconds_of_several_machines_are_said_not_to_compare(row: Callable[..., Row]) -> None:
    here, there = row(seed=0), row(seed=1, hardware="another")
    assert "do not compare" in cost_section(group_by_configuration([here, there])).body
    assert "do not compare" not in cost_section(group_by_configuration([here])).body


ARMS = {
    "geometric": ("sgd lr 0.1 cosine", "anneal.rate=1.1; anneal.start=1.0"),
    "linear": ("sgd lr 0.2 cosine", "anneal.start=1.0; anneal.step=0.04"),
    "none": ("sgd lr 0.3 cosine", "anneal.slope=1.0"),
}


def test_a_short_name_has_no_more_than_tells_configurations_apart(row: Callable[..., Row]) -> None:
    arms = [row(seed=1, anneal=anneal, optimizer=o, settings=s) for anneal, (o, s) in ARMS.items()]
    found = group_by_configuration(arms)
    assert short_names(found) == ["geometric", "linear", "anneal none"]
    assert full_names(found)[0] == "st density, geometric, sgd lr 0.1 cosine"
    steeper = row(seed=1, anneal="none", optimizer="sgd lr 0.3 cosine", settings="anneal.slope=5.0")
    assert short_names(group_by_configuration([*arms, steeper]))[2:] == [
        "anneal none, slope 1.0",
        "anneal none, slope 5.0",
    ]
    assert (
        full_names(group_by_configuration([*arms, steeper]))[3]
        == "st density, anneal none, sgd lr 0.3 cosine, slope 5.0"
    )


def test_a_short_name_of_a_real_valued_network_says_so(row: Callable[..., Row]) -> None:
    real = {"neuron": "real", "estimator": "none", "estimator_title": "none", "placement": "none"}
    objectives = [row(settings=f"task.name=gan; task.objective={name}") for name in ("gan", "wgan")]
    found = group_by_configuration([*objectives, row(settings=objectives[0].settings, **real)])
    assert short_names(found) == ["real-valued, objective gan", "objective gan", "objective wgan"]


def test_a_short_name_tells_configurations_of_one_place_apart(
    rows: list[Row], row: Callable[..., Row]
) -> None:
    laws = [
        row(optimizer=o, law=law)
        for o in ("sgd lr 1", "adam lr 1")
        for law in ("logistic", "uniform")
    ]
    some_more = [*rows, row(seed=1, settings="data.limit=5")]
    for some in (rows, some_more, laws, [row(seed=1)], [row(epochs=e) for e in (1, 2)]):
        found = group_by_configuration(some)
        assert len(
            {(placement_name(c), name) for c, name in zip(found, short_names(found), strict=True)}
        ) == len(found)
        assert all(short_names(found))


def test_what_a_figure_takes_is_text_in_one_line_and_no_formula() -> None:
    assert plot_text("a\n b\x00c$\\frac$") == r"a b c\$\frac\$"
    assert len(plot_text("x" * 5000)) == 80


@pytest.mark.parametrize("accuracy", [0.9804, 0.9823, 0.1009, 0.1028, 1.0])
def test_seeds_of_one_accuracy_have_bars_of_no_length(
    row: Callable[..., Row], accuracy: float
) -> None:
    """Their mean, as a sum over a count, can round past them all."""
    found = group_by_configuration([row(accuracy, seed=seed) for seed in (1, 2, 3)])
    for name in (EVALUATIONS, SECONDS):
        ((_, errors),) = cost_and_error(found, name).values()
        assert errors.low == errors.mean == errors.high
        cost_plot(found, "stochastic", name)


def test_multiply_adds_are_a_cost_where_every_run_has_them(row: Callable[..., Row]) -> None:
    gated = [
        row(0.9, seed=seed, further=f"multiply_adds={thousands}000.0; open=0.25")
        for seed, thousands in ((1, 400), (2, 500))
    ]
    assert known_costs(gated) == [EVALUATIONS, SECONDS, MULTIPLY_ADDS]
    found = group_by_configuration(gated)
    ((cost, _),) = cost_and_error(found, MULTIPLY_ADDS).values()
    assert cost == Range(450, 400, 500)
    assert MULTIPLY_ADDS in str(cost_section(found).body)
    table = columns(found)
    assert table["open (%)"] == ["25.0 ± 0.0"] and table["multiply-adds (k)"] == ["450 ± 71"]
    other = row(0.9, seed=3)
    assert known_costs([*gated, other]) == [EVALUATIONS, SECONDS]
    assert "multiply-adds (k)" not in columns(group_by_configuration([other]))
