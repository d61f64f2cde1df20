"""Bias, variance and cosine of gradient estimates against the truth, without the noise of their own measurement.

The truth is exact where enumeration can hold the network, and otherwise two independent means of many unbiased estimates: a
product of the two has no noise to mistake for a bias. Every figure is relative to the squared norm of the true gradient.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.estimators.enumeration import Enumeration
from bnn.lab.bench import Bench
from bnn.lab.intervals import (
    Figure,
    Sample,
    along,
    of_cosine,
    of_positive_sum,
    of_square,
    of_sum,
    shared,
    traces,
)
from bnn.nn.norms import couples_above_binary

GROUPS = 20
"""Means into which the estimates that stand for the truth are put; how far these differ is the noise of the truth."""


@dataclass(frozen=True)
class Truth:
    """The gradient by layer, as means of groups of estimates [groups, numbers]; one group where it is exact."""

    groups: dict[str, Tensor]
    name: str
    exact: bool

    def square(self, layer: str) -> float:
        """The squared norm of the true gradient, without the noise of the groups."""
        known = Sample(self.groups[layer])
        return float(known.mean.square().sum()) - known.noise

    def relative_error(self, layer: str) -> float:
        """The root-mean-square error of the groups' mean, over the norm of the gradient."""
        return math.sqrt(Sample(self.groups[layer]).noise / max(self.square(layer), 1e-300))


def reference(layers: int) -> Estimator:
    """What stands for the truth where it cannot be enumerated: unbiased, and of little noise for its time."""
    many = {"name": "nested_leave_one_out", "samples": 8, "nested": 8}
    baseline = many if layers > 1 else {"name": "leave_one_out", "samples": 16}
    return Estimator.registry.build({"name": "reinforce", "baseline": baseline})


COUPLED = ", which drops what batch norm above a binary layer couples: see bnn.lab.coupling"


