"""REBAR: REINFORCE with the relaxed network as control variate.

A layer is relaxed *with all beyond it*, by the noise that drew the hard sample, as the authors'
code does: the relaxed net then follows the hard one closely, which is the purpose of a control
variate. Mean fields above would be unbiased as well, with two to eight times the variance.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.baselines import check_decay
from bnn.estimators.concrete import check_temperature, reparameterize
from bnn.estimators.fitting import relative_mean_square
from bnn.estimators.layerwise import LayerByLayer, LayerSamples
from bnn.nn.forward import ForwardClosure
from bnn.nn.replicas import join, mean_of_descendants
from bnn.nn.sites import Site

LEARNED = "learned"
"""Value of `tau` for temperatures that are fitted while training, one for each layer."""
TAU_START = 0.5
"""Initial value of learned temperatures."""
TAU_BOUNDS = (0.02, 5.0)
"""Least and largest learned temperature."""
TAU_EVERY = 8
"""Steps from one fit of the temperatures to the next: a fit differentiates a gradient, which costs
about two steps."""
TAU_RATE = 0.2
"""Step in log τ for a relative derivative of the variance of 1, the largest that counts."""


def conditional_derivative(p: Tensor, bits: Tensor, u: Tensor) -> Tensor:
    """Derivative dz̃/dℓ of z̃ ~ p(z | b) at z̃ = z = ℓ - logit(u), whose sign is the bit.

    z̃ = ℓ + logit(v'), v' = b (1 - p + v p) + (1 - b) v (1 - p) for v ~ U[0, 1) (Tucker et al.
    2017): the interval of z̃ moves with ℓ, so that dz̃/dℓ is 1 - (1 - p) / v' where b = 1 and
    1 - p / (1 - v') where b = 0; and v' = 1 - u at z̃ = z.

    Args:
        p: firing probabilities, any shape.
        bits: 1[u < p], of the same shape.
        u: uniform numbers, of the same shape.

    Returns:
        Of the same shape.
    """
    distance = (bits - p).abs()
    # u = p = 0 divides nothing by nothing
    within = (bits - u).abs().clamp(min=torch.finfo(p.dtype).tiny)
    return 1 - distance / within


class Relaxation(NamedTuple):
    """Relaxed layer beside the bits that it relaxes, [1, samples, *units] each.

    Args:
        u: uniform numbers that fired the bits.
        y: σ(z / τ), z = ℓ - logit(u).
        dy_dz: derivative of y by z.
        dz_tilde: derivative of z̃ by the logits, at z̃ = z.
        sent: y as it was sent upwards.
    """

    u: Tensor
    y: Tensor
    dy_dz: Tensor
    dz_tilde: Tensor
    sent: Tensor


@Estimator.registry.add("rebar")
class REBAR(LayerByLayer):
    """REBAR: REINFORCE with the relaxed network as control variate (Tucker et al. 2017).

        d f / d ℓ := [f(b) - η c(z̃) - B] (b - p) + η d_ℓ c(z) - η d_ℓ c(z̃)

    c is the loss with the layer and all above it relaxed to σ(z / τ), those above by the noise of
    the hard sample. z̃ ~ p(z | b) takes the value of z itself, as in the authors' code, and differs
    from it by its derivative: one evaluation serves both. η and the baseline B are kept for each
    layer, as the regression of (b - p) f on their factors over the previous batches, which
    minimises the variance for a given τ. A learned τ, one for each layer, descends on the
    estimates' mean square (over its running mean), whose expectation differs from the variance by a
    constant; every TAU_EVERY-th step computes its derivative, which goes through a gradient. The
    paper descends on η too.

    Evaluations of f per sample and step: 1 + layers. Unbiased.

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
        self.same_operations = not self.learned
        self._start = TAU_START if isinstance(tau, str) else check_temperature(float(tau))
        self.decay = check_decay("estimator.decay", decay)

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        like = sites[0].preactivation.detach() if sites else torch.zeros(0, device=inputs.device)
        self.register_buffer("moments", like.new_zeros(len(sites), 5))  # see _weights
        self.register_buffer("log_tau", like.new_full((len(sites),), math.log(self._start)))
        # running sum of the weights, and of the mean squares
        self.register_buffer("size", like.new_zeros(len(sites) + 1))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    @property
    def temperatures(self) -> Tensor:
        """Temperature τ of each binary layer, [layers]."""
        return self.log_tau.exp()

    def metrics(self) -> dict[str, float]:
        """Temperatures `tau/<layer>`, where they are learned."""
        names = self.layers.names if self.learned and self.layers is not None else ()
        if not names:
            return {}
        pairs = zip(names, self.temperatures, strict=True)
        return {f"tau/{name}": float(tau) for name, tau in pairs}

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 2

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        fitting = self.learned and int(self.steps) % TAU_EVERY == 0
        self._log_tau = self.log_tau.clone().requires_grad_(fitting)
        surrogate = super().surrogate_loss(forward)
        self.steps += 1
        return surrogate

    def temperature(self, layer: int) -> Tensor:
        """Temperature τ of a layer in the pass under way, differentiable where it is fitted."""
        return self._log_tau[layer].exp()

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        p, logits, tau = site.probs.detach(), site.logits.detach(), self.temperature(site.index)
        u = site.noise(p)
        bits = (u < p).to(site.preactivation.dtype)
        y = torch.sigmoid(reparameterize(logits, u) / tau)
        sent = y if y.requires_grad else y.clone().requires_grad_()
        dz_tilde = conditional_derivative(p, bits, u)
        return join([bits, sent]), Relaxation(u, y, y * (1 - y) / tau, dz_tilde, sent)

    def follow(self, site: Site, cache: Any) -> Tensor:
        z = reparameterize(site.logits, cache.u)
        return torch.sigmoid(z / self.temperature(site.index))

    def control(self, layer: LayerSamples) -> Tensor:
        """Control variate c(z̃) (b - p) - d_ℓ c(z) + d_ℓ c(z̃), of mean 0.

        Args:
            layer: bits and relaxation of one layer.

        Returns:
            [1, samples, *units].
        """
        relaxed: Relaxation = layer.cache
        fitting = self._log_tau.requires_grad
        lineage = layer.drawn.sites[layer.site.index].lineage
        loss = mean_of_descendants(layer.drawn.loss, lineage, first=True)[1:2]
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
        return value * layer.b_minus_p - slope * relaxed.dy_dz * (1 - relaxed.dz_tilde)

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
        """Weight η and baseline B of a layer, by the moments rk, rs, kk, ks and ss.

        The regression of r = (b - p) f on the control k and s = b - p.
        """
        rk, rs, kk, ks, ss = self.moments[layer].clone()
        ridge = 1 + 1e-4
        kk, ss = (one.clamp(min=1e-12) * ridge for one in (kk, ss))
        determinant = kk * ss - ks * ks
        return (rk * ss - rs * ks) / determinant, (rs * kk - rk * ks) / determinant

    def auxiliary_loss(self, gradients: Sequence[Tensor]) -> Tensor | float:
        """Sum over layers of an estimate's mean square, divided by its running mean.

        A function of the learned parameters. The temperatures take their step here.

        Args:
            gradients: estimates of each layer, [1, samples, *units].

        Returns:
            Scalar, whose gradient alone is used.
        """
        learned = [one for one in (self._log_tau, *self.parameters()) if one.requires_grad]
        if not gradients or not learned:
            return 0.0
        relative = relative_mean_square(gradients, self.size, self.decay)
        # the derivatives at once, since a fit of τ leaves a path from the estimates to the
        # network's own weights
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
