"""Estimators that relax a bit to a number between 0 and 1: the binary concrete distribution and what is built on it.

With logistic noise z = ℓ + log(u' / (1 - u')) a unit fires where z > 0, and y = σ(z / τ) is its relaxation. `st_gumbel`
and `concrete` are biased and take one pass; `rebar` and `relax` use a relaxation as control variate of REINFORCE and are
unbiased. Any law with full support will do: ℓ are its logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.baselines import check_decay
from bnn.estimators.layerwise import LayerByLayer, LayerSamples
from bnn.estimators.pseudo_derivatives import replace_gradient
from bnn.estimators.straight_through import OnePass
from bnn.nn.replicas import join, mean_of_descendants
from bnn.nn.sites import Site


def _check_temperature(tau: float) -> float:
    if not 0 < tau < math.inf:
        raise ConfigError(f"estimator.tau: expected a positive, finite temperature, got {tau}")
    return tau


def logit(v: Tensor) -> Tensor:
    """log v - log(1 - v), of v kept off 0 and 1 by the precision of its dtype."""
    eps = torch.finfo(v.dtype).eps / 2
    return torch.logit(v.clamp(eps, 1 - eps))  # torch.logit's own eps has a second derivative of NaN outside


def reparameterize(logits: Tensor, u: Tensor) -> Tensor:
    """z = ℓ - logit(u) for u ~ U[0, 1): logistic around ℓ, and positive exactly where u < p, as in `Site.sample`."""
    return logits - logit(u)


def reparameterize_conditional(logits: Tensor, bits: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """z̃ ~ p(z | b) for v ~ U[0, 1), and dz̃/dℓ, in which the interval of z moves with ℓ.

    z̃ = ℓ + logit(v'), v' = b (1 - p + v p) + (1 - b) v (1 - p) (Tucker et al. 2017), hence dz̃/dℓ is
    1 - (1 - p) / v' where b = 1 and 1 - p / (1 - v') where b = 0.

    Args:
        logits, bits, v: of one shape.

    Returns:
        z̃ and dz̃/dℓ, of that shape.
    """
    p = torch.sigmoid(logits)
    distance = (bits - p).abs()
    within = bits * (1 - p) + v * (1 - distance)
    # a certain unit (p = 1, v = 0) divides nothing by nothing
    dz_dlogits = 1 - distance / (1 - (bits - within).abs()).clamp(min=torch.finfo(p.dtype).tiny)
    return logits + logit(within), dz_dlogits


class Relaxed(OnePass):
    """One pass with the noise of the binary concrete distribution.

    Args:
        tau: temperature τ > 0.

    Raises:
        ConfigError: for tau ≤ 0.
    """

    needs_full_support = True

    def __init__(self, *, tau: float) -> None:
        super().__init__()
        self.tau = _check_temperature(tau)

    def relax(self, site: Site) -> tuple[Tensor, Tensor]:
        """z and σ(z / τ), of the shape of the site."""
        z = reparameterize(site.logits, site.noise(site.probs.detach()))
        return z, torch.sigmoid(z / self.tau)


@Estimator.registry.add("st_gumbel")
class StraightThroughGumbel(Relaxed):
    """Straight-through Gumbel-softmax, b = 1[z > 0], d/dℓ := y (1 - y) / τ, y = σ(z / τ) (Jang, Gu & Poole 2017).

    The straight-through gradient at the relaxation of the very noise that fired the bit (Maddison, Mnih & Teh 2017).

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
    """Binary concrete distribution, y = σ(z / τ) forward and backward (Maddison, Mnih & Teh 2017; Jang et al. 2017).

    The network is not binary in training, and the loss is that of the relaxed network; it is evaluated with bits, as every
    other.

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


@dataclass(frozen=True)
class Relaxation:
    """A relaxed layer.

    Args:
        y: [1, samples, *units], between 0 and 1.
        dy_dlogits: its derivative by the layer's own logits, unit by unit.
    """

    y: Tensor
    dy_dlogits: Tensor


@Estimator.registry.add("rebar")
class REBAR(LayerByLayer):
    """REBAR, [f(b) - η c(z̃)] (b - p) + η d_ℓ c(z) - η d_ℓ c(z̃), c the loss with one layer relaxed (Tucker et al. 2017).

    Layer by layer: c sends σ(z / τ) up from the layer, and firing probabilities from those above it, so that it is smooth.
    η is kept for each layer, as the regression of (b - p) f on the control variate over the previous batches, which
    minimises the variance for a given τ (the paper descends on both). 1 + 2 · layers evaluations.

    Args:
        tau: temperature τ > 0.
        decay: of the averages behind η, in [0, 1).

    Raises:
        ConfigError: for tau ≤ 0 or decay outside [0, 1).
    """

    true_samples = False
    fractional_bits = True
    differentiates_units = True
    moments: Tensor

    def __init__(self, *, tau: float = 0.5, decay: float = 0.99) -> None:
        super().__init__()
        self.tau = _check_temperature(tau)
        self.decay = check_decay("estimator.decay", decay)

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        like = sites[0].preactivation if sites else inputs
        self.register_buffer("moments", like.new_zeros(len(sites), 2))

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 3

    def relax(self, site: Site) -> tuple[Tensor, Relaxation, Relaxation]:
        """Bits b, σ(z / τ) of the z that fired them, and σ(z̃ / τ) of a z̃ ~ p(z | b)."""
        p, logits = site.probs.detach(), site.logits.detach()
        u, v = site.noise(p), site.noise(p)
        bits = (u < p).to(site.preactivation.dtype)
        z_again, dz_dlogits = reparameterize_conditional(logits, bits, v)
        y, y_again = (torch.sigmoid(z / self.tau) for z in (reparameterize(logits, u), z_again))
        return (
            bits,
            Relaxation(y, y * (1 - y) / self.tau),
            Relaxation(y_again, y_again * (1 - y_again) / self.tau * dz_dlogits),
        )

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        bits, *relaxed = self.relax(site)
        sent = [one.y.clone().requires_grad_() for one in relaxed]
        return join([bits, *sent]), (relaxed, sent)

    def continue_with(self, site: Site) -> Tensor:
        return site.probs

    def gradient(self, layer: LayerSamples) -> Tensor:
        relaxed, sent = layer.cache
        index, b_minus_p = layer.site.index, layer.b_minus_p
        loss = mean_of_descendants(layer.drawn.loss, layer.drawn.sites[index].lineage, first=True)[1:3]
        # a shared site takes the gradient of the mean loss, any other that of each sample's own
        loss = loss.mean(1) if layer.site.shared else loss
        found = torch.autograd.grad(loss.sum(), sent, retain_graph=True, allow_unused=True)
        slopes = [torch.zeros_like(y) if slope is None else slope for y, slope in zip(sent, found, strict=True)]
        dc_z, dc_z_again = (slope * one.dy_dlogits for slope, one in zip(slopes, relaxed, strict=True))
        reinforce_term = layer.loss[:1] * b_minus_p
        control = layer.loss[2:] * b_minus_p - dc_z + dc_z_again
        covariance, variance = self.moments[index]
        estimate = reinforce_term - covariance / variance.clamp(min=1e-12) * control
        latest = torch.stack([(reinforce_term * control).mean(), control.square().mean()])
        self.moments[index].lerp_(latest.to(self.moments), 1 - self.decay)
        return estimate


class ControlVariate(nn.Module):
    """r(y) = s (w · tanh(W y + v) + c) of one layer's units; starts at 0, so that RELAX starts as REBAR.

    Args:
        units: number of units of the layer.
        hidden: units of the tanh layer.
        scale: s.
    """

    def __init__(self, units: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.first, self.last = nn.Linear(units, hidden), nn.Linear(hidden, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """r(y) and its derivative, which is written out so that fitting it takes no second derivative.

        Args:
            y: [..., units].

        Returns:
            [...] and [..., units].
        """
        h = torch.tanh(self.first(y))
        slope = ((1 - h.square()) * self.last.weight) @ self.first.weight
        return self.scale * self.last(h).squeeze(-1), self.scale * slope


@Estimator.registry.add("relax")
class RELAX(REBAR):
    """RELAX, [f(b) - c(z̃)] (b - p) + d_ℓ c(z) - d_ℓ c(z̃), c = η · the relaxed loss + r_φ (Grathwohl et al. 2018).

    Layer by layer: REBAR and a network r_φ of one hidden tanh layer on σ(z / τ), fitted with the run's optimizer to the
    estimate's mean square (by its logarithm), whose expectation differs from the variance by a constant. η is REBAR's, and
    the temperature stays (the paper learns both with φ). As many evaluations as REBAR.

    Args:
        tau: temperature τ > 0.
        decay: of the averages behind η, in [0, 1).
        hidden: units of r_φ's hidden layer.
        scale: factor s of r_φ: the smaller, the slower it learns, since what suits the network's weights is too fast for it.

    Raises:
        ConfigError: as REBAR, for hidden < 1, and for scale ≤ 0.
    """

    def __init__(self, *, tau: float = 0.5, decay: float = 0.99, hidden: int = 32, scale: float = 0.1) -> None:
        super().__init__(tau=tau, decay=decay)
        if hidden < 1:
            raise ConfigError(f"estimator.hidden: expected at least 1 unit, got {hidden}")
        if not 0 < scale < math.inf:
            raise ConfigError(f"estimator.scale: expected a positive, finite number, got {scale}")
        self.hidden, self.scale = hidden, scale

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        self.controls = nn.ModuleList(
            ControlVariate(units, self.hidden, self.scale).to(site.preactivation)
            for units, site in zip(self._units, sites, strict=True)
        )

    def gradient(self, layer: LayerSamples) -> Tensor:
        (first, again), _ = layer.cache
        control, b_minus_p = self.controls[layer.site.index], layer.b_minus_p
        (_, slope), (value, slope_again) = control(first.y.flatten(2)), control(again.y.flatten(2))
        moved = slope.view_as(first.y) * first.dy_dlogits - slope_again.view_as(again.y) * again.dy_dlogits
        return super().gradient(layer) - layer.site.aligned(value.to(b_minus_p.dtype)) * b_minus_p + moved

    def auxiliary_loss(self, gradient: Tensor) -> Tensor:
        size = gradient.square().mean()
        return size / size.detach().clamp(min=torch.finfo(size.dtype).tiny)  # that of its logarithm: no unit of the loss
