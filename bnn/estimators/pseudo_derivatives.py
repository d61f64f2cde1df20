"""Pseudo-derivatives, each as the function whose gradient the backward pass takes instead of the step's.

`replace_gradient(bits, function)` has the value of the bits and the gradient of the function. Prefer `density`: it is the
derivative of the unit's own firing probability, and so the straight-through estimator that theory derives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bnn.nn.sites import Site
from bnn.registry import Registry

PSEUDO_DERIVATIVES: Registry[Tensor] = Registry("estimator.proxy")


class _ReplaceGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, bits: Tensor, function: Tensor) -> Tensor:
        return bits.view_as(bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, gradients[0]


def replace_gradient(bits: Tensor, function: Tensor) -> Tensor:
    """`bits` in the forward pass and the gradient of `function` in the backward pass; both of one shape.

    Equal to bits + (function - function.detach()), without its arithmetic.
    """
    return _ReplaceGradient.apply(bits, function)


@PSEUDO_DERIVATIVES.add("identity")
def identity(site: Site) -> Tensor:
    """s'(a) = 1 (Hinton 2012; Bengio, Léonard & Courville 2013)."""
    return site.preactivation


@PSEUDO_DERIVATIVES.add("density")
def density(site: Site) -> Tensor:
    """s'(a) = F'(a), the density of the unit's own noise law (Shekhovtsov & Yanush 2021)."""
    return site.probs


@PSEUDO_DERIVATIVES.add("sigmoid")
def sigmoid(site: Site) -> Tensor:
    """s'(a) = 2 p (1 - p) with p = σ(2a), whatever the unit's law (sigmoid-adjusted: Bengio et al. 2013; Raiko et al. 2015).

    Under the logistic law this is `density`; under another it is a mismatch that was asked for.
    """
    return torch.sigmoid(2 * site.preactivation)