def truth(bench: Bench, draws: int) -> Truth:
    """The exact gradient where `bench` can be enumerated, else the mean of `draws` estimates by `reference`."""
    coupled = couples_above_binary(bench.model, bench.inputs[:2])
    if Enumeration.holds(bench.units) and not coupled:
        oracle = Enumeration()
        with contextlib.suppress(
            ConfigError
        ):  # a path around a binary layer, or a loss of lower layers' bits
            bench.init(oracle)
            exact = bench.groups(oracle, 1, 1)
            return Truth(exact, "exact enumeration", True)
    ready = bench.warmed(reference(len(bench.units)), 0)
    groups = max(2, min(GROUPS, draws))
    each = max(1, draws // groups)
    draws_each = ready.evaluations(bench.units)
    name = f"{groups * each} estimates by leave-one-out of {draws_each} draws{COUPLED if coupled else ''}"
    return Truth(bench.groups(ready, groups, each), name, False)


@dataclass(frozen=True)
class Accuracy:
    """How good the estimates of one layer are, with 95 % intervals. Bias and variance are over the squared norm of the true
    gradient."""

    bias: Figure
    """|E g - true|², without the noise of the means: an estimate that can come out below 0, as its interval."""
    variance: Figure
    """E |g - E g|², of one estimate."""
    cosine: Figure
    """Mean cosine of one estimate with the true gradient."""
    aligned: Figure
    """Cosine of E g with the true gradient: below 1 where the bias is more than one of scale."""
    scale: Figure
    """|E g| over the norm of the true gradient; 0 where its square comes out below 0."""


@dataclass(frozen=True)
class Measured:
    """One estimator on one bench."""

    unbiased: bool
    """Its claim, which the contract tests hold."""
    passes: int
    seconds: float
    """Of one estimate."""
    layers: dict[str, Accuracy]
    up_to_scale: bool = False
    """Whether it claims so only up to a scale, by which its variance is no cost."""

    def error(self, layer: str, estimates: float) -> float:
        """Relative root-mean-square error of the mean of so many independent estimates. Of an unbiased one it is the noise
        alone; of another the bias² counts for at least half of the upper end of its interval, below which it was not
        measured."""
        one = self.layers[layer]
        bias = 0.0 if self.unbiased else max(one.bias.value, one.bias.high / 2, 0.0)
        return math.sqrt(bias + one.variance.value / estimates)

    def cost(self, layer: str, unit: str = "passes") -> Figure:
        """The variance of one estimate times what it takes, in passes or in milliseconds: the variance left by an unbiased
        estimator that is averaged for one of them."""
        price = self.passes if unit == "passes" else 1000 * self.seconds
        return self.layers[layer].variance.of(lambda variance: variance * price)


def measure(bench: Bench, estimator: Estimator, against: Truth, draws: int) -> Measured:
    """Errors of `estimator`, as it stands, over `draws` estimates."""
    estimates, seconds = bench.estimates(estimator, draws)
    layers = {
        layer: accuracy(vectors, against.groups[layer]) for layer, vectors in estimates.items()
    }
    passes = estimator.evaluations(bench.units)
    return Measured(estimator.unbiased, passes, seconds, layers, estimator.up_to_scale)


def accuracy(estimates: Tensor, groups: Tensor) -> Accuracy:
    """Of estimates [draws, numbers] against independent, unbiased values of the true gradient [groups, numbers], or one
    exact value [1, numbers]. The intervals have the noise of both; not numbers where the values have no direction in
    common."""
    found, known = Sample(estimates), Sample(groups)
    square = float(known.mean.square().sum()) - known.noise
    if square <= 0:  # the reference is all noise, or the gradient is zero
        return Accuracy(*[Figure(math.nan, math.nan, math.nan)] * 5)
    norm, true, mean = (
        math.sqrt(square),
        known.mean / math.sqrt(square),
        found.mean / math.sqrt(square),
    )
    drawn, given = found.centred / norm, known.centred / norm

    def distance(scale: float, without: float = 0.0) -> tuple[Figure, Tensor, Tensor]:
        """|E g - scale · true|², and its derivatives by each draw and group; without: variance along the true gradient,
        where the distance is the one from its line."""
        away = mean - scale * true
        met = float(away @ away)
        noise = traces(found, known, scale)
        first, second, third = (
            max(t / square**k - without**k, 0.0) for k, t in enumerate(noise, 1)
        )
        by_draw = 2 * drawn @ away
        by_group = -2 * given @ (scale * away + max(met - first, 0.0) * true)
        return of_square(met, (first, second, third), *along(by_draw, by_group)), by_draw, by_group

    whole = found.noise * found.n / square
    lengths = found.squares / square * found.n / max(found.n - 1, 1)
    variance = of_positive_sum(whole, lengths - whole, -2 * whole * (given @ true))

    directions = Sample(estimates / estimates.norm(dim=1, keepdim=True).clamp(min=1e-300))
    cosine = float(directions.mean @ true)
    by_group = given @ (directions.mean - cosine * true)
    cosine_of_one = of_sum(
        cosine, directions.centred @ true, by_group, twice=shared(directions, known) / square
    )

    part = float(mean @ true)
    by_draw, by_group = drawn @ true, given @ (mean - 2 * part * true)
    beside = of_sum(part, by_draw, by_group, twice=shared(found, known) / square**2)
    across, *others = distance(part, along(by_draw, part * (given @ true))[0])
    together = sum(
        float(a @ b) / len(a) / max(len(a) - 1, 1)
        for a, b in zip((by_draw, by_group), others, strict=True)
    )
    apart = along(by_draw, by_group)[0] * along(*others)[0]
    correlation = together / math.sqrt(apart) if apart > 0 else 0.0
    aligned = of_cosine(beside, across.of(length), correlation)
    one = Figure(cosine_of_one.value, max(cosine_of_one.low, -1.0), min(cosine_of_one.high, 1.0))
    accuracy = Accuracy(distance(1.0)[0], variance, one, aligned, distance(0.0)[0].of(length))
    # a truth whose own length is not told from 0 gives values, and no interval of them
    return accuracy if of_sum(1.0, 2 * (given @ true)).low > 0 else untold(accuracy)


def untold(one: Accuracy) -> Accuracy:
    """The same without its intervals, where the truth is not known well enough for any."""
    return Accuracy(*(Figure(figure.value, -math.inf, math.inf) for figure in vars(one).values()))


def length(square: float) -> float:
    """0 for a square that came out below 0."""
    return math.sqrt(max(square, 0.0))
