"""Pseudo-derivatives s'(a), which the backward pass takes for the derivative of the step.

Each is given as the function whose gradient it is, for `bnn.nn.gradients.replace_gradient`. Prefer
`density`: it is the derivative of the unit's own firing probability, and so the straight-through
estimator that theory derives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnn.nn.sites import Site
from bnn.registry import Registry

PSEUDO_DERIVATIVES: Registry[Tensor] = Registry("estimator.pseudo_derivative")


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
