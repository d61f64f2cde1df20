"""Bias, variance and cosine of gradient estimates against the truth, without the noise of their own measurement.

The truth is exact where enumeration can hold the network, and otherwise two independent means of many unbiased estimates: a
product of the two has no noise to mistake for a bias. Every figure is relative to the squared norm of the true gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.estimators.enumeration import Enumeration
from bnn.lab.bench import Bench
from bnn.models.norms import couples_above_binary

GROUPS = 10
"""Parts of the draws, each left out once, from which standard errors come (jackknife)."""


@dataclass(frozen=True)
class Truth:
    """The gradient by layer, twice and independently; twice the same where it is exact."""

    halves: tuple[dict[str, Tensor], dict[str, Tensor]]
    name: str
    exact: bool

    def square(self, layer: str) -> float:
        """The squared norm of the true gradient, without the noise of the halves."""
        return float(self.halves[0][layer] @ self.halves[1][layer])

    def relative_error(self, layer: str) -> float:
        """The standard error of the halves' mean, over the norm of the gradient."""
        apart = self.halves[0][layer] - self.halves[1][layer]
        return float(apart.norm()) / 2 / math.sqrt(max(self.square(layer), 1e-300))


def reference(layers: int) -> Estimator:
    """What stands for the truth where it cannot be enumerated: unbiased, and of little noise for its time."""
    many = {"name": "nested_leave_one_out", "samples": 8, "nested": 8}
    baseline = many if layers > 1 else {"name": "leave_one_out", "samples": 16}
    return Estimator.registry.build({"name": "reinforce", "baseline": baseline})


def truth(bench: Bench, draws: int) -> Truth:
    """The exact gradient where `bench` can be enumerated, else two means of `draws / 2` estimates by `reference`."""
    oracle = Enumeration()
    try:
        bench.bound(oracle)
    except ConfigError:
        oracle = None  # type: ignore[assignment]
    if oracle is not None and not couples_above_binary(bench.model, bench.inputs[:2]):
        exact = bench.by_layer(bench.mean(oracle, 1))
        return Truth((exact, exact), "exact enumeration", True)
    ready, half = bench.warmed(reference(len(bench.units)), 0), max(1, draws // 2)
    first, second = (bench.by_layer(bench.mean(ready, half)) for _ in range(2))
    return Truth((first, second), f"{2 * half} estimates by leave-one-out of {ready.passes(bench.units)} draws", False)


@dataclass(frozen=True)
class Figure:
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        if not (math.isfinite(self.value) and math.isfinite(self.error)):
            return "–"
        measured = 1e-9 * abs(self.value) < self.error
        digits = max(0, 1 - math.floor(math.log10(self.error))) if measured else 3
        return f"{self.value:.{min(digits, 6)}f} ± {self.error:.{min(digits, 6)}f}"


@dataclass(frozen=True)
class Accuracy:
    """How good the estimates of one layer are. All but the cosine are over the squared norm of the true gradient."""

    bias: Figure
    """|E g - true|², without the noise of the means: an estimate that can come out below 0."""
    variance: Figure
    """E |g - E g|², of one estimate."""
    cosine: Figure
    """Mean cosine of one estimate with the true gradient."""
    aligned: Figure
    """Cosine of E g with the true gradient: below 1 where the bias is more than one of scale. Not a number where E g does
    not stand out of the noise, as `scale`."""
    scale: Figure
    """|E g| over the norm of the true gradient."""

    def error(self, estimates: float) -> float:
        """Relative root-mean-square error of the mean of so many independent estimates; a bias² that is not two standard
        errors above 0 counts as none."""
        bias = self.bias.value if self.bias.value > 2 * self.bias.error else 0.0
        return math.sqrt(bias + self.variance.value / estimates)


@dataclass(frozen=True)
class Measured:
    """One estimator on one bench."""

    passes: int
    seconds: float
    """Of one estimate."""
    layers: dict[str, Accuracy]


def measure(bench: Bench, estimator: Estimator, against: Truth, draws: int) -> Measured:
    """Errors of `estimator`, as it stands, over `draws` estimates."""
    estimates, seconds = bench.estimates(estimator, draws)
    layers = {
        layer: accuracy(vectors, against.halves[0][layer], against.halves[1][layer]) for layer, vectors in estimates.items()
    }
    return Measured(estimator.passes(bench.units), seconds, layers)


def accuracy(estimates: Tensor, first: Tensor, second: Tensor) -> Accuracy:
    """Of estimates [draws, numbers] against two independent, unbiased values [numbers] of the true gradient; not numbers
    where these do not agree on a direction."""
    square = float(first @ second)
    if square <= 0:  # the reference is all noise, or the gradient is zero
        return Accuracy(*[Figure(math.nan, math.nan)] * 5)
    true = (first + second) / 2

    def of(g: Tensor) -> Tensor:
        """[bias, variance, cosine, aligned, scale] from some of the draws."""
        n = len(g)
        mean = g.mean(0)
        variance = (g - mean).square().sum() / max(n - 1, 1)
        # the mean of <g_i - first, g_j - second> over i ≠ j
        bias = (mean - first) @ (mean - second) - variance / n
        size = (mean @ mean - variance / n).sqrt()
        cosines = (g @ true) / (g.norm(dim=1).clamp(min=1e-300) * math.sqrt(square))
        ratio = size / math.sqrt(square)
        aligned = (mean @ true) / (size * math.sqrt(square))
        return torch.stack([bias / square, variance / square, cosines.mean(), aligned, ratio])

    return Accuracy(*jackknife(estimates, of))


def jackknife(draws: Tensor, of: Callable[[Tensor], Tensor]) -> list[Figure]:
    """Each number of `of(draws)` with its standard error, from leaving out one of GROUPS parts at a time."""
    whole = of(draws)
    groups = min(GROUPS, len(draws))
    if groups < 3:
        return [Figure(float(value), math.inf) for value in whole]
    part = torch.arange(len(draws), device=draws.device) % groups
    without = torch.stack([of(draws[part != k]) for k in range(groups)])
    errors = ((groups - 1) / groups * (without - without.mean(0)).square().sum(0)).sqrt()
    return [Figure(float(value), float(error)) for value, error in zip(whole, errors, strict=True)]
