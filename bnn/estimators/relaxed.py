"""Estimators that relax a bit to a number between 0 and 1: the binary concrete distribution and what is built on it.

With logistic noise z = ℓ + log(u' / (1 - u')) a unit fires where z > 0, and y = σ(z / τ) is its relaxation. `st_gumbel`
and `concrete` are biased and cost one pass; `rebar` and `relax` use a relaxation as control variate of REINFORCE and are
unbiased. Any law with full support will do: ℓ are its log-odds.
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
from bnn.estimators.baselines import check_decay, over_units
from bnn.estimators.layerwise import Drawn, LayerByLayer
from bnn.estimators.straight_through import Pathwise
from bnn.neurons import Site
from bnn.passes import ancestors
from bnn.surrogates import attach


def _check_temperature(tau: float) -> float:
    if not 0 < tau < math.inf:
        raise ConfigError(f"estimator.tau: expected a positive, finite temperature, got {tau}")
    return tau


def logit(v: Tensor) -> Tensor:
    """log v - log(1 - v), of v kept off 0 and 1 by the type's precision."""
    eps = torch.finfo(v.dtype).eps / 2
    return torch.logit(v.clamp(eps, 1 - eps))  # torch.logit's own eps has a second derivative of NaN outside


def fired(log_odds: Tensor, u: Tensor) -> Tensor:
    """z = ℓ - logit(u): positive exactly where u < p, as in `Site.sample`."""
    return log_odds - logit(u)


