"""Numbers with their 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """Number with its 95 % confidence interval.

    Args:
        value: point estimate.
        low: lower end of the interval; -inf where the data do not support one.
        high: upper end of the interval, likewise.
    """

    value: float
    low: float
    high: float

    @classmethod
    def point(cls, value: float) -> Estimate:
        """Number without a width: both ends are the value."""
        return cls(value, value, value)

    def transform(self, increasing: Callable[[float], float]) -> Estimate:
        """Estimate of an increasing function of the number."""
        return Estimate(increasing(self.value), increasing(self.low), increasing(self.high))

    def __str__(self) -> str:
        """`value [low, high]`, rounded by the interval's width; `–` where one is not finite."""
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            return "–"
        width = self.high - self.low
        if width <= 1e-9 * abs(self.value):
            return f"{self.value:.3f}"
        digits = min(6, max(0, 1 - math.floor(math.log10(width / 2))))
        value, low, high = (f"{number:.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"
