"""Estimators that go layer by layer: several draws of one layer from a true sample of what lies below it.

`arm`, `disarm` and `arms` couple the draws, so that their differences have little noise; `local_expectation` flips every
unit; `rebar` and `relax` (relaxed.py) subtract a relaxation. The layers above follow every draw by the noise of the base
sample (common random numbers), which leaves the differences without noise from above. One coupled pair over all layers at
once would be biased for the weights between.
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator, gradient_only
from bnn.nn.forward import ForwardClosure, ForwardPass, at_top
from bnn.nn.replicas import SampleTree, join
from bnn.nn.sites import Latent, Latents, Site


@dataclass(frozen=True)
class LayerSamples:
    """The K draws of one layer that share what lies below.

    Args:
        site: the layer in the base sample, [1, samples, *units].
        bits: [K, samples, *units], the base sample's own first.
        loss: the loss that each led to under the base sample's noise above, [K, samples, 1, …].
        cache: what the drawing left for the gradient.
        forward: the forward closure.
        drawn: the whole pass.
    """

    site: Site
    bits: Tensor
    loss: Tensor
    cache: Any
    forward: ForwardClosure
    drawn: ForwardPass

    @property
    def b_minus_p(self) -> Tensor:
        """b - p of the base sample, detached, [1, samples, *units]."""
        return self.bits[:1] - self.site.probs.detach()


class LayerByLayer(Estimator):
    """K draws of each layer from the base sample below, which go on by the base sample's noise above.

    1 + Σ_layers (K - 1) evaluations. A draw is credited with the loss of its own continuation alone: given the noise above,
    two draws then differ by what the layer itself did. (The mean over the base sample's further draws above would be as
    unbiased, and noisier.)
    """

    unbiased = True
    needs_full_support = True
    assumes_independent_samples = True
    true_samples: ClassVar[bool]
    """Whether every draw has the distribution of the layer: the value is then their mean loss, not the base sample's."""

    def __init__(self) -> None:
        super().__init__()
        self._units: list[int] = []

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        self._units = [
            site.preactivation.numel() if site.shared else site.preactivation[0].numel()
            for site in sites
        ]

    @abstractmethod
    def draws(self, layer: int, units: Sequence[int]) -> int:
        """K of a binary layer, given the units of all."""

    @abstractmethod
    def draw(self, site: Site) -> tuple[Tensor, Any]:
        """K draws of the base sample's layer, [K, samples, *units], the base sample's own first; and a cache."""

    @abstractmethod
    def follow(self, site: Site, cache: Any) -> Tensor:
        """Bits of the draws that come from lower layers, by the noise that drew the base sample's here.

        Args:
            site: the layer in those draws, [replicas, samples, *units].
            cache: what `draw` left at this layer.

        Returns:
            Bits, or a relaxation, of the shape of the site.
        """

    @abstractmethod
    def gradient(self, layer: LayerSamples) -> Tensor:
        """Estimate of d f / d ℓ, [1, samples, *units]."""

    def auxiliary_loss(self, gradients: Sequence[Tensor]) -> Tensor | float:
        """Loss of the estimator's own parameters, given its estimates layer by layer; 0 unless overridden."""
        return 0.0

    def tree(self, units: Sequence[int]) -> SampleTree:
        tree: list[list[int]] = []
        for layer in range(len(units)):
            others = range(1, len(tree[-1]) if tree else 1)
            tree.append([0] * self.draws(layer, units) + list(others))
        return tree

    def evaluations(self, units: Sequence[int]) -> int:
        return len(self.tree(units)[-1])

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        caches: list[Any] = []

        def rule(site: Site) -> Tensor:
            bits, cache = self.draw(site.replicas(0, 1))
            caches.append(cache)
            others = site.replicas(len(bits))
            return join([bits, self.follow(others, cache)]) if len(others.preactivation) else bits

        drawn = forward(rule, self.tree(self._units))
        term, estimates = drawn.loss.new_zeros(()), []
        for site, bits, cache in zip(drawn.sites, drawn.bits, caches, strict=True):
            base, draws = site.replicas(0, 1), self.draws(site.index, self._units)
            loss = site.aligned(site.descendants(drawn.loss, first=True)[:draws])
            estimates.append(
                self.gradient(
                    LayerSamples(base, bits.detach()[:draws], loss, cache, forward, drawn)
                )
            )
            term = term + (estimates[-1].detach() * base.logits).sum() / base.samples
        value = drawn.loss if self.true_samples else drawn.loss[0]
        return value.mean() + gradient_only(term + self.auxiliary_loss(estimates))


