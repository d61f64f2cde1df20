"""95 % confidence intervals: of means, of ratios, of squared distances between means, and of the angle between them.

A squared distance between two means is estimated with the noise of both taken off; near 0 its error is that of a sum of
squares, and far from 0 that of a mean. Its interval holds every value under which what was met is no rare event. The
distribution under a value is approximated by a gamma distribution of the same first cumulants, which the traces of the
covariance and of its powers tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special
from torch import Tensor

LEVEL = 0.95
TAIL = (1 - LEVEL) / 2
RESAMPLES = 1000
"""Of the bootstrap."""
FARTHEST = 8
"""Standard errors to which a bootstrap reaches: resamples without a single large number have next to no error."""
PAIRED = 300
"""Rows of a sample whose pairs tell the trace of the squared covariance."""


@dataclass(frozen=True)
class Figure:
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            return "–"
        width = self.high - self.low
        if width <= 1e-9 * abs(self.value):
            return f"{self.value:.3f}"
        digits = min(6, max(0, 1 - math.floor(math.log10(width / 2))))
        value, low, high = (f"{number:.{digits}f}" for number in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    def of(self, function: Callable[[float], float]) -> Figure:
        """The figure of an increasing function of the number."""
        return Figure(function(self.value), function(self.low), function(self.high))


class Sample:
    """Independent vectors [n, numbers] as estimates of their mean; a single one is taken to be exact."""

    def __init__(self, rows: Tensor) -> None:
        self.n, self.mean = len(rows), rows.mean(0)
        self.centred = rows - self.mean
        self.dof = max(self.n - 1, 1)

    @cached_property
    def squares(self) -> Tensor:
        """The squared distance of each row from the mean."""
        return self.centred.square().sum(1)

    @cached_property
    def noise(self) -> float:
        """The trace of the covariance of the mean."""
        return float(self.squares.sum()) / self.dof / self.n

    @cached_property
    def rows(self) -> Tensor:
        """The first rows about their mean, over their mean length, in single precision."""
        rows = self.centred[:PAIRED] / self.squares.mean().sqrt().clamp(min=1e-300)
        return rows.float()

    @cached_property
    def products(self) -> Tensor:
        """Of each pair of different rows, without what they share with their mean; 0 on the diagonal."""
        gram = (self.rows @ self.rows.T).double()
        gram = gram + gram.diagonal().sum() / (len(gram) - 1) / self.n
        return gram.fill_diagonal_(0)


Traces = tuple[float, float, float]
"""Of the covariance of a mean, of its square and of its cube, which the cumulants of its squared length are made of."""


def traces(one: Sample, other: Sample, weight: float) -> Traces:
    """Of the mean of `one` less `weight` times that of `other`. Products of different rows have no bias by the length of the
    rows, which would pass for few dimensions of much noise."""
    first, second = one.noise, weight**2 * other.noise
    total = first + second
    square = cube = 0.0
    if first:
        a2, a3 = _own(one)
        square += a2 * first**2
        cube += a3 * first**3
    if second:
        b2, b3 = _own(other)
        square += b2 * second**2
        cube += b3 * second**3
    if first and second:
        cross = (one.rows @ other.rows.T).double()
        n, m = cross.shape
        pairs, fewer = cross @ cross.T, max(n - 1, 1) * max(m - 1, 1)
        square += 2 * weight**2 * shared(one, other)
        if n > 3:
            cube += 3 * first**2 * second * float((pairs * one.products).sum()) / (n * fewer)
        if m > 3:
            cube += (
                3
                * first
                * second**2
                * float(((cross.T @ cross) * other.products).sum())
                / (m * fewer)
            )
    square = min(max(square, total**2 / one.centred.shape[1]), total**2)
    return total, square, min(max(cube, square**2 / max(total, 1e-300)), square**1.5)


def shared(one: Sample, other: Sample) -> float:
    """The trace of the product of two means' covariances: the variance of the product of their errors."""
    if not one.noise or not other.noise:
        return 0.0
    cross = (one.rows @ other.rows.T).double()
    return (
        one.noise
        * other.noise
        * float(cross.square().sum())
        / max(len(one.rows) - 1, 1)
        / max(len(other.rows) - 1, 1)
    )


def _own(sample: Sample) -> tuple[float, float]:
    """Traces of the square and of the cube, where that of the covariance is 1."""
    n = len(sample.rows)
    if n < 4:
        return 1.0, 1.0
    left = (1 - 1 / sample.n) ** 2 + 1 / sample.n**2
    square = float(sample.products.square().sum()) / n / (n - 1) / left
    cube = (
        float(((sample.products @ sample.products) * sample.products).sum())
        / n
        / (n - 1)
        / (n - 2)
        / left**1.5
    )
    return square, cube


def along(*parts: Tensor) -> tuple[float, float]:
    """The variance of a sum of means of independent numbers, given those of each, about their mean; and its degrees of
    freedom (Welch & Satterthwaite)."""
    found = [
        (float(part.square().sum()) / max(len(part) - 1, 1) / len(part), max(len(part) - 1, 1))
        for part in parts
    ]
    total = sum(variance for variance, _ in found)
    if total == 0:
        return 0.0, math.inf
    return total, total**2 / sum(variance**2 / dof for variance, dof in found)


