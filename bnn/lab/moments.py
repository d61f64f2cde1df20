"""Moments of samples of vectors: means, and traces of their covariances without bias."""

from __future__ import annotations

import math
from functools import cached_property

from torch import Tensor

PAIRED = 300
"""Rows of a sample whose pairs estimate the traces of the squared and cubed covariance."""


class Sample:
    """Independent vectors as estimates of their mean; a single one is taken to be exact.

    Args:
        rows: [n, numbers].
    """

    def __init__(self, rows: Tensor) -> None:
        self.n, self.mean = len(rows), rows.mean(0)
        self.centred = rows - self.mean
        self.dof = max(self.n - 1, 1)

    @cached_property
    def squares(self) -> Tensor:
        """Squared distance of each row from the mean, [n]."""
        return self.centred.square().sum(1)

    @cached_property
    def noise(self) -> float:
        """Trace of the covariance of the mean."""
        return float(self.squares.sum()) / self.dof / self.n

    @cached_property
    def squared_norm(self) -> float:
        """Squared norm of the expectation, without the noise of the mean; may come out below 0."""
        return float(self.mean.square().sum()) - self.noise

    @cached_property
    def rows(self) -> Tensor:
        """First PAIRED centred rows over their root-mean-square norm, in single precision."""
        rows = self.centred[:PAIRED] / self.squares.mean().sqrt().clamp(min=1e-300)
        return rows.float()

    @cached_property
    def products(self) -> Tensor:
        """Inner products of pairs of `rows`, [rows, rows], with a diagonal of zeros.

        Centring by the sample's own mean makes them negative on average; that is taken out.
        """
        gram = (self.rows @ self.rows.T).double()
        gram = gram + gram.diagonal().sum() / (len(gram) - 1) / self.n
        return gram.fill_diagonal_(0)


Traces = tuple[float, float, float]
"""Traces of a mean's covariance, its square and its cube: cumulants of the mean's squared norm."""


def traces(one: Sample, other: Sample, weight: float) -> Traces:
    """Traces of the covariance of `one.mean - weight · other.mean`, of its square and of its cube.

    The powers are estimated from products of different rows. Those of a row with itself would be
    biased by the rows' norms, and suggest noise of few dimensions.
    """
    first, second = one.noise, weight**2 * other.noise
    total = first + second
    square = cube = 0.0
    if first:
        a2, a3 = _normalised_traces(one)
        square += a2 * first**2
        cube += a3 * first**3
    if second:
        b2, b3 = _normalised_traces(other)
        square += b2 * second**2
        cube += b3 * second**3
    if first and second:
        cross = (one.rows @ other.rows.T).double()
        n, m = cross.shape
        pairs, fewer = cross @ cross.T, max(n - 1, 1) * max(m - 1, 1)
        square += 2 * weight**2 * shared_variance(one, other)
        if n > 3:
            triples = float((pairs * one.products).sum())
            cube += 3 * first**2 * second * triples / (n * fewer)
        if m > 3:
            triples = float(((cross.T @ cross) * other.products).sum())
            cube += 3 * first * second**2 * triples / (m * fewer)
    square = min(max(square, total**2 / one.centred.shape[1]), total**2)
    return total, square, min(max(cube, square**2 / max(total, 1e-300)), square**1.5)


def shared_variance(one: Sample, other: Sample) -> float:
    """Trace of the product of two means' covariances: variance of the product of their errors."""
    if not one.noise or not other.noise:
        return 0.0
    cross = float((one.rows @ other.rows.T).double().square().sum())
    pairs = one.noise * other.noise * cross
    return pairs / max(len(one.rows) - 1, 1) / max(len(other.rows) - 1, 1)


def _normalised_traces(sample: Sample) -> tuple[float, float]:
    """Traces of the covariance's square and cube, where the trace of the covariance is 1."""
    n = len(sample.rows)
    if n < 4:
        return 1.0, 1.0
    left = (1 - 1 / sample.n) ** 2 + 1 / sample.n**2
    pairs = float(sample.products.square().sum())
    triples = float(((sample.products @ sample.products) * sample.products).sum())
    return pairs / n / (n - 1) / left, triples / n / (n - 1) / (n - 2) / left**1.5


def variance_of_sum(*parts: Tensor) -> tuple[float, float]:
    """Variance of a sum of independent means, and its degrees of freedom (Welch & Satterthwaite).

    Args:
        parts: for each mean its numbers about it, [n].
    """
    found = [
        (float(part.square().sum()) / max(len(part) - 1, 1) / len(part), max(len(part) - 1, 1))
        for part in parts
    ]
    total = sum(variance for variance, _ in found)
    if total == 0:
        return 0.0, math.inf
    return total, total**2 / sum(variance**2 / dof for variance, dof in found)
