"""Numbers with their spread over seeds: standard deviation, Student's interval, range, and text."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bnn.tables import BLANK

LEVEL = 0.95


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation.

    Args:
        mean: mean over seeds.
        sd: standard deviation with n - 1 in the denominator; None for one seed.
    """

    mean: float
    sd: float | None


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one value."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


def format_spread(value: Spread | None, digits: int, scale: float = 1.0) -> str:
    """Text such as `98.29 ± 0.05`: without the deviation for one seed, a dash for None.

    A mean that rounds to zero has no sign.

    Args:
        value: number to write.
        digits: printed behind the point.
        scale: factor between the number and the unit it is written in.
    """
    if value is None:
        return BLANK
    mean = f"{scale * value.mean:z.{digits}f}"
    return mean if value.sd is None else f"{mean} ± {scale * value.sd:.{digits}f}"


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval | None:
    """Student's 95 % interval, mean ± t(n - 1) · s / √n; None for less than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    quantile = float(t.ppf((1 + LEVEL) / 2, len(values) - 1))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def format_interval(value: Interval | None, sign: str = "", digits: int = 2) -> str:
    """Text such as `98.42 [98.05, 98.79]`; a dash for None.

    Args:
        value: interval to write.
        sign: `+` where positive numbers have their sign too.
        digits: printed behind the point.
    """
    if value is None:
        return BLANK
    mean, low, high = (f"{one:{sign}.{digits}f}" for one in (value.mean, value.low, value.high))
    return f"{mean} [{low}, {high}]"


@dataclass(frozen=True)
class Range:
    """Mean of some values, with the lowest and the highest of them."""

    mean: float
    low: float
    high: float


def value_range(values: Sequence[float]) -> Range:
    """Mean, lowest and highest of at least one value."""
    low, high = min(values), max(values)
    # the mean of equal values can round past them
    return Range(min(max(sum(values) / len(values), low), high), low, high)