def fires(u: Tensor, site: Site) -> Tensor:
    """Bits 1[u < p] of given uniform numbers, [1, samples, *units], broadcast over the replicas of a site."""
    return (u < site.probs.detach()).to(site.preactivation.dtype)


class Antithetic(LayerByLayer):
    """Two draws of each layer from one uniform number u a unit: b = 1[u < p] and b' = 1[u > 1 - p]."""

    true_samples = True

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 2

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        p = site.probs.detach()
        u = site.noise(p)
        return join([u < p, u > 1 - p]).to(site.preactivation.dtype), u

    def follow(self, site: Site, cache: Any) -> Tensor:
        return fires(cache, site)


@Estimator.registry.add("arm")
class ARM(Antithetic):
    """Augment-REINFORCE-merge, (f(b') - f(b)) (u - ½), layer by layer (Yin & Zhou 2019). 1 + layers evaluations."""

    def gradient(self, layer: LayerSamples) -> Tensor:
        return (layer.loss[1:] - layer.loss[:1]) * (layer.cache - 0.5)


@Estimator.registry.add("disarm")
class DisARM(Antithetic):
    """DisARM, ½ (f(b) - f(b')) (b - b') max(p, 1 - p), layer by layer (Dong, Mnih & Tucker 2020; U2G of Yin et al. 2020).

    It is `arm` averaged over u given the pair, so its variance is never larger. 1 + layers evaluations.
    """

    def gradient(self, layer: LayerSamples) -> Tensor:
        p, f, b = layer.site.probs.detach(), layer.loss, layer.bits
        return (f[:1] - f[1:]) * (b[:1] - b[1:]) * torch.maximum(p, 1 - p) / 2


@Estimator.registry.add("arms")
class ARMS(LayerByLayer):
    """ARMS, Σ_k (f_k - f̄) (b_k - p) / ((K - 1) (1 - ρ)), K antithetic draws, layer by layer (Dimitriev & Zhou 2021).

    The uniform numbers behind the draws are v_k = (1 - d_k)^(K - 1) for d ~ Dirichlet(1, …, 1); b_k = 1[v_k < p] where
    p ≤ ½ and 1[v_k > 1 - p] elsewhere, so that the rarer value is drawn apart. ρ is the correlation of two draws,
    (max(0, 2 m^(1/(K-1)) - 1)^(K-1) - m²) / (m (1 - m)) with m = min(p, 1 - p). K = 2 is `disarm`. 1 + layers · (K - 1)
    evaluations.

    Args:
        samples: K.

    Raises:
        ConfigError: for samples < 2.
    """

    true_samples = True

    def __init__(self, *, samples: int = 4) -> None:
        super().__init__()
        if samples < 2:
            raise ConfigError(
                f"estimator.samples: arms compares draws, expected at least 2, got {samples}"
            )
        self.samples = samples

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return self.samples

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        p = site.probs.detach()
        waits = [-torch.log1p(-site.noise(p)) for _ in range(self.samples)]
        total = torch.stack(waits).sum(0).clamp(min=torch.finfo(p.dtype).tiny)
        v = [(1 - wait / total) ** (self.samples - 1) for wait in waits]
        uniform = [torch.where(p <= 0.5, one, 1 - one) for one in v]
        return join([one < p for one in uniform]).to(site.preactivation.dtype), uniform[0]

    def follow(self, site: Site, cache: Any) -> Tensor:
        return fires(cache, site)

    def correlation(self, p: Tensor) -> Tensor:
        """ρ of two draws, of the shape of `p`; 0 where the unit is certain."""
        m = torch.minimum(p, 1 - p)
        both = (2 * m ** (1 / (self.samples - 1)) - 1).clamp(min=0) ** (self.samples - 1)
        return (both - m * m) / (m * (1 - m)).clamp(min=torch.finfo(p.dtype).tiny)

    def gradient(self, layer: LayerSamples) -> Tensor:
        p, f = layer.site.probs.detach(), layer.loss
        credited = ((f - f.mean(0, keepdim=True)) * (layer.bits - p)).sum(0, keepdim=True)
        return credited / ((self.samples - 1) * (1 - self.correlation(p)))


