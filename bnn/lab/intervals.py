"""95 % confidence intervals of means, of variances, of squared distances between means, of angles.

A squared distance between two means is estimated with the noise of both taken off; near 0 its error
is that of a sum of squares, and far from 0 that of a mean. Its interval holds every value under
which the observed distance is not in a tail. The distribution under a value is approximated by a
gamma distribution of the same first three cumulants, which follow from the traces of the covariance
and of its powers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special
from torch import Tensor

from bnn.lab.estimate import Estimate
from bnn.lab.moments import Traces, variance_of_sum

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
RESAMPLES = 1000
"""Resamples of the bootstrap."""
FARTHEST = 8
"""Standard errors at which a bootstrap is cut: a resample without a large number has hardly any."""


def student(dof: float) -> float:
    """Quantile of Student's t that leaves TAIL above it."""
    return float(special.stdtrit(min(dof, 1e6), 1 - TAIL))


def estimate_of_sum(value: float, *parts: Tensor, twice: float = 0.0) -> Estimate:
    """Estimate of a sum of independent means, by Student's t.

    Args:
        value: the sum.
        parts: for each mean its numbers about it, [n].
        twice: variance that is contained in two of the parts.
    """
    variance, dof = variance_of_sum(*parts)
    half = student(dof) * math.sqrt(max(variance - twice, variance / 2))
    return Estimate(value, value - half, value + half)


def estimate_of_mean(numbers: Tensor) -> Estimate:
    """Estimate of the mean of independent numbers, [draws]."""
    return estimate_of_sum(float(numbers.mean()), numbers - numbers.mean())


def estimate_of_positive_sum(value: float, *parts: Tensor) -> Estimate:
    """Estimate of a positive sum of means, by its logarithm.

    The interval is that of a studentised bootstrap of the first part (Hall 1988, Theoretical
    comparison of bootstrap confidence intervals); the other parts widen it.

    Args:
        value: the sum.
        parts: for each mean its numbers about it, [n].
    """
    if value <= 0:
        return Estimate.point(value)
    n, drawn = len(parts[0]), parts[0].cpu().numpy() / value + 1
    error = math.sqrt(variance_of_sum(*parts)[0]) / value
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    means = np.maximum(counts @ drawn / n, 1e-12)
    errors = np.sqrt(np.maximum(counts @ drawn**2 / n - means**2, 0) / n) / means
    t = np.log(means) / np.maximum(errors, 1e-12)
    low, high = np.clip(np.quantile(t, [TAIL, 1 - TAIL]), -FARTHEST, FARTHEST)
    return Estimate(
        value,
        value * math.exp(-min(max(high, 0) * error, 80)),
        value * math.exp(min(-min(low, 0) * error, 80)),
    )


@dataclass(frozen=True)
class _SquaredNorm:
    """Sampling distribution of the squared norm of a mean, as a gamma distribution (Pearson 1959).

    Args:
        observed: squared norm of the mean, including its noise.
        trace: trace of the mean's covariance.
        trace2: trace of its square.
        along: variance of the mean along itself, widened by the degrees of freedom of its estimate.
    """

    observed: float
    trace: float
    trace2: float
    along: float

    def below(self, limit: float, true: float, trace3: float) -> float:
        """Probability of a squared norm of at most `limit`, where the expectation's is `true`."""
        second = max(4 * true * self.along + 2 * self.trace2, 1e-30 * self.observed**2)
        third = max(24 * true * self.along**2 + 8 * trace3, 1e-6 * second**1.5)
        unit, degrees = third / second / 4, 8 * second**3 / third**2
        return float(special.chdtr(degrees, max((limit - true - self.trace) / unit + degrees, 0)))

    def end(self, share: float, trace3: float) -> float:
        """True square under which a squared norm of at most `observed` has probability `share`.

        Below 0 where no square is small enough: the distance of `observed` from that quantile at 0.
        """
        observed, step = self.observed, self.observed + self.trace
        if self.below(observed, 0.0, trace3) <= share:
            quantile = root(lambda limit: self.below(limit, 0.0, trace3) - share, observed, step)
            return observed - quantile
        return root(lambda true: share - self.below(observed, true, trace3), 0.0, step)


def estimate_of_square(observed: float, noise: Traces, variance: float, dof: float) -> Estimate:
    """Estimate of the squared norm of an expectation, free of noise; may come out below 0.

    Args:
        observed: squared norm of the mean, including its noise.
        noise: traces of the mean's covariance and of its powers.
        variance: variance of the squared norm, by its derivative at the mean.
        dof: degrees of freedom of `variance`.
    """
    value = observed - noise[0]
    exact = noise[0] <= 1e-24 * observed and variance <= 1e-24 * observed**2
    if observed <= 0 or exact:
        return Estimate.point(value)
    first, square, cube = noise
    along = variance / (4 * observed) * (student(dof) / student(math.inf)) ** 2
    norm = _SquaredNorm(observed, first, square, along)
    # a few dimensions of much noise lengthen the upper tail, which the third cumulant describes;
    # of the lower tail, blurred by the other dimensions, the square alone is a bound
    low, high = norm.end(1 - TAIL, cube), norm.end(TAIL, square**2 / max(first, 1e-300))
    return Estimate(value, low, high)


def root(function: Callable[[float], float], low: float, step: float) -> float:
    """Root of an increasing function that is at most 0 at `low`, by bisection.

    Args:
        function: the increasing function.
        low: where the search begins.
        step: first step upwards, doubled until the root is passed.
    """
    high = low + step
    while function(high) < 0 and step < 1e300:
        step *= 2
        low, high = high, high + step
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


def estimate_of_cosine(along: Estimate, across: Estimate, correlation: float) -> Estimate:
    """Estimate of the cosine of a vector's angle to an axis, by recovered variances.

    The two intervals are combined as in Zou & Donner 2008 (Construction of confidence limits about
    effect measures), which does not assume that either is symmetric.

    The interval holds the cosines of those directions across which the vector may have no length,
    and along which it may have one.

    Args:
        along: component of the vector along the axis.
        across: length of the vector across the axis, at least 0.
        correlation: correlation of the errors of both.
    """
    angle = np.linspace(0, math.pi, 4001)
    sin, cos = np.sin(angle), np.cos(angle)
    met = along.value * sin - across.value * cos
    down, up = along.value - along.low, along.high - along.value
    nearer, farther = across.value - across.low, across.high - across.value

    def reach(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(one**2 + other**2 + 2 * correlation * one * other, 0))

    low = met - reach(down * sin, -cos * np.where(cos > 0, farther, nearer))
    high = met + reach(up * sin, -cos * np.where(cos > 0, nearer, farther))
    limit = reach(cos * np.where(cos > 0, up, down), farther * sin)
    ahead = along.value * cos + across.value * sin + limit
    norm = math.hypot(along.value, across.value)
    value = along.value / norm if norm else math.nan
    slack = 1e-12 * norm
    kept = cos[(low <= slack) & (high >= -slack) & (ahead >= 0)]
    least, largest = float(kept.min(initial=value)), float(kept.max(initial=value))
    return Estimate(value, min(value, least), max(value, largest))
