"""RODEO: leave-one-out REINFORCE with learned control variates from a discrete Stein operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.baselines import check_decay
from bnn.estimators.fitting import relative_mean_square
from bnn.estimators.slopes import DrawsWithSlopes, LayerDraws
from bnn.nn.replicas import mean_of_others
from bnn.nn.sites import Site

LEAK = 0.3
"""Negative slope of the surrogate's hidden units, the authors'."""


class Surrogate(nn.Module):
    """Learned surrogates (h, h̃) of the loss, a network of one hidden layer of leaky rectifiers.

    Its output begins at 0, and RODEO as leave-one-out; in the paper two factors that begin at 0
    follow a network that does not.

    Args:
        hidden: number of hidden units.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, hidden), nn.Linear(hidden, 2)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, change: Tensor, loss: Tensor) -> Tensor:
        """Values (h, h̃) at bits y, by the loss of another draw b and its linear expansion.

        At one loss they are piecewise linear in the change, with a knot for each hidden unit. The
        slopes and intercepts of all segments are summed up once for each loss, and each point finds
        its segment, which costs less than `hidden` units at each point.

        Args:
            change: f'(b) · (y - b), [..., points].
            loss: f(b), [...].

        Returns:
            [..., points, 2].
        """
        slope, by_loss = self.first.weight.T
        intercept = loss[..., None] * by_loss + self.first.bias
        lines = torch.stack([slope.expand_as(intercept), intercept], -1)
        last = self.last.weight.T[..., None]
        contributions = lines[..., None, :] * last  # [..., hidden, (h, h̃), (slope, intercept)]
        # a unit whose slope is 0 has its knot so far away that it never leaves its side
        tiny = torch.finfo(slope.dtype).tiny
        rising = (slope > -tiny).to(slope)[:, None, None]
        leftmost = (contributions * (1 - (1 - LEAK) * rising)).sum(-3, keepdim=True)
        bends = contributions * (1 - LEAK) * (2 * rising - 1)
        knots = -intercept / torch.where(slope.abs() < tiny, tiny, slope)
        knots, order = knots.detach().sort(-1)
        bends = bends.take_along_dim(order[..., None, None], -3)
        segments = torch.cat([leftmost, bends], -3).cumsum(-3)
        at = torch.searchsorted(knots, change.detach().contiguous())
        slopes, intercepts = segments.take_along_dim(at[..., None, None], -3).unbind(-1)
        return slopes * change[..., None] + intercepts + self.last.bias


class Scales(NamedTuple):
    """Statistics of a layer's losses over earlier batches, scalars.

    Args:
        mean: of the loss.
        deviation: standard deviation of the loss.
        unit: standard deviation of the loss over the draws of a sample.
        known: 1, or 0 before the first batch, when the others are 0, 1 and 1.
    """

    mean: Tensor
    deviation: Tensor
    unit: Tensor
    known: Tensor


class Values(NamedTuple):
    """Mean surrogates of the other draws at the bits of each draw, and at their neighbours.

    Args:
        here: at the bits, [K, samples, 2].
        flipped: at the bits with one unit flipped, [K, samples, units, 2].
    """

    here: Tensor
    flipped: Tensor


def _others(values: Tensor) -> Tensor:
    """Values of the other draws beside each, [K, K - 1, …], of values [K, …]."""
    return torch.stack([values.roll(-shift, 0) for shift in range(1, len(values))], 1)