LOWER = 256
"""The most units of a lower layer whose flips are tried one by one."""


@Estimator.registry.add("local_expectation")
class LocalExpectation(LayerByLayer):
    """Local expectation gradient, p (1 - p) [f(b_i = 1) - f(b_i = 0)] for every unit i (Titsias & Lázaro-Gredilla 2015).

    The other units are as drawn. The highest binary layer has to feed a linear read-out: a flipped bit then moves the output
    by one column of it, and no further pass is needed. Units of lower layers are flipped one by one, an evaluation for each.

    Raises:
        ConfigError: in `init`, for a lower layer of more than LOWER units, or a highest one that feeds something else.
    """

    true_samples = False
    needs_linear_readout = True

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        super().build(sites, inputs)
        if too_many := [units for units in self._units[:-1] if units > LOWER]:
            raise ConfigError(
                "estimator=local_expectation: below the highest binary layer every unit takes a pass, expected at most "
                f"{LOWER} units there, got {too_many[0]}; write placement=last, or estimator=arms"
            )

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 1 if layer == len(units) - 1 else 1 + units[layer]

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        u = site.noise(site.probs.detach())
        bits = fires(u, site)
        if site.index == len(self._units) - 1:
            return bits.requires_grad_(), (u, bits)
        flips = torch.eye(self._units[site.index], dtype=bits.dtype, device=bits.device).view(
            -1, 1, *bits.shape[2:]
        )
        return join([bits, bits + flips - 2 * bits * flips]), (u, None)

    def follow(self, site: Site, cache: Any) -> Tensor:
        return fires(cache[0], site)

    def gradient(self, layer: LayerSamples) -> Tensor:
        bits, p = layer.bits[:1], layer.site.probs.detach()
        one_by_one = layer.loss[1:].flatten(1).T  # [samples, units]
        flipped = one_by_one.reshape(bits.shape) if layer.cache[1] is None else self._flipped(layer)
        return p * (1 - p) * (flipped - layer.loss[:1]) * (1 - 2 * bits)

    def _flipped(self, layer: LayerSamples) -> Tensor:
        """Loss with each bit of the highest layer flipped alone, by the columns of the linear read-out; as the bits."""
        forward, drawn, n = layer.forward, layer.drawn, len(layer.forward.inputs)
        outputs = drawn.output.reshape(len(drawn.output), -1).unbind(1)
        columns = [
            torch.autograd.grad(one.sum(), layer.cache[1], retain_graph=True)[0] for one in outputs
        ]
        readout = torch.stack(columns, -1).flatten(2, -2)[0]  # [samples, units, outputs]
        flips = 1 - 2 * layer.bits[0].flatten(1)
        units = flips.shape[1]
        moved = drawn.output.detach()[:n].reshape(n, -1)[:, None] + flips[..., None] * readout
        moved = moved.flatten(0, 1).view(-1, *drawn.output.shape[1:]).to(drawn.loss.dtype)
        latents = Latents(len(drawn.sites), lambda i: self._flipped_latent(drawn, i, n, units))
        loss = forward.loss_of(moved, forward.targets.repeat_interleave(units, 0), latents)
        return loss.detach().view(layer.bits[:1].shape)

    def _flipped_latent(self, drawn: ForwardPass, layer: int, samples: int, units: int) -> Latent:
        """A binary layer of the base sample, a row for each sample and flipped unit of the highest layer."""
        site, bits = at_top(
            drawn.sites[layer].replicas(0, 1), drawn.bits[layer][:1].detach(), samples
        )
        site = dataclasses.replace(
            site, preactivation=site.preactivation.detach().repeat_interleave(units, 0)
        )
        bits = bits.repeat_interleave(units, 0)
        if layer == len(drawn.sites) - 1:
            flips = (
                torch.eye(units, dtype=bits.dtype, device=bits.device)
                .repeat(samples, 1)
                .view_as(bits)
            )
            bits = bits + flips - 2 * bits * flips
        return Latent(site, bits)
