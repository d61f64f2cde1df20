"""Pseudo-derivatives, written as the tensor whose gradient the backward pass takes instead of the step's.

`attach(bits, surrogate)` has the value of the bits and the gradient of the surrogate. Prefer `density`: it is the
derivative of the unit's own firing probability, and so the straight-through estimator that theory derives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnn.neurons import Site
from bnn.registry import Registry

SURROGATES: Registry[Tensor] = Registry("estimator.proxy")


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bits: Tensor, surrogate: Tensor) -> Tensor:
        return bits.view_as(bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def attach(bits: Tensor, surrogate: Tensor) -> Tensor:
    """`bits` in the forward pass, d surrogate in the backward pass: bits + (surrogate - surrogate.detach()), for free."""
    return _Attach.apply(bits, surrogate)


@SURROGATES.add("identity")
def identity(site: Site) -> Tensor:
    """d/da = 1 (Hinton 2012; Bengio, Léonard & Courville 2013)."""
    return site.a


@SURROGATES.add("density")
def density(site: Site) -> Tensor:
    """d/da = F'(a), the density of the unit's own noise law (Shekhovtsov & Yanush 2021)."""
    return site.p


@SURROGATES.add("sigmoid")
def sigmoid(site: Site) -> Tensor:
    """d/da = 2 p (1 - p) with p = σ(2a), whatever the unit's law (sigmoid-adjusted: Bengio et al. 2013; Raiko et al. 2015).

    Under the logistic law this is `density`; under another it is a mismatch that was asked for.
    """
    return torch.sigmoid(2 * site.a)
