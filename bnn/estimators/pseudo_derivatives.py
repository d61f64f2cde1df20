"""Pseudo-derivatives s'(a), which the backward pass takes for the derivative of the step.

Each is given as the function whose gradient it is: `replace_gradient(bits, function)` has the value
of the bits and the gradient of the function. Prefer `density`: it is the derivative of the unit's
own firing probability, and so the straight-through estimator that theory derives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnn.nn.sites import Site
from bnn.registry import Registry

PSEUDO_DERIVATIVES: Registry[Tensor] = Registry("estimator.pseudo_derivative")


class _ReplaceGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bits: Tensor, function: Tensor) -> Tensor:
        return bits.view_as(bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def replace_gradient(bits: Tensor, function: Tensor) -> Tensor:
    """Tensor with the value of `bits` and the gradient of `function`.

    Equal to bits + (function - function.detach()), without its arithmetic.

    Args:
        bits: values of the forward pass, any shape.
        function: of the same shape, differentiated in the backward pass.

    Returns:
        Of the same shape.
    """
    replaced: Tensor = _ReplaceGradient.apply(bits, function)
    return replaced


@PSEUDO_DERIVATIVES.add("identity")
def identity(site: Site) -> Tensor:
    """Function a with s'(a) = 1 (Hinton 2012; Bengio, Léonard & Courville 2013)."""
    return site.preactivation


@PSEUDO_DERIVATIVES.add("density")
def density(site: Site) -> Tensor:
    """Function F(a) with s'(a) = F'(a), the density of the law (Shekhovtsov & Yanush 2021)."""
    return site.probs


@PSEUDO_DERIVATIVES.add("sigmoid")
def sigmoid(site: Site) -> Tensor:
    """Function σ(2a) with s'(a) = 2 p (1 - p), p = σ(2a), whatever the unit's law.

    The sigmoid-adjusted variant (Bengio et al. 2013; Raiko et al. 2015). Under the logistic law
    this is `density`; under another it is a mismatch that was asked for.
    """
    return torch.sigmoid(2 * site.preactivation)
