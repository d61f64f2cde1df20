"""Numbers with their spread: estimates, and their text."""

from __future__ import annotations

import pytest

from bnn.report.numbers import (
    Interval,
    Range,
    Spread,
    format_interval,
    format_spread,
    interval,
    spread,
    value_range,
)


@pytest.mark.parametrize(
    "value, text",
    [
        (Spread(0.98294, 0.00052), "98.29 ± 0.05"),
        (Spread(0.98294, None), "98.29"),
        (Spread(-1e-8, 1e-7), "0.00 ± 0.00"),
        (None, "–"),
    ],
)
def test_a_spread_is_written_as_mean_and_deviation(value: Spread | None, text: str) -> None:
    assert format_spread(value, 2, 100) == text


@pytest.mark.parametrize(
    "value, sign, text",
    [
        (Interval(98.42, 98.05, 98.79), "", "98.42 [98.05, 98.79]"),
        (Interval(0.2, -0.1, 0.5), "+", "+0.20 [-0.10, +0.50]"),
        (None, "+", "–"),
    ],
)
def test_an_interval_is_written_as_mean_and_ends(
    value: Interval | None, sign: str, text: str
) -> None:
    assert format_interval(value, sign) == text


def test_the_interval_is_students() -> None:
    """For n = 4: t = 3.182446 (tables), s = 1.290994."""
    found = interval([1.0, 2.0, 3.0, 4.0])
    assert found is not None and found.mean == 2.5
    half = pytest.approx(3.182446 * 1.290994 / 2, rel=1e-6)
    assert found.high - 2.5 == half and 2.5 - found.low == half


def test_one_value_has_no_deviation_and_no_interval() -> None:
    assert spread([2.0]) == Spread(2.0, None) and interval([2.0]) is None


def test_the_mean_of_equal_values_lies_in_their_range() -> None:
    """As a sum over a count it can round past them."""
    assert sum([0.1] * 3) / 3 != 0.1, "the case that must fail without care"
    assert value_range([0.1] * 3) == Range(0.1, 0.1, 0.1)