def student(dof: float) -> float:
    """The end of Student's t that leaves TAIL above it."""
    return float(special.stdtrit(min(dof, 1e6), 1 - TAIL))


def of_sum(value: float, *parts: Tensor, twice: float = 0.0) -> Figure:
    """A sum of means, by t; twice: variance that is in two of the parts."""
    variance, dof = along(*parts)
    half = student(dof) * math.sqrt(max(variance - twice, variance / 2))
    return Figure(value, value - half, value + half)


def of_mean(numbers: Tensor) -> Figure:
    """The mean of independent numbers [draws]."""
    return of_sum(float(numbers.mean()), numbers - numbers.mean())


def certain(value: float) -> Figure:
    """A number whose error is not told."""
    return Figure(value, value, value)


def of_positive_sum(value: float, *parts: Tensor) -> Figure:
    """A sum of means that is positive, by its logarithm; studentised bootstrap of the first part (Hall 1988)."""
    if value <= 0:
        return certain(value)
    error, drawn, n = (
        math.sqrt(along(*parts)[0]) / value,
        parts[0].cpu().numpy() / value + 1,
        len(parts[0]),
    )
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    means = np.maximum(counts @ drawn / n, 1e-12)
    errors = np.sqrt(np.maximum(counts @ drawn**2 / n - means**2, 0) / n) / means
    t = np.log(means) / np.maximum(errors, 1e-12)
    low, high = np.clip(np.quantile(t, [TAIL, 1 - TAIL]), -FARTHEST, FARTHEST)
    return Figure(
        value,
        value * math.exp(-min(max(high, 0) * error, 80)),
        value * math.exp(min(-min(low, 0) * error, 80)),
    )


def of_square(met: float, noise: Traces, variance: float, dof: float) -> Figure:
    """The squared length of an expectation.

    Args:
        met: squared length of the mean, noise and all.
        noise: traces of the mean's covariance.
        variance: that of the squared length, by its derivative at the mean.
        dof: degrees of freedom of `variance`.
    """
    value = met - noise[0]
    if met <= 0 or (noise[0] <= 1e-24 * met and variance <= 1e-24 * met**2):
        return Figure(value, value, value)
    first, square, cube = noise
    along = variance / (4 * met)
    wider = along * (student(dof) / student(math.inf)) ** 2

    def below(limit: float, true: float, cube: float) -> float:
        """The probability of a met square of at most `limit` under a true one: of a gamma distribution with the same mean,
        variance and third cumulant (Pearson 1959)."""
        second = max(4 * true * wider + 2 * square, 1e-30 * met**2)
        third = max(24 * true * wider**2 + 8 * cube, 1e-6 * second**1.5)
        unit, degrees = third / second / 4, 8 * second**3 / third**2
        return float(special.chdtr(degrees, max((limit - true - first) / unit + degrees, 0)))

    def end(share: float, cube: float) -> float:
        """The square under which a met one of at most `met` has the probability `share`; below 0, by how much `met` falls
        short of what has that probability under 0."""
        if below(met, 0.0, cube) <= share:
            return met - root(lambda limit: below(limit, 0.0, cube) - share, met, met + first)
        return root(lambda true: share - below(met, true, cube), 0.0, met + first)

    # a few dimensions of much noise lengthen the upper tail; that the others blur the lower one, the square alone tells
    return Figure(value, end(1 - TAIL, cube), end(TAIL, square**2 / max(first, 1e-300)))


def root(function: Callable[[float], float], low: float, step: float) -> float:
    """Where an increasing function, at most 0 at `low`, crosses 0."""
    high = low + step
    while function(high) < 0 and step < 1e300:
        step *= 2
        low, high = high, high + step
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return (low + high) / 2


def of_cosine(beside: Figure, across: Figure, correlation: float) -> Figure:
    """The cosine of the angle of a vector, from its component beside an axis and its length across it, at least 0: the
    directions across which the vector may have no length, and along which it may have one (Zou & Donner 2008)."""
    angle = np.linspace(0, math.pi, 4001)
    sin, cos = np.sin(angle), np.cos(angle)
    met = beside.value * sin - across.value * cos
    down, up = beside.value - beside.low, beside.high - beside.value
    nearer, farther = across.value - across.low, across.high - across.value

    def reach(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(one**2 + other**2 + 2 * correlation * one * other, 0))

    low = met - reach(down * sin, -cos * np.where(cos > 0, farther, nearer))
    high = met + reach(up * sin, -cos * np.where(cos > 0, nearer, farther))
    ahead = (
        beside.value * cos
        + across.value * sin
        + reach(cos * np.where(cos > 0, up, down), farther * sin)
    )
    length = math.hypot(beside.value, across.value)
    value = beside.value / length if length else math.nan
    slack = 1e-12 * length
    kept = cos[(low <= slack) & (high >= -slack) & (ahead >= 0)]
    return Figure(
        value,
        min(value, float(kept.min(initial=value))),
        max(value, float(kept.max(initial=value))),
    )
