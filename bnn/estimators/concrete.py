"""Relaxations of a bit to a number between 0 and 1: the binary concrete distribution, one pass.

A unit fires where z = ℓ - logit(u) > 0, u ~ U[0, 1), and y = σ(z / τ) is its relaxation.
`st_gumbel` and `concrete` are biased. Any law with full support will do: ℓ are its logits.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.straight_through import OnePass
from bnn.nn.gradients import replace_gradient
from bnn.nn.sites import Site


def check_temperature(tau: float) -> float:
    """Temperature of a relaxation, checked.

    Raises:
        ConfigError: for a temperature that is not positive and finite.
    """
    if not 0 < tau < math.inf:
        raise ConfigError(f"estimator.tau: expected a positive, finite temperature, got {tau}")
    return tau


def logit(v: Tensor) -> Tensor:
    """Log-odds log v - log(1 - v), v kept off 0 and 1 by the precision of its dtype.

    Args:
        v: numbers in [0, 1], any shape.

    Returns:
        Of the shape of `v`.
    """
    eps = torch.finfo(v.dtype).eps / 2
    # torch.logit's own eps has a second derivative of NaN outside
    return torch.logit(v.clamp(eps, 1 - eps))


def reparameterize(logits: Tensor, u: Tensor) -> Tensor:
    """Logistic variable z = ℓ - logit(u), positive exactly where u < p, as in `Site.sample`.

    Args:
        logits: ℓ, any shape.
        u: uniform numbers in [0, 1), of the same shape.

    Returns:
        z, logistic around ℓ, of the same shape.
    """
    return logits - logit(u)


class Relaxed(OnePass):
    """Estimator of one pass with the noise of the binary concrete distribution.

    Args:
        tau: temperature τ > 0.

    Raises:
        ConfigError: for tau ≤ 0.
    """

    needs_full_support = True

    def __init__(self, *, tau: float) -> None:
        super().__init__()
        self.tau = check_temperature(tau)

    def relax(self, site: Site) -> tuple[Tensor, Tensor]:
        """Logistic variable z and its relaxation σ(z / τ), of the shape of the site."""
        z = reparameterize(site.logits, site.noise(site.probs.detach()))
        return z, torch.sigmoid(z / self.tau)


@Estimator.registry.add("st_gumbel")
class StraightThroughGumbel(Relaxed):
    """Straight-through Gumbel-softmax of two classes (Jang, Gu & Poole 2017).

        b = 1[z > 0],   d f / d ℓ := f'(b) y (1 - y) / τ,   y = σ(z / τ)

    The straight-through gradient at the relaxation of the very noise that fired the bit (Maddison,
    Mnih & Teh 2017). Evaluations of f per sample and step: 1. Biased.

    Args:
        tau: temperature τ > 0.

    Raises:
        ConfigError: for tau ≤ 0.
    """

    def __init__(self, *, tau: float = 1.0) -> None:
        super().__init__(tau=tau)

    def sample(self, site: Site) -> Tensor:
        z, y = self.relax(site)
        return replace_gradient((z > 0).to(y.dtype), y)


@Estimator.registry.add("concrete")
class Concrete(Relaxed):
    """Binary concrete distribution (Maddison, Mnih & Teh 2017; Jang, Gu & Poole 2017).

        y = σ(z / τ) in place of b, forward and backward

    The network is not binary in training, and the loss is that of the relaxed network; it is
    evaluated with bits, as every other. Evaluations of f per sample and step: 1. Biased.

    Args:
        tau: temperature τ > 0.

    Raises:
        ConfigError: for tau ≤ 0.
    """

    fractional_bits = True

    def __init__(self, *, tau: float = 0.5) -> None:
        super().__init__(tau=tau)

    def sample(self, site: Site) -> Tensor:
        return self.relax(site)[1]
