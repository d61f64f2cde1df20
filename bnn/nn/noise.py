"""Noise laws: the probability that a binary unit fires, and the density that is its derivative.

A unit fires when `a + z > 0` for noise z of a symmetric law F, so `P(b = 1 | a) = F(a)`, where a is
the pre-activation after the slope. Every law here is scaled to `2 F'(0) = 1`, so that all have the
same slope at the threshold (Shekhovtsov & Yanush 2021, Fig. 1). Prefer `logistic`: it is smooth,
has full support, and every estimator accepts it.
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
    """Symmetric noise law F. `cdf` is differentiable, and its derivative is `density`."""

    registry: ClassVar[Registry[NoiseLaw]] = Registry("neuron.law")
    full_support: ClassVar[bool]
    """Whether 0 < F(a) < 1 for every finite a: log q(b) and the second moment of its
    derivative are then finite."""

    @abstractmethod
    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        """Firing probability F(a) = P(b = 1 | a).

        Args:
            a: pre-activations, any shape.

        Returns:
            Probabilities in [0, 1], of the shape of `a`.
        """

    @abstractmethod
    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        """Density F'(a) of the noise.

        Args:
            a: pre-activations, any shape.

        Returns:
            Of the shape of `a`.
        """

    @abstractmethod
    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        """Noise z = F^-1(u); finite, as if u kept off 0 and 1.

        Args:
            u: uniform numbers in [0, 1], any shape.

        Returns:
            Of the shape of `u`.
        """

    def logits(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        """Log-odds log F(a) - log(1 - F(a)) of firing.

        Args:
            a: pre-activations, any shape.

        Returns:
            Of the shape of `a`; infinite where a law without full support has F(a) in {0, 1}.
        """
        return torch.logit(self.cdf(a))


@NoiseLaw.registry.add("uniform")
class Uniform(NoiseLaw):
    """Uniform noise, z ~ U[-1, 1]: the hard sigmoid.

    F(a) = (clip(a, -1, 1) + 1) / 2 and F'(a) = 1/2 on |a| < 1.
    """

    full_support = False

    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return (a.clamp(-1, 1) + 1) / 2

    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return (a.abs() < 1).to(a.dtype) / 2

    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return 2 * u - 1


@NoiseLaw.registry.add("logistic")
class Logistic(NoiseLaw):
    """Logistic noise: F(a) = σ(2a), F'(a) = 2 σ(2a) (1 - σ(2a)), logits 2a."""

    full_support = True

    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.sigmoid(2 * a)

    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        p = self.cdf(a)
        return 2 * p * (1 - p)

    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.logit(u, eps=torch.finfo(u.dtype).eps / 2) / 2

    def logits(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return 2 * a


@NoiseLaw.registry.add("gaussian")
class Gaussian(NoiseLaw):
    """Gaussian noise, z ~ N(0, 2/π): F(a) = Φ(a √(π/2)), F'(a) = ½ exp(-π a² / 4)."""

    full_support = True
    scale = math.sqrt(math.pi / 2)

    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        p: Tensor = torch.special.ndtr(self.scale * a)
        return p

    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.exp(-math.pi / 4 * a.square()) / 2

    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        eps = torch.finfo(u.dtype).eps / 2
        standard: Tensor = torch.special.ndtri(u.clamp(eps, 1 - eps))
        return standard / self.scale

    def logits(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        # logit(Φ) loses every digit beyond |a| ≈ 6; the two logarithms do not
        above: Tensor = torch.special.log_ndtr(self.scale * a)
        below: Tensor = torch.special.log_ndtr(-self.scale * a)
        return above - below


@NoiseLaw.registry.add("triangular")
class Triangular(NoiseLaw):
    """Triangular noise z on [-2, 2], whose density is a scaled ApproxSign (Liu et al. 2018).

    F(a) = ½ + sign(a) (½ - max(0, 2 - |a|)² / 8) and F'(a) = max(0, 2 - |a|) / 4.
    """

    full_support = False

    def cdf(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        # clipping a itself keeps autograd exact: F is a polynomial of the clipped value,
        # with slope 0 outside
        c = a.clamp(-2, 2)
        return 0.5 + c / 2 - c * c.abs() / 8

    def density(self, a: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return (2 - a.abs()).clamp(min=0) / 4

    def quantile(self, u: Float[Tensor, "*units"]) -> Float[Tensor, "*units"]:
        return torch.sign(u - 0.5) * (2 - torch.sqrt(4 - 4 * (2 * u - 1).abs()))