@Estimator.registry.add("rodeo")
class RODEO(DrawsWithSlopes):
    """RODEO, leave-one-out REINFORCE with discrete Stein control variates (Shi et al. 2022).

        d f / d ℓ := mean_k [(f_k - mean_{j≠k} (f_j + (A h_j)(b_j))) (b_k - p) + (A h̃_k s)(b_k)]

    A is the Stein operator by Barker's rule, (A g)(b) = Σ_i q(1 - b_i) (g(b with b_i flipped) -
    g(b)), whose expectation is 0 for every g; s(b) = b - p. h_k and h̃_k are means over the other
    draws j ≠ k of a learned function of f_j and f'(b_j) · (b - b_j); in a layer below another
    binary one the slope f' passes the bits above as straight-through does. The function is fitted
    with the run's optimizer to the estimates' mean square, for each layer, and begins at 0, which
    is leave-one-out. So is the estimate of the first batch, before which there is nothing to
    standardise losses by. (In the paper A is a mean over the units, and one function serves all
    layers.)

    Evaluations of f per sample and step: K. Unbiased.

    Args:
        samples: K, draws of all binary layers together.
        decay: of the running averages by which losses are standardised, in [0, 1).
        hidden: hidden units of the learned function.

    Raises:
        ConfigError: for samples < 2, decay outside [0, 1) or hidden < 1.
    """

    moments: Tensor
    size: Tensor

    def __init__(self, *, samples: int = 2, decay: float = 0.99, hidden: int = 32) -> None:
        super().__init__(samples)
        self.decay = check_decay("estimator.decay", decay)
        if hidden < 1:
            raise ConfigError(f"estimator.hidden: expected at least 1 unit, got {hidden}")
        self.hidden = hidden

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        like = sites[0].preactivation.detach() if sites else torch.zeros(0, device=inputs.device)
        self.surrogates = nn.ModuleList(Surrogate(self.hidden).to(like) for _ in sites)
        # running sums of the weights, of f, f² and its variance over the draws
        self.register_buffer("moments", like.new_zeros(len(sites), 4))
        self.register_buffer("size", like.new_zeros(len(sites) + 1))

    def gradient(self, layer: LayerDraws) -> Tensor:
        site, noise = layer.site, layer.b_minus_p
        scales = self._scales(layer)
        unit = scales.unit
        here, flipped = self._surrogates(layer, scales)
        # q(1 - b_i) is |b_i - p_i|, and a flip adds 1 - 2 b_i to the score
        flips = noise.abs()
        differences = (flips.flatten(2)[..., None] * (flipped - here[..., None, :])).sum(2)
        of_loss, of_score = (unit * differences).unbind(-1)
        own = unit * flipped[..., 1].reshape(noise.shape) * flips * (1 - 2 * layer.bits)
        credit = layer.loss - mean_of_others(layer.loss + of_loss)
        return site.aligned(credit + of_score) * noise + own

    def _surrogates(self, layer: LayerDraws, scales: Scales) -> Values:
        """Mean surrogates of the other draws, in units of the loss's variation over the draws."""
        bits, slope = layer.bits.flatten(2)[:, None], _others(layer.slope.flatten(2)) / scales.unit
        loss = (_others(layer.loss) - scales.mean) / scales.deviation
        change = (slope * (bits - _others(layer.bits.flatten(2)))).sum(3, keepdim=True)
        points = torch.cat([change, change + slope * (1 - 2 * bits)], 3)
        values = scales.known * self.surrogates[layer.site.index](points, loss).mean(1)
        return Values(values[..., 0, :], values[..., 1:, :])

    def _scales(self, layer: LayerDraws) -> Scales:
        """Statistics by earlier batches, to which this one is added."""
        weight, first, second, between = self.moments[layer.site.index].clone()
        known, weight = weight > 0, weight.clamp(min=1e-12)
        mean = torch.where(known, first / weight, 0.0)
        variances = torch.stack([second / weight - mean.square(), between / weight])
        deviation, unit = torch.where(known, variances.clamp(min=1e-12).sqrt(), 1.0)
        loss = layer.loss
        latest = torch.ones_like(mean), loss.mean(), loss.square().mean(), loss.var(0).mean()
        self.moments[layer.site.index].lerp_(torch.stack(latest).to(self.moments), 1 - self.decay)
        return Scales(mean, deviation, unit, known.to(mean))

    def auxiliary_loss(self, gradients: Sequence[Tensor]) -> Tensor:
        """Mean squares of the estimates over their running means, as the surrogates make them.

        Divided by the number of hidden units, with which the curvature grows; gradient descent then
        bears the network's learning rate.

        Args:
            gradients: estimates of each layer, [K, samples, *units].

        Returns:
            Scalar, whose gradient alone is used.
        """
        fit = relative_mean_square([one.mean(0) for one in gradients], self.size, self.decay)
        return fit / self.hidden
