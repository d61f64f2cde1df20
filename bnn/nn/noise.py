"""Noise laws: the probability that a binary unit fires, and the density that is its derivative.

A unit fires when `a + z > 0` for noise `z` of law F (symmetric), so `P(b = 1 | a) = F(a)`. Every law here is scaled to
`2 F'(0) = 1`, so that they share their slope at the threshold (Shekhovtsov & Yanush 2021, Fig. 1). `a` is the
pre-activation after the slope. Prefer `logistic`: it is smooth, has full support, and every estimator accepts it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from bnn.registry import Registry


class NoiseLaw(ABC):
    """A symmetric noise law. `cdf` is differentiable, and its derivative is `density`."""

    registry: ClassVar[Registry[NoiseLaw]] = Registry("neuron.law")
    full_support: ClassVar[bool]
    """Whether 0 < F(a) < 1 for every finite a, so that log q(b) and its second moment are finite."""

    @abstractmethod
    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        """F(a) = P(b = 1 | a), same shape as `a`."""

    @abstractmethod
    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        """F'(a), same shape as `a`."""

    @abstractmethod
    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        """F^-1(u) for u in [0, 1]: the noise z that u ~ U[0, 1] stands for; finite, as if u kept off 0 and 1."""

    def log_odds(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        """log F(a) - log(1 - F(a)); infinite where a law without full support has F(a) in {0, 1}."""
        return torch.logit(self.cdf(a))


@NoiseLaw.registry.add("uniform")
class Uniform(NoiseLaw):
    """z ~ U[-1, 1]: F(a) = (clip(a, -1, 1) + 1) / 2, the hard sigmoid; F'(a) = 1/2 on |a| < 1."""

    full_support = False

    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return (a.clamp(-1, 1) + 1) / 2

    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return (a.abs() < 1).to(a.dtype) / 2

    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return 2 * u - 1


@NoiseLaw.registry.add("logistic")
class Logistic(NoiseLaw):
    """F(a) = σ(2a), F'(a) = 2 σ(2a) (1 - σ(2a)), log-odds 2a."""

    full_support = True

    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.sigmoid(2 * a)

    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        p = self.cdf(a)
        return 2 * p * (1 - p)

    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.logit(u, eps=torch.finfo(u.dtype).eps / 2) / 2

    def log_odds(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return 2 * a


@NoiseLaw.registry.add("gaussian")
class Gaussian(NoiseLaw):
    """z ~ N(0, 2/π): F(a) = Φ(a √(π/2)), F'(a) = ½ exp(-π a² / 4)."""

    full_support = True
    scale = math.sqrt(math.pi / 2)

    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.special.ndtr(self.scale * a)

    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.exp(-math.pi / 4 * a.square()) / 2

    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        eps = torch.finfo(u.dtype).eps / 2
        return torch.special.ndtri(u.clamp(eps, 1 - eps)) / self.scale

    def log_odds(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        # logit(Φ) loses every digit beyond |a| ≈ 6; the two logarithms do not
        return torch.special.log_ndtr(self.scale * a) - torch.special.log_ndtr(-self.scale * a)


@NoiseLaw.registry.add("triangular")
class Triangular(NoiseLaw):
    """z on [-2, 2], F'(a) = max(0, 2 - |a|) / 4 (a scaled ApproxSign); F(a) = ½ + sign(a) (½ - max(0, 2 - |a|)² / 8)."""

    full_support = False

    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        # clipping a itself keeps autograd exact: F is then a polynomial of the clipped value, 0 slope outside
        c = a.clamp(-2, 2)
        return 0.5 + c / 2 - c * c.abs() / 8

    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return (2 - a.abs()).clamp(min=0) / 4

    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.sign(u - 0.5) * (2 - torch.sqrt(4 - 4 * (2 * u - 1).abs()))
