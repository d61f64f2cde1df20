"""Paired differences: intervals, verdicts, and the rows that are compared."""

from __future__ import annotations

import math

import pytest

from bnn.report.differences import (
    Reference,
    default_reference,
    difference_table,
    differences,
    verdict,
)
from bnn.report.numbers import Interval
from bnn.report.rows import ReportError, Row

FROZEN = {"estimator": "frozen", "estimator_title": "frozen"}


@pytest.mark.parametrize(
    "low, high, margin, word",
    [
        (0.2, 0.4, 0.1, "better by more than 0.1"),
        (0.05, 0.4, 0.1, "better"),
        (-0.4, -0.2, 0.1, "worse by more than 0.1"),
        (-0.4, -0.05, 0.1, "worse"),
        (-0.05, 0.09, 0.1, "equal within 0.1"),
        (0.01, 0.09, 0.1, "equal within 0.1"),
        (-0.05, 0.3, 0.1, "undecided"),
        (0.2, 0.4, 0.0, "better"),
        (-0.1, 0.1, 0.0, "undecided"),
    ],
)
def test_a_verdict_follows_from_interval_and_margin(
    low: float, high: float, margin: float, word: str
) -> None:
    assert verdict(Interval((low + high) / 2, low, high), margin) == word


def test_pairing_takes_out_what_seeds_have_in_common(row) -> None:
    """Seeds differ by whole points, the estimators by 0.2 on each, which pairing alone shows."""
    rows = [row(0.95 + 0.01 * seed, seed=seed, **FROZEN) for seed in range(4)]
    rows += [row(0.952 + 0.01 * seed + 1e-5 * (-1) ** seed, seed=seed) for seed in range(4)]
    text = difference_table(rows, Reference.parse("estimator=frozen", 0.1))
    assert "+0.20 [" in text and "better by more than 0.1" in text and "margin 0.1 points" in text
    assert text.count("reference") == 1


def test_only_common_seeds_are_compared(row) -> None:
    rows = [
        row(0.9, seed=0, **FROZEN),
        row(0.9, seed=1, **FROZEN),
        row(0.93, seed=1),
        row(0.99, seed=2),
    ]
    assert "too few seeds" in difference_table(rows, Reference.parse("estimator=frozen", 0))
    rows.append(row(0.95, seed=0))
    assert "+4.00 [" in difference_table(rows, Reference.parse("estimator=frozen", 0))


def test_a_configuration_meets_the_reference_of_its_own_neuron_and_placement(row) -> None:
    rows = [
        row(base + gain + 1e-4 * seed, seed=seed, neuron=neuron, placement=placement, **kind)
        for neuron, base in (("stochastic", 0.8), ("deterministic", 0.9))
        for placement, gain in (("first", 0.01), ("last", 0.03))
        for kind in (FROZEN, {})
        for seed in (0, 1)
    ]
    assert difference_table(rows, Reference.parse("estimator=frozen", 0)).count("+0.00 [") == 4


@pytest.mark.parametrize("words", ["frozen", "colour=red", "estimator=", "seed=0"])
def test_a_reference_is_a_field_and_a_value(words: str) -> None:
    with pytest.raises(ReportError, match=r"FIELD=VALUE"):
        Reference.parse(words, 0.1)


def test_a_margin_is_not_negative() -> None:
    for margin in (-0.1, math.inf, math.nan):
        with pytest.raises(ReportError, match="margin"):
            Reference.parse("estimator=st", margin)


def test_a_reference_that_is_not_there_or_not_one_is_refused(row) -> None:
    with pytest.raises(ReportError, match=r"estimator=none.*st"):
        difference_table([row(seed=0), row(seed=1)], Reference.parse("estimator=none", 0))
    two = [
        row(seed=0),
        row(seed=0, settings="data.limit=5; neuron.rescale_gradient=False; optimizer.momentum=0.9"),
    ]
    with pytest.raises(ReportError, match="several"):
        difference_table(two, Reference.parse("estimator=st", 0))


def test_a_setting_can_name_the_reference(row) -> None:
    """No field tells a constant slope of 1 from one of 4: both are anneal=none."""
    slopes = {"1.0": 0.97, "4.0": 0.98}
    rows = [
        row(a + seed / 1000, seed=seed, settings=f"anneal.slope={s}")
        for s, a in slopes.items()
        for seed in (1, 2, 3)
    ]
    with pytest.raises(ReportError, match="several configurations"):
        difference_table(rows, Reference.parse("anneal=none", 0.1))
    table = difference_table(rows, Reference.parse("anneal.slope=1.0", 0.1))
    assert "+1.00 [+1.00, +1.00]" in table and "better by more than 0.1" in table
    with pytest.raises(ReportError, match=r"anneal\.slope is 1\.0, 4\.0"):
        difference_table(rows, Reference.parse("anneal.slope=2.0", 0.1))


def test_straight_through_is_the_reference_where_there_is_one(rows: list[Row], row) -> None:
    assert default_reference(rows, 0.1) == Reference("estimator", "st", 0.1)
    two = [
        row(seed=s, estimator_title=title)
        for title in ("st density", "st identity")
        for s in (0, 1)
    ]
    assert default_reference(two, 0) == Reference("estimator_title", "st density", 0)
    assert "+0.00" in difference_table(two, Reference.parse("estimator_title=st density", 0))


def test_there_is_no_default_reference_without_another_to_compare_or_without_a_single_one(
    row,
) -> None:
    alone = [row(seed=0), row(seed=1)]
    slopes = [row(seed=s, settings=f"anneal.slope={k}") for k in (1, 4) for s in (0, 1)]
    others = [row(seed=s, **FROZEN) for s in (0, 1)]
    elsewhere = [*alone, *(row(seed=s, placement="first", **FROZEN) for s in (0, 1))]
    assert [default_reference(some, 0) for some in (alone, slopes, others, elsewhere)] == [None] * 4
    assert default_reference([*alone, *others], 0) is not None


def test_a_difference_names_the_runs_at_common_seeds_alone(row) -> None:
    rows = [
        row(0.9, seed=0, **FROZEN),
        row(0.9, seed=1, **FROZEN),
        row(0.93, seed=1),
        row(0.99, seed=2),
    ]
    frozen, st = sorted(
        differences(rows, Reference("estimator", "frozen", 0)), key=lambda one: not one.is_reference
    )
    assert [(a.seed, b.seed) for a, b in st.pairs()] == [(1, 1)]
    assert st.base == frozen.configuration and st.interval is None and frozen.is_reference
