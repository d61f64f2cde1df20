"""Binary activations with a pathwise gradient, as functions of pre-activations.

    hidden = bnn.functional.straight_through(linear(x))

For networks without an estimator object. Every function samples its bits, b ~ Bernoulli(F(a)) for a
noise law F, and returns them with a gradient by `a`. In expectation `straight_through` with the
density of the law is exact for one layer under a multilinear loss, `reinmax` under a quadratic one.
They call `StraightThrough`, `ReinMax`, `StraightThroughGumbel` and `Concrete` of `bnn.estimators`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.compatibility import check_law
from bnn.estimators.concrete import Concrete, StraightThroughGumbel
from bnn.estimators.straight_through import OnePass, ReinMax, StraightThrough
from bnn.nn.noise import NoiseLaw
from bnn.nn.sites import Noise, Site

__all__ = ["concrete", "reinmax", "st_gumbel", "straight_through"]


def straight_through(
    a: Float[Tensor, "*units"],
    *,
    pseudo_derivative: str = "density",
    law: NoiseLaw | str = "logistic",
    noise: Noise = torch.rand_like,
) -> Float[Tensor, "*units"]:
    """Bits b ~ Bernoulli(F(a)) with the gradient d b / d a := s'(a).

    The straight-through estimator (Bengio, Léonard & Courville 2013, §4).

    Args:
        a: pre-activations, any shape.
        pseudo_derivative: s', `density`, `identity` or `sigmoid`.
        law: noise law F, or its name.
        noise: source of the uniform numbers.

    Returns:
        Bits, of the shape of `a`.

    Raises:
        ConfigError: for another pseudo-derivative.
    """
    return _sample(StraightThrough(pseudo_derivative=pseudo_derivative), a, law, noise)


def reinmax(
    a: Float[Tensor, "*units"],
    tau: float = 1.0,
    *,
    law: NoiseLaw | str = "logistic",
    noise: Noise = torch.rand_like,
) -> Float[Tensor, "*units"]:
    """Bits b ~ Bernoulli(p) with the gradient d b / d ℓ := 2π(1 - π) - p(1 - p)/2.

    π = (σ(ℓ/τ) + b)/2 (Liu et al. 2023).

    Args:
        a: pre-activations, any shape; ℓ are their log-odds, 2a under the logistic law.
        tau: temperature τ ≥ 1.
        law: noise law with full support, or its name.
        noise: source of the uniform numbers.

    Returns:
        Bits, of the shape of `a`.

    Raises:
        ConfigError: for tau < 1, or a law without full support.
    """
    return _sample(ReinMax(tau=tau), a, law, noise)


def st_gumbel(
    a: Float[Tensor, "*units"],
    tau: float = 1.0,
    *,
    law: NoiseLaw | str = "logistic",
    noise: Noise = torch.rand_like,
) -> Float[Tensor, "*units"]:
    """Bits b = 1[z > 0], z = ℓ - logit(u), with the gradient of y = σ(z / τ).

    Straight-through Gumbel-softmax of two classes (Jang, Gu & Poole 2017).

    Args:
        a: pre-activations, any shape; ℓ are their log-odds, 2a under the logistic law.
        tau: temperature τ > 0.
        law: noise law with full support, or its name.
        noise: source of the uniform numbers u.

    Returns:
        Bits, of the shape of `a`.

    Raises:
        ConfigError: for tau ≤ 0, or a law without full support.
    """
    return _sample(StraightThroughGumbel(tau=tau), a, law, noise)


def concrete(
    a: Float[Tensor, "*units"],
    tau: float = 0.5,
    *,
    law: NoiseLaw | str = "logistic",
    noise: Noise = torch.rand_like,
) -> Float[Tensor, "*units"]:
    """Binary concrete variable y = σ(z / τ), z = ℓ - logit(u) (Maddison, Mnih & Teh 2017).

    Args:
        a: pre-activations, any shape; ℓ are their log-odds, 2a under the logistic law.
        tau: temperature τ > 0.
        law: noise law with full support, or its name.
        noise: source of the uniform numbers u.

    Returns:
        y in (0, 1), of the shape of `a`.

    Raises:
        ConfigError: for tau ≤ 0, or a law without full support.
    """
    return _sample(Concrete(tau=tau), a, law, noise)


def _sample(estimator: OnePass, a: Tensor, law: NoiseLaw | str, noise: Noise) -> Tensor:
    law = NoiseLaw.registry[law]() if isinstance(law, str) else law
    check_law(estimator, law)
    if not a.is_floating_point():
        raise ConfigError(f"a: expected floating-point pre-activations, got {a.dtype}")
    if a.dtype.itemsize < 4:  # bfloat16 has 8 bits for a probability
        a = a.float()
    return estimator.sample(Site(a, law, Site.sample, noise=noise))
