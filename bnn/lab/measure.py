"""Bias, variance and cosine of gradient estimates against the truth, without the noise of their own measurement.

The truth is exact where enumeration can hold the network, and otherwise two independent means of many unbiased estimates: a
product of the two has no noise to mistake for a bias. Every figure is relative to the squared norm of the true gradient.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.estimators.enumeration import Enumeration
from bnn.lab.bench import Bench
from bnn.nn.norms import couples_above_binary

GROUPS = 10
"""Parts of the draws, each left out once, from which standard errors come (jackknife)."""


@dataclass(frozen=True)
class Truth:
    """The gradient by layer, twice and independently, as means of groups of estimates [groups, numbers]; one group, twice
    the same, where it is exact."""

    halves: tuple[dict[str, Tensor], dict[str, Tensor]]
    name: str
    exact: bool

    def square(self, layer: str) -> float:
        """The squared norm of the true gradient, without the noise of the halves."""
        return float(self.halves[0][layer].mean(0) @ self.halves[1][layer].mean(0))

    def relative_error(self, layer: str) -> float:
        """The standard error of the halves' mean, over the norm of the gradient."""
        apart = self.halves[0][layer].mean(0) - self.halves[1][layer].mean(0)
        return float(apart.norm()) / 2 / math.sqrt(max(self.square(layer), 1e-300))


def reference(layers: int) -> Estimator:
    """What stands for the truth where it cannot be enumerated: unbiased, and of little noise for its time."""
    many = {"name": "nested_leave_one_out", "samples": 8, "nested": 8}
    baseline = many if layers > 1 else {"name": "leave_one_out", "samples": 16}
    return Estimator.registry.build({"name": "reinforce", "baseline": baseline})


COUPLED = ", which drops what batch norm above a binary layer couples: see bnn.lab.coupling"


def truth(bench: Bench, draws: int) -> Truth:
    """The exact gradient where `bench` can be enumerated, else two means of `draws / 2` estimates by `reference`."""
    coupled = couples_above_binary(bench.model, bench.inputs[:2])
    if Enumeration.holds(bench.units) and not coupled:
        oracle = Enumeration()
        with contextlib.suppress(ConfigError):  # a path around a binary layer, or a loss of lower layers' bits
            bench.init(oracle)
            exact = bench.groups(oracle, 1, 1)
            return Truth((exact, exact), "exact enumeration", True)
    ready = bench.warmed(reference(len(bench.units)), 0)
    groups = max(1, min(GROUPS, draws // 2))
    each = max(1, draws // 2 // groups)
    first, second = (bench.groups(ready, groups, each) for _ in range(2))
    draws_each = ready.evaluations(bench.units)
    name = f"{2 * groups * each} estimates by leave-one-out of {draws_each} draws{COUPLED if coupled else ''}"
    return Truth((first, second), name, False)


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


@dataclass(frozen=True)
class Measured:
    """One estimator on one bench."""

    unbiased: bool
    """Its claim, which the contract tests hold."""
    passes: int
    seconds: float
    """Of one estimate."""
    layers: dict[str, Accuracy]

    def error(self, layer: str, estimates: float) -> float:
        """Relative root-mean-square error of the mean of so many independent estimates. Of an unbiased one it is the noise
        alone; of another the bias² counts for at least its standard error, below which it was not measured."""
        one = self.layers[layer]
        bias = 0.0 if self.unbiased else max(one.bias.value, one.bias.error)
        return math.sqrt(bias + one.variance.value / estimates)


def measure(bench: Bench, estimator: Estimator, against: Truth, draws: int) -> Measured:
    """Errors of `estimator`, as it stands, over `draws` estimates."""
    estimates, seconds = bench.estimates(estimator, draws)
    layers = {
        layer: accuracy(vectors, against.halves[0][layer], against.halves[1][layer]) for layer, vectors in estimates.items()
    }
    return Measured(estimator.unbiased, estimator.evaluations(bench.units), seconds, layers)


def accuracy(estimates: Tensor, first: Tensor, second: Tensor) -> Accuracy:
    """Of estimates [draws, numbers] against two independent, unbiased values of the true gradient, each as means of groups
    [groups, numbers]. Standard errors have the noise of the estimates and that of the groups; not numbers where the two
    values do not agree on a direction."""
    whole = _figures(estimates, first, second)
    variances = jackknife(len(estimates), lambda kept: _figures(estimates[kept], first, second))
    if len(first) > 1:
        variances = variances + jackknife(len(first), lambda kept: _figures(estimates, first[kept], second[kept]))
    return Accuracy(*(Figure(float(value), float(error)) for value, error in zip(whole, variances.sqrt(), strict=True)))


def _figures(estimates: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """[bias, variance, cosine, aligned, scale]."""
    a, b, n = first.mean(0), second.mean(0), len(estimates)
    square = a @ b
    if square <= 0:  # the reference is all noise, or the gradient is zero
        return torch.full((5,), math.nan, dtype=a.dtype)
    true, norm, mean = (a + b) / 2, square.sqrt(), estimates.mean(0)
    variance = (estimates - mean).square().sum() / max(n - 1, 1)
    # the mean of <g_i - first, g_j - second> over i ≠ j
    bias = (mean - a) @ (mean - b) - variance / n
    size = (mean @ mean - variance / n).sqrt()
    cosines = (estimates @ true) / (estimates.norm(dim=1).clamp(min=1e-300) * norm)
    return torch.stack([bias / square, variance / square, cosines.mean(), (mean @ true) / (size * norm), size / norm])


def jackknife(count: int, of: Callable[[Tensor], Tensor]) -> Tensor:
    """The variances of the numbers `of(indices of what is kept)`, from leaving out one of GROUPS parts at a time; infinite
    for fewer than 3 parts."""
    groups = min(GROUPS, count)
    part = torch.arange(count) % groups
    without = torch.stack([of((part != k).nonzero()[:, 0]) for k in range(groups)]) if groups > 1 else of(part)[None]
    if groups < 3:
        return torch.full_like(without[0], math.inf)
    return (groups - 1) / groups * (without - without.mean(0)).square().sum(0)
