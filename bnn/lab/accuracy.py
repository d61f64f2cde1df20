"""Bias, variance and cosine of gradient estimates, without the noise of their own measurement.

Estimates are compared with a reference gradient that was drawn independently of them: a product of
the two has no noise that would pass for bias. All numbers are relative to the squared norm of the
true gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from bnn.lab.estimate import Estimate
from bnn.lab.intervals import (
    estimate_of_cosine,
    estimate_of_positive_sum,
    estimate_of_square,
    estimate_of_sum,
)
from bnn.lab.moments import Sample, shared_variance, traces, variance_of_sum


@dataclass(frozen=True)
class Accuracy:
    """Accuracy of one layer's estimates g of the true gradient G, with 95 % intervals.

    Args:
        squared_bias: |E g - G|² / |G|², without the noise of the means; it and its interval can
            come out below 0.
        variance: E |g - E g|² / |G|², of one estimate.
        cosine: mean cosine of one estimate with G.
        cosine_of_mean: cosine of E g with G; below 1 where the bias is more than one of scale.
        length_of_mean: |E g| / |G|; 0 where its square comes out below 0.
    """

    squared_bias: Estimate
    variance: Estimate
    cosine: Estimate
    cosine_of_mean: Estimate
    length_of_mean: Estimate


def accuracy(estimates: Tensor, groups: Tensor) -> Accuracy:
    """Accuracy of estimates of a vector; the intervals have the noise of both arguments.

    Args:
        estimates: independent estimates, [draws, numbers].
        groups: independent and unbiased values of the vector, [groups, numbers]; one is exact.

    Returns:
        Numbers without intervals where the norm of the vector is compatible with 0; NaN where its
        square comes out at most 0.
    """
    reference = Sample(groups)
    if reference.squared_norm <= 0:  # the reference is all noise, or the gradient is zero
        return Accuracy(*[Estimate.point(math.nan)] * 5)
    relative = _Relative(estimates, Sample(estimates), reference)
    found = Accuracy(
        relative.distance(1.0).estimate,
        relative.variance(),
        relative.cosine(),
        relative.cosine_of_mean(),
        relative.distance(0.0).estimate.transform(_root),
    )
    return found if relative.norm_is_known else without_intervals(found)


def without_intervals(found: Accuracy) -> Accuracy:
    """The same values, with intervals that hold every number."""
    return Accuracy(*(Estimate(one.value, -math.inf, math.inf) for one in vars(found).values()))


def _root(square: float) -> float:
    """Square root, 0 for a square that came out below 0."""
    return math.sqrt(max(square, 0.0))


@dataclass(frozen=True)
class _Distance:
    """Squared distance |E g - scale · G|², and its derivatives by each estimate and each group."""

    estimate: Estimate
    by_draw: Tensor
    by_group: Tensor


@dataclass(frozen=True)
class _Relative:
    """Estimates and reference in units of the norm of the true gradient.

    Args:
        estimates: [draws, numbers].
        found: the estimates' moments.
        reference: the reference's moments.
    """

    estimates: Tensor
    found: Sample
    reference: Sample

    @cached_property
    def norm(self) -> float:
        return math.sqrt(self.reference.squared_norm)

    @cached_property
    def true(self) -> Tensor:
        return self.reference.mean / self.norm

    @cached_property
    def mean(self) -> Tensor:
        return self.found.mean / self.norm

    @cached_property
    def drawn(self) -> Tensor:
        """Estimates about their mean, [draws, numbers]."""
        return self.found.centred / self.norm

    @cached_property
    def given(self) -> Tensor:
        """Groups about their mean, [groups, numbers]."""
        return self.reference.centred / self.norm

    @cached_property
    def norm_is_known(self) -> bool:
        """Whether the norm of the true gradient is distinguished from 0."""
        return estimate_of_sum(1.0, 2 * (self.given @ self.true)).low > 0

    def distance(self, scale: float, without: float = 0.0) -> _Distance:
        """Squared distance of the mean estimate from `scale` times the true gradient.

        Args:
            scale: multiple of the true gradient.
            without: variance along the true gradient that is left out, where the distance is the
                one from its line.
        """
        square = self.reference.squared_norm
        away = self.mean - scale * self.true
        met = float(away @ away)
        powers = enumerate(traces(self.found, self.reference, scale), 1)
        first, second, third = (max(t / square**k - without**k, 0.0) for k, t in powers)
        by_draw = 2 * self.drawn @ away
        by_group = -2 * self.given @ (scale * away + max(met - first, 0.0) * self.true)
        moments = variance_of_sum(by_draw, by_group)
        estimate = estimate_of_square(met, (first, second, third), *moments)
        return _Distance(estimate, by_draw, by_group)

    def variance(self) -> Estimate:
        """E |g - E g|² / |G|²."""
        found, square = self.found, self.reference.squared_norm
        whole = found.noise * found.n / square
        lengths = found.squares / square * found.n / max(found.n - 1, 1)
        by_group = -2 * whole * (self.given @ self.true)
        return estimate_of_positive_sum(whole, lengths - whole, by_group)

    def cosine(self) -> Estimate:
        """Mean cosine of one estimate with the true gradient."""
        norms = self.estimates.norm(dim=1, keepdim=True).clamp(min=1e-300)
        directions = Sample(self.estimates / norms)
        cosine = float(directions.mean @ self.true)
        by_group = self.given @ (directions.mean - cosine * self.true)
        twice = shared_variance(directions, self.reference) / self.reference.squared_norm
        one = estimate_of_sum(cosine, directions.centred @ self.true, by_group, twice=twice)
        return Estimate(one.value, max(one.low, -1.0), min(one.high, 1.0))

    def cosine_of_mean(self) -> Estimate:
        """Cosine of the mean estimate with the true gradient."""
        part = float(self.mean @ self.true)
        by_draw = self.drawn @ self.true
        by_group = self.given @ (self.mean - 2 * part * self.true)
        twice = shared_variance(self.found, self.reference) / self.reference.squared_norm**2
        along = estimate_of_sum(part, by_draw, by_group, twice=twice)
        on_line = variance_of_sum(by_draw, part * (self.given @ self.true))[0]
        across = self.distance(part, on_line)
        pairs = ((by_draw, across.by_draw), (by_group, across.by_group))
        together = sum(float(a @ b) / len(a) / max(len(a) - 1, 1) for a, b in pairs)
        apart = variance_of_sum(by_draw, by_group)[0]
        apart *= variance_of_sum(across.by_draw, across.by_group)[0]
        correlation = together / math.sqrt(apart) if apart > 0 else 0.0
        return estimate_of_cosine(along, across.estimate.transform(_root), correlation)
