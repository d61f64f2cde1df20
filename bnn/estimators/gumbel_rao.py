"""Gumbel-Rao estimators: relaxed derivatives, averaged over the noise that fires the same bit.

For bits the average is an integral in one dimension, which a quadrature computes; no further draws
are needed.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
from torch import Tensor

from bnn.estimators.base import Estimator
from bnn.estimators.concrete import check_temperature
from bnn.estimators.straight_through import OnePass
from bnn.nn.gradients import replace_gradient
from bnn.nn.sites import Site

NODES = 16
"""Nodes of the quadrature."""
LARGEST = 40.0
"""Log-odds beyond which a bit is as good as certain, and its slope 0 to rounding."""


@cache
def _nodes(tau: float) -> tuple[tuple[float, float], ...]:
    """Nodes z in (0, ∞) and weights of ∫ dz.

    They are Gauss-Legendre nodes s in (0, 1) under z = -w log(1 - s), w = min(1 + τ, 11 τ): the
    integrand has the width τ where τ is small.
    """
    found, width = [], min(1 + tau, 11 * tau)
    for x, weight in zip(*np.polynomial.legendre.leggauss(NODES), strict=True):
        rest = (1 - float(x)) / 2  # 1 - s
        found.append((-width * math.log(rest), float(weight) / 2 * width / rest))
    return tuple(found)


def conditional_slope(logits: Tensor, bits: Tensor, tau: float) -> Tensor:
    """Expectation of the derivative y (1 - y) / τ of y = σ(z / τ), given the bit 1[z > 0].

        c(b) = 1 / P(b) ∫_0^∞ D(z / τ) / τ · D(z - ℓ_b) dz,   D(s) = σ(s) (1 - σ(s))

    z is logistic around ℓ, and ℓ_b is ℓ for b = 1 and -ℓ for b = 0. With E = exp(ℓ_b) it is
    (1 + E) ∫ D(z / τ) / τ · e^-z / (1 + E e^-z)² dz, which holds for a bit of no probability too.

    Args:
        logits: ℓ, any shape.
        bits: of the same shape.
        tau: temperature τ.

    Returns:
        Of the same shape.
    """
    with torch.no_grad():
        odds = torch.exp(((2 * bits - 1) * logits).clamp(max=LARGEST))
        total = torch.zeros_like(odds)
        for z, weight in _nodes(tau):
            relaxed = 1 / (1 + math.exp(-min(z / tau, 700.0)))
            factor = weight * relaxed * (1 - relaxed) / tau * math.exp(-z)
            total.add_((1 + math.exp(-z) * odds).square_().reciprocal_(), alpha=factor)
        return total.mul_(1 + odds)


@Estimator.registry.add("gumbel_rao")
class GumbelRao(OnePass):
    """Gumbel-Rao: `st_gumbel` averaged over the noise given the bit (Paulus et al. 2021).

        d f / d ℓ := f'(b) E[y (1 - y) / τ | b],   y = σ(z / τ)

    The Rao-Blackwell average of `st_gumbel`, in the limit of many draws. Its bracket has not the
    expectation p (1 - p) unless τ → 0, where it becomes that of the ½-estimator: biased even for
    one layer under an f that is linear in its bits. Evaluations of f per sample and step: 1.

    Args:
        tau: temperature τ > 0.

    Raises:
        ConfigError: for tau ≤ 0.
    """

    needs_full_support = True

    def __init__(self, *, tau: float = 1.0) -> None:
        super().__init__()
        self.tau = check_temperature(tau)

    def sample(self, site: Site) -> Tensor:
        bits, logits = site.sample(), site.logits
        return replace_gradient(bits, conditional_slope(logits.detach(), bits, self.tau) * logits)


@Estimator.registry.add("reinmax_rao")
class ReinMaxRao(GumbelRao):
    """ReinMax-Rao: ReinMax by the slope of `gumbel_rao` (Wang & Bui 2026).

        d f / d ℓ := f'(b) [2 c(logit m, b) - p (1 - p) / 2],   m = (p + b) / 2

    c(ℓ, b) = E[y (1 - y) / τ | b] as in `gumbel_rao`. Biased for one layer even under an f that is
    linear in its bits, where `st` and `reinmax` are exact. Evaluations of f per sample and step: 1.

    Args:
        tau: temperature τ > 0.

    Raises:
        ConfigError: for tau ≤ 0.
    """

    def sample(self, site: Site) -> Tensor:
        bits, p = site.sample(), site.probs.detach()
        # logit((p + b) / 2) = ±log(1 + 2 (odds of the bit)), without p = 1 rounding to infinity
        of_bit = torch.log1p(2 * torch.exp((2 * bits - 1) * site.logits.detach()).clamp(max=1e30))
        midpoint = (2 * bits - 1) * of_bit
        slope = 2 * conditional_slope(midpoint, bits, self.tau) - p * (1 - p) / 2
        return replace_gradient(bits, slope * site.logits)
