"""Fit of an estimator's own parameters to the variance of its estimates."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def relative_mean_square(gradients: Sequence[Tensor], past: Tensor, decay: float) -> Tensor:
    """Sum over layers of an estimate's mean square, divided by its running mean.

    The expected mean square of an unbiased estimate is its variance and a constant; divided by its
    running mean it asks for the same learning rate whatever the unit of the loss.

    Args:
        gradients: estimates of each layer, any shapes.
        past: running sum of the weights, then of each layer's mean squares, [1 + layers]; updated.
        decay: of the running sums, in [0, 1).

    Returns:
        Scalar.
    """
    sizes = torch.stack([gradient.square().mean() for gradient in gradients])
    weight, sums = past[0], past[1:]
    means = torch.where(weight > 0, sums / weight.clamp(min=1e-12), sizes.detach().to(sums))
    with torch.no_grad():
        latest = torch.cat([torch.ones_like(sizes[:1]), sizes])
        past.lerp_(latest.to(past), 1 - decay)
    return (sizes / means.clamp(min=torch.finfo(means.dtype).tiny)).sum()
