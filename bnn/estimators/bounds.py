"""Gradient estimators of the multi-sample bound -log 1/K Σ_k exp(-f_k)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.antithetic import antithetic_bits
from bnn.estimators.base import Estimator, gradient_only
from bnn.nn.forward import ForwardClosure
from bnn.nn.replicas import branching, log_mean_exp, mean_of_others
from bnn.nn.sites import Site


@Estimator.registry.add("vimco")
class VIMCO(Estimator):
    """Variational inference for Monte Carlo objectives (Mnih & Rezende 2016).

        d (-L) := -Σ_k (L - L_{-k}) · d log q(b_k) + Σ_k w_k d f_k / Σ_k w_k,   L = log 1/K Σ_k w_k

    w_k = exp(-f_k) are the importance weights or likelihoods of K draws, and L_{-k} is L with the
    geometric mean of the other weights in place of w_k. The objective is -L in place of the
    expected loss, and `train/loss` is this bound. Where the loss takes log q(b) by the bits, with
    constant logits (task.kl=sampled), its derivative is part of d f_k, and is added: under several
    draws its mean is not 0.

    Evaluations of f per sample and step: K. Unbiased for the bound.

    Args:
        samples: K.

    Raises:
        ConfigError: for samples < 2.
    """

    unbiased = False
    bound = True
    needs_full_support = True
    assumes_independent_samples = True

    def __init__(self, *, samples: int = 4) -> None:
        super().__init__()
        if samples < 2:
            raise ConfigError(
                f"estimator.samples: vimco compares draws, expected at least 2, got {samples}"
            )
        self.samples = samples

    def evaluations(self, units: Sequence[int]) -> int:
        return self.samples

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(Site.sample, branching(self.samples))
        if not drawn.sites:
            return drawn.loss.mean()
        bound = -self.bound_of(-drawn.loss)
        with torch.no_grad():
            credit = self.without_draw(-drawn.loss) + bound
            if drawn.latents.used:
                credit = credit + torch.softmax(-drawn.loss, 0)
        score = drawn.loss.new_zeros(())
        for site, bits in zip(drawn.sites, drawn.bits, strict=True):
            weight = site.aligned(site.descendants(credit)) / site.samples
            score = score + site.credited_score(bits, weight)
        return bound.mean() + gradient_only(score)

    def bound_of(self, log_weights: Tensor) -> Tensor:
        """L = log of the mean weight, [samples], of log-weights [K, samples]."""
        return log_mean_exp(log_weights)

    def without_draw(self, log_weights: Tensor) -> Tensor:
        """L_{-k} of each draw, [K, samples], of log-weights [K, samples]."""
        count = len(log_weights)
        mean = mean_of_others(log_weights)
        own = torch.eye(count, dtype=torch.bool, device=log_weights.device)[:, :, None]
        return torch.logsumexp(torch.where(own, mean[:, None], log_weights), 1) - math.log(count)


@Estimator.registry.add("disarm_bound")
class DisARMBound(VIMCO):
    """DisARM for the bound of K draws, each against its antithetic mate (Dong, Mnih & Tucker 2020).

        d L / d ℓ := Σ_k ½ (L(b_k) - L(b'_k)) (b_k - b'_k) max(p, 1 - p)

    L(b_k) is the bound with b_k beside the other draws, and with the mates of the others, averaged
    over both; b and b' fire by one uniform number a unit. The value is the mean bound of the draws
    and of their mates; the derivative of log q is added as under `vimco`.

    Evaluations of f per sample and step: 2 K. Unbiased for the bound.

    Args:
        samples: K, antithetic pairs.

    Raises:
        ConfigError: for samples < 2; in `init`, for several binary layers.
    """

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        if len(sites) > 1:
            raise ConfigError(
                "estimator=disarm_bound: expected one binary layer, as a variational autoencoder "
                f"has, the network has {len(sites)}; write estimator=vimco"
            )

    def evaluations(self, units: Sequence[int]) -> int:
        return 2 * self.samples

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(self._pairs, branching(2 * self.samples))
        if not drawn.sites:
            return drawn.loss.mean()
        (site,), (bits,), log_weights = drawn.sites, drawn.bits, -drawn.loss
        draws, mates = log_weights.split(self.samples)
        value = -(self.bound_of(draws) + self.bound_of(mates)) / 2
        with torch.no_grad():
            gain = (self._gain(draws, mates, draws) + self._gain(draws, mates, mates)) / 2
            if site.shared:
                gain = gain.mean(1, keepdim=True)
            p = site.probs[: self.samples]
            moved = bits[: self.samples] - bits[self.samples :]
            slope = -site.aligned(gain) * moved * torch.maximum(p, 1 - p) / (2 * site.samples)
        term = (slope * site.logits[: self.samples]).sum()
        if drawn.latents.used:
            normalized = torch.cat([torch.softmax(one.detach(), 0) for one in (draws, mates)]) / 2
            weight = site.aligned(site.descendants(normalized)) / site.samples
            term = term + site.credited_score(bits, weight)
        return value.mean() + gradient_only(term)

    def _pairs(self, site: Site) -> Tensor:
        """Bits of the draws and of their mates, [2 K, samples, *units]."""
        p = site.probs.detach()[: self.samples]
        return antithetic_bits(p, site.noise(p))

    def _gain(self, draws: Tensor, mates: Tensor, others: Tensor) -> Tensor:
        """L with each draw less L with its mate, beside others, of log-weights [K, samples]."""
        count = len(others)
        own = torch.eye(count, dtype=torch.bool, device=others.device)[:, :, None]
        kept = torch.where(own, -math.inf, others)
        rest = torch.logsumexp(kept, 1)
        return torch.logaddexp(rest, draws) - torch.logaddexp(rest, mates)