def fired_again(log_odds: Tensor, bits: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """z̃ ~ p(z | b) for v ~ U[0, 1), and dz̃/dℓ, which knows that the interval of z moves with ℓ.

    z̃ = ℓ + logit(v'), v' = b (1 - p + v p) + (1 - b) v (1 - p) (Tucker et al. 2017), hence dz̃/dℓ is
    1 - (1 - p) / v' where b = 1 and 1 - p / (1 - v') where b = 0.
    """
    p = torch.sigmoid(log_odds)
    away = (bits - p).abs()
    within = bits * (1 - p) + v * (1 - away)
    # a certain unit (p = 1, v = 0) divides nothing by nothing
    rise = 1 - away / (1 - (bits - within).abs()).clamp(min=torch.finfo(p.dtype).tiny)
    return log_odds + logit(within), rise


class Relaxed(Pathwise):
    """One pass with the noise of the binary concrete distribution."""

    needs_full_support = True

    def __init__(self, *, tau: float) -> None:
        super().__init__()
        self.tau = _check_temperature(tau)

    def relax(self, site: Site) -> tuple[Tensor, Tensor]:
        """z and σ(z / τ)."""
        z = fired(site.log_odds, site.noise(site.p.detach()))
        return z, torch.sigmoid(z / self.tau)


@Estimator.registry.add("st_gumbel")
class StraightThroughGumbel(Relaxed):
    """b = 1[z > 0] forward, d/dℓ := y (1 - y) / τ, y = σ(z / τ) (Jang, Gu & Poole 2017; Maddison, Mnih & Teh 2017).

    The straight-through gradient at the relaxation of the very noise that fired the bit. Errors: ConfigError for tau ≤ 0.
    """

    def draw(self, site: Site) -> Tensor:
        z, y = self.relax(site)
        return attach((z > 0).to(y.dtype), y)


@Estimator.registry.add("concrete")
class Concrete(Relaxed):
    """y = σ(z / τ) forward and backward: the binary concrete distribution (Maddison, Mnih & Teh 2017; Jang et al. 2017).

    The net is not binary in training, whose loss is that of the relaxed net; it is evaluated with bits, as every other.
    Errors: ConfigError for tau ≤ 0.
    """

    def draw(self, site: Site) -> Tensor:
        return self.relax(site)[1]


@dataclass(frozen=True)
class Relaxation:
    """A layer relaxed: y [n, *units] between 0 and 1, and its derivative by the layer's own log-odds, unit by unit."""

    y: Tensor
    rise: Tensor


@Estimator.registry.add("rebar")
class REBAR(LayerByLayer):
    """[f(b) - η c(z̃)] (b - p) + η d_ℓ c(z) - η d_ℓ c(z̃), c the loss of the net relaxed at one layer (Tucker et al. 2017).

    Layer by layer: c sends σ(z / τ) up from the layer, and firing probabilities from those above it, so that it is smooth.
    η is kept for each layer, as the regression of (b - p) f on the control variate over the previous batches, which
    minimises the variance for a given τ (the paper descends on both). 1 + 2 · layers passes.
    Errors: ConfigError for tau ≤ 0 or decay outside [0, 1).
    """

    true_samples = False
    moments: Tensor

    def __init__(self, *, tau: float, decay: float) -> None:
        super().__init__()
        self.tau = _check_temperature(tau)
        self.decay = check_decay("estimator.decay", decay)

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().bind(sites, inputs)
        self.register_buffer("moments", inputs.new_zeros(len(sites), 2))

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 3

    def relax(self, site: Site) -> tuple[Tensor, Relaxation, Relaxation]:
        """Bits b, σ(z / τ) of the z that fired them, and σ(z̃ / τ) of a z̃ ~ p(z | b)."""
        p, log_odds = site.p.detach(), site.log_odds.detach()
        u, v = site.noise(p), site.noise(p)
        bits = (u < p).to(site.a.dtype)
        again, rise = fired_again(log_odds, bits, v)
        first, second = (torch.sigmoid(z / self.tau) for z in (fired(log_odds, u), again))
        return (
            bits,
            Relaxation(first, first * (1 - first) / self.tau),
            Relaxation(second, second * (1 - second) / self.tau * rise),
        )

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        bits, *relaxed = self.relax(site)
        sent = [one.y.clone().requires_grad_() for one in relaxed]
        return torch.cat([bits, *sent]), (relaxed, sent)

    def above(self, site: Site) -> Tensor:
        return site.p

    def gradient(self, drawn: Drawn) -> Tensor:
        relaxed, sent = drawn.memo
        lineage = ancestors(drawn.latest.tree, drawn.site.index)
        both = drawn.latest.loss[lineage.index(1)] + drawn.latest.loss[lineage.index(2)]
        slopes = torch.autograd.grad(both.sum(), sent, retain_graph=True)
        rises = [slope * one.rise for slope, one in zip(slopes, relaxed, strict=True)]
        away = drawn.bits[0] - drawn.site.p.detach()
        plain = over_units(drawn.loss[:1], drawn.bits)[0] * away
        control = over_units(drawn.loss[2:], drawn.bits)[0] * away - rises[0] + rises[1]
        covariance, variance = self.moments[drawn.site.index]
        estimate = plain - covariance / variance.clamp(min=1e-12) * control
        latest = torch.stack([(plain * control).mean(), control.square().mean()])
        self.moments[drawn.site.index].lerp_(latest.to(self.moments), 1 - self.decay)
        return estimate


class Control(nn.Module):
    """r(y) = s (w · tanh(W y + v) + c), of one layer's units; starts at 0, so that RELAX starts as REBAR."""

    def __init__(self, units: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.first, self.last = nn.Linear(units, hidden), nn.Linear(hidden, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """y [n, units] -> r(y) [n], and its derivative [n, units] by hand: to fit it then takes no second derivative."""
        h = torch.tanh(self.first(y))
        slope = ((1 - h.square()) * self.last.weight) @ self.first.weight
        return self.scale * self.last(h).flatten(), self.scale * slope


@Estimator.registry.add("relax")
class RELAX(REBAR):
    """[f(b) - c(z̃)] (b - p) + d_ℓ c(z) - d_ℓ c(z̃), c = η · the relaxed loss + r_φ, learned (Grathwohl et al. 2018).

    Layer by layer: REBAR and a network r_φ of one hidden tanh layer on σ(z / τ), fitted with the run's optimizer to the
    estimate's mean square (by its logarithm), whose expectation differs from the variance by a constant. η is REBAR's, and
    the temperature stays (the paper learns both with φ). `scale` is r_φ's factor s: the smaller, the slower it learns, since
    what suits the network's weights is too fast for it. As many passes as REBAR.
    Errors: ConfigError as REBAR, for hidden < 1, and for scale ≤ 0.
    """

    def __init__(self, *, tau: float, decay: float, hidden: int, scale: float) -> None:
        super().__init__(tau=tau, decay=decay)
        if hidden < 1:
            raise ConfigError(f"estimator.hidden: expected at least 1 unit, got {hidden}")
        if not 0 < scale < math.inf:
            raise ConfigError(f"estimator.scale: expected a positive, finite number, got {scale}")
        self.hidden, self.scale = hidden, scale

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().bind(sites, inputs)
        self.controls = nn.ModuleList(Control(units, self.hidden, self.scale).to(inputs) for units in self._units)

    def gradient(self, drawn: Drawn) -> Tensor:
        (first, again), _ = drawn.memo
        control = self.controls[drawn.site.index]
        (_, slope), (value, slope_again) = control(first.y.flatten(1)), control(again.y.flatten(1))
        away = drawn.bits[0] - drawn.site.p.detach()
        moved = slope.view_as(first.y) * first.rise - slope_again.view_as(again.y) * again.rise
        return super().gradient(drawn) - over_units(value.to(away.dtype)[None], drawn.bits)[0] * away + moved

    def fit(self, gradient: Tensor) -> Tensor:
        size = gradient.square().mean()
        return size / size.detach().clamp(min=torch.finfo(size.dtype).tiny)  # that of its logarithm: no unit of the loss
