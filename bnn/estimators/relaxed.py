"""Estimators that relax a bit to a number between 0 and 1: the binary concrete distribution and what is built on it.

With logistic noise z = ℓ + log(u' / (1 - u')) a unit fires where z > 0, and y = σ(z / τ) is its relaxation. `st_gumbel`
and `concrete` are biased and take one pass; `rebar` and `relax` use a relaxation as control variate of REINFORCE and are
unbiased. Any law with full support will do: ℓ are its logits.

`rebar` and `relax` relax a layer *and all beyond it*, by the noise that drew the hard sample, as the authors' code does: the
relaxed net then follows the hard one closely, which is what a control variate is for. Mean fields above would be unbiased
as well, with two to eight times the variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.baselines import check_decay
from bnn.estimators.layerwise import LayerByLayer, LayerSamples
from bnn.estimators.pseudo_derivatives import replace_gradient
from bnn.estimators.straight_through import OnePass
from bnn.nn.forward import ForwardClosure
from bnn.nn.replicas import join, mean_of_descendants
from bnn.nn.sites import Site


def _check_temperature(tau: float) -> float:
    if not 0 < tau < math.inf:
        raise ConfigError(f"estimator.tau: expected a positive, finite temperature, got {tau}")
    return tau


def logit(v: Tensor) -> Tensor:
    """log v - log(1 - v), of v kept off 0 and 1 by the precision of its dtype."""
    eps = torch.finfo(v.dtype).eps / 2
    return torch.logit(
        v.clamp(eps, 1 - eps)
    )  # torch.logit's own eps has a second derivative of NaN outside


def reparameterize(logits: Tensor, u: Tensor) -> Tensor:
    """z = ℓ - logit(u) for u ~ U[0, 1): logistic around ℓ, and positive exactly where u < p, as in `Site.sample`."""
    return logits - logit(u)


def conditional_derivative(p: Tensor, bits: Tensor, u: Tensor) -> Tensor:
    """dz̃/dℓ of z̃ ~ p(z | b) at z̃ = z, where z is the very noise that fired the bits.

    z̃ = ℓ + logit(v'), v' = b (1 - p + v p) + (1 - b) v (1 - p) for v ~ U[0, 1) (Tucker et al. 2017): the interval of z̃
    moves with ℓ, so that dz̃/dℓ is 1 - (1 - p) / v' where b = 1 and 1 - p / (1 - v') where b = 0; and v' = 1 - u at z̃ = z.

    Args:
        p, bits, u: of one shape, bits = 1[u < p].
    """
    distance = (bits - p).abs()
    within = (
        (bits - u).abs().clamp(min=torch.finfo(p.dtype).tiny)
    )  # u = p = 0 divides nothing by nothing
    return 1 - distance / within


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


LEARNED = "learned"
"""Value of `tau` for temperatures that are fitted while training, one for each layer."""
TAU_START = 0.5
"""Where learned temperatures begin."""
TAU_BOUNDS = (0.02, 5.0)
"""Least and largest learned temperature."""
TAU_EVERY = 8
"""Steps from one fit of the temperatures to the next: a fit differentiates a gradient, which costs about two steps."""
TAU_RATE = 0.2
"""Step in log τ for a relative derivative of the variance of 1, the largest that counts."""


class Relaxation(NamedTuple):
    """A relaxed layer and the bits that it relaxes, [1, samples, *units] each.

    Args:
        u: uniform numbers that fired the bits.
        y: σ(z / τ), between 0 and 1, z the same noise.
        dy_dz: its derivative.
        dz_again: derivative of z̃ by the logits, at z̃ = z.
        sent: y as it was sent upwards.
    """

    u: Tensor
    y: Tensor
    dy_dz: Tensor
    dz_again: Tensor
    sent: Tensor


@Estimator.registry.add("rebar")
class REBAR(LayerByLayer):
    """REBAR, [f(b) - η c(z̃) - a] (b - p) + η d_ℓ c(z) - η d_ℓ c(z̃), c the loss of the relaxed net (Tucker et al. 2017).

    Layer by layer: c relaxes the layer and all above it to σ(z / τ), those above by the noise of the hard sample.
    z̃ ~ p(z | b) takes the value of z itself, as in the authors' code, and differs from it by its derivative: one evaluation
    serves both. η and the baseline a are kept for each layer, as the regression of (b - p) f on what they multiply over the
    previous batches, which minimises the variance for a given τ. A learned τ, one for each layer, descends on the
    estimates' mean square (over its running mean), whose expectation differs from the variance by a constant; every
    TAU_EVERY-th step computes its derivative, which goes through a gradient. The paper descends on η too. 1 + layers
    evaluations.

    Args:
        tau: temperature τ > 0, or `learned`: from TAU_START, within TAU_BOUNDS.
        decay: of the running averages, in [0, 1).

    Raises:
        ConfigError: for another tau or decay.
    """

    true_samples = False
    fractional_bits = True
    differentiates_units = True
    moments: Tensor
    log_tau: Tensor
    size: Tensor
    steps: Tensor

    def __init__(self, *, tau: int | float | str = LEARNED, decay: float = 0.99) -> None:
        super().__init__()
        if isinstance(tau, str) and tau != LEARNED:
            raise ConfigError(
                f"estimator.tau: expected a positive temperature or {LEARNED}, got {tau}"
            )
        self.learned = tau == LEARNED
        self._start = TAU_START if isinstance(tau, str) else _check_temperature(float(tau))
        self.decay = check_decay("estimator.decay", decay)

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        like = sites[0].preactivation.detach() if sites else torch.zeros(0, device=inputs.device)
        self.register_buffer("moments", like.new_zeros(len(sites), 5))  # see _weights
        self.register_buffer("log_tau", like.new_full((len(sites),), math.log(self._start)))
        self.register_buffer(
            "size", like.new_zeros(len(sites) + 1)
        )  # running sum of the weights, and of the mean squares
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @property
    def temperatures(self) -> Tensor:
        """τ of each binary layer, [layers]."""
        return self.log_tau.exp()

    def metrics(self) -> dict[str, float]:
        """`tau/<layer>`, where temperatures are learned."""
        names = self.layers.names if self.learned and self.layers is not None else ()
        return (
            {f"tau/{name}": float(tau) for name, tau in zip(names, self.temperatures, strict=True)}
            if names
            else {}
        )

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 2

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        fitting = self.learned and int(self.steps) % TAU_EVERY == 0
        self._log_tau = self.log_tau.clone().requires_grad_(fitting)
        surrogate = super().surrogate_loss(forward)
        self.steps += 1
        return surrogate

    def temperature(self, layer: int) -> Tensor:
        """τ of a layer in the pass under way, differentiable where it is being fitted."""
        return self._log_tau[layer].exp()

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        p, logits, tau = site.probs.detach(), site.logits.detach(), self.temperature(site.index)
        u = site.noise(p)
        bits = (u < p).to(site.preactivation.dtype)
        y = torch.sigmoid(reparameterize(logits, u) / tau)
        sent = y if y.requires_grad else y.clone().requires_grad_()
        return join([bits, sent]), Relaxation(
            u, y, y * (1 - y) / tau, conditional_derivative(p, bits, u), sent
        )

    def follow(self, site: Site, cache: Any) -> Tensor:
        return torch.sigmoid(reparameterize(site.logits, cache.u) / self.temperature(site.index))

    def control(self, layer: LayerSamples) -> Tensor:
        """c(z̃) (b - p) - d_ℓ c(z) + d_ℓ c(z̃), [1, samples, *units]."""
        relaxed, fitting = layer.cache, self._log_tau.requires_grad
        loss = mean_of_descendants(
            layer.drawn.loss, layer.drawn.sites[layer.site.index].lineage, first=True
        )[1:2]
        # a shared site takes the gradient of the mean loss, any other that of each sample's own
        loss = loss.mean(1, keepdim=True) if layer.site.shared else loss
        (slope,) = torch.autograd.grad(
            loss.sum(),
            relaxed.sent,
            retain_graph=True,
            create_graph=fitting,
            allow_unused=True,
            materialize_grads=True,
        )
        value = layer.site.aligned(loss if fitting else loss.detach())
        return value * layer.b_minus_p - slope * relaxed.dy_dz * (1 - relaxed.dz_again)

    def gradient(self, layer: LayerSamples) -> Tensor:
        index, b_minus_p = layer.site.index, layer.b_minus_p
        reinforce_term, control = layer.loss[:1] * b_minus_p, self.control(layer)
        scale, baseline = self._weights(index)
        with torch.no_grad():
            products = (
                reinforce_term * control,
                reinforce_term * b_minus_p,
                control * control,
                control * b_minus_p,
            )
            latest = torch.stack([one.mean() for one in (*products, b_minus_p * b_minus_p)])
            self.moments[index].lerp_(latest.to(self.moments), 1 - self.decay)
        return reinforce_term - scale * control - baseline * b_minus_p

    def _weights(self, layer: int) -> tuple[Tensor, Tensor]:
        """η and a of a layer: the regression of r = (b - p) f on the control k and s = b - p, of rk, rs, kk, ks and ss."""
        rk, rs, kk, ks, ss = self.moments[layer].clone()
        ridge = 1 + 1e-4
        kk, ss = (one.clamp(min=1e-12) * ridge for one in (kk, ss))
        determinant = kk * ss - ks * ks
        return (rk * ss - rs * ks) / determinant, (rs * kk - rk * ks) / determinant

    def auxiliary_loss(self, gradients: Sequence[Tensor]) -> Tensor | float:
        """Mean squares of the estimates over their running means, Σ over layers, as a function of φ; τ takes its step."""
        learned = [one for one in (self._log_tau, *self.parameters()) if one.requires_grad]
        if not gradients or not learned:
            return 0.0
        sizes = torch.stack([gradient.square().mean() for gradient in gradients])
        weight, past = self.size[0], self.size[1:]
        past = torch.where(weight > 0, past / weight.clamp(min=1e-12), sizes.detach().to(past))
        with torch.no_grad():
            self.size.lerp_(
                torch.cat([torch.ones_like(sizes[:1]), sizes]).to(self.size), 1 - self.decay
            )
        relative = (sizes / past.clamp(min=torch.finfo(past.dtype).tiny)).sum()
        # the derivatives at once, since a fit of τ leaves a path from the estimates to the network's own weights
        found = torch.autograd.grad(relative, learned, retain_graph=True, allow_unused=True)
        if self._log_tau.requires_grad and found[0] is not None:
            moved = self.log_tau - TAU_RATE * found[0].clamp(-1, 1).nan_to_num()
            self.log_tau.copy_(moved.clamp(*map(math.log, TAU_BOUNDS)))
        pairs = zip(learned, found, strict=True)
        terms = [
            (one * slope).sum()
            for one, slope in pairs
            if slope is not None and one is not self._log_tau
        ]
        return sum(terms, relative.new_zeros(()))


class ControlVariate(nn.Module):
    """r(y) = (w · tanh(W y + v) + c) / √hidden of one layer's units; starts at 0, so that RELAX starts as REBAR.

    The root keeps the curvature of its fit, and so the learning rates that it bears, the same for every number of units.

    Args:
        units: number of units of the layer.
        hidden: units of the tanh layer.
    """

    def __init__(self, units: int, hidden: int) -> None:
        super().__init__()
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
        unit = len(self.first.weight) ** -0.5
        return unit * self.last(h).squeeze(-1), unit * slope


@Estimator.registry.add("relax")
class RELAX(REBAR):
    """RELAX: REBAR, whose relaxed loss has a learned function r_φ of the relaxed layer added (Grathwohl et al. 2018).

    [f(b) - c(z̃) - a] (b - p) + d_ℓ c(z) - d_ℓ c(z̃), c = η · the relaxed loss + r_φ. For each layer r_φ is a network of one
    hidden tanh layer on σ(z / τ). φ is fitted with the run's optimizer to the estimates' mean square, over its running mean
    of earlier batches so that the unit of the loss does not matter. η, a and τ are REBAR's (the paper learns all with φ).
    1 + layers evaluations.

    Args:
        tau: temperature τ > 0, or `learned`.
        decay: of the running averages, in [0, 1).
        hidden: units of r_φ's hidden layer.

    Raises:
        ConfigError: as REBAR, and for hidden < 1.
    """

    def __init__(
        self, *, tau: int | float | str = LEARNED, decay: float = 0.99, hidden: int = 32
    ) -> None:
        super().__init__(tau=tau, decay=decay)
        if hidden < 1:
            raise ConfigError(f"estimator.hidden: expected at least 1 unit, got {hidden}")
        self.hidden = hidden

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        self.controls = nn.ModuleList(
            ControlVariate(units, self.hidden).to(site.preactivation)
            for units, site in zip(self._units, sites, strict=True)
        )

    def gradient(self, layer: LayerSamples) -> Tensor:
        relaxed, b_minus_p = layer.cache, layer.b_minus_p
        index = layer.site.index
        value, slope = (
            self._unit(index) * one for one in self.controls[index](relaxed.y.flatten(2))
        )
        moved = slope.view_as(relaxed.y) * relaxed.dy_dz * (1 - relaxed.dz_again)
        return (
            super().gradient(layer)
            - layer.site.aligned(value.to(b_minus_p.dtype)) * b_minus_p
            + moved
        )

    def _unit(self, layer: int) -> Tensor:
        """Unit of r_φ at a layer: √(E g² / E (b - p)²) over earlier batches, so that one learning rate suits every loss."""
        return (self.size[1 + layer] / self.moments[layer, -1].clamp(min=1e-12)).sqrt()
