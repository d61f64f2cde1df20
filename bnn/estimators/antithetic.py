"""Estimators by antithetic draws of each layer, whose losses differ with little noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.estimators.layerwise import LayerByLayer, LayerSamples, fires
from bnn.nn.replicas import join
from bnn.nn.sites import Site


def antithetic_bits(p: Tensor, u: Tensor) -> Tensor:
    """Bits 1[u < p], and their antithetic mates 1[u > 1 - p].

    Args:
        p: firing probabilities, [K, samples, *units].
        u: uniform numbers, of the same shape.

    Returns:
        [2 K, samples, *units], the mates after the bits, in the dtype of `p`.
    """
    return join([u < p, u > 1 - p]).to(p.dtype)


class Antithetic(LayerByLayer):
    """Estimator by an antithetic pair of each layer, b = 1[u < p] and b' = 1[u > 1 - p].

    One uniform number u a unit fires both. Evaluations of f per sample and step: 1 + layers.
    """

    true_samples = True

    def draws(self, layer: int, units: Sequence[int]) -> int:
        return 2

    def draw(self, site: Site) -> tuple[Tensor, Any]:
        p = site.probs.detach()
        u = site.noise(p)
        return antithetic_bits(p, u), u

    def follow(self, site: Site, cache: Any) -> Tensor:
        return fires(cache, site)


@Estimator.registry.add("arm")
class ARM(Antithetic):
    """Augment-REINFORCE-merge, layer by layer (Yin & Zhou 2019).

        d f / d ℓ := (f(b') - f(b)) (u - ½)

    b = 1[u < p] and b' = 1[u > 1 - p] of one uniform number u a unit. Evaluations of f per sample
    and step: 1 + layers. Unbiased.
    """

    def gradient(self, layer: LayerSamples) -> Tensor:
        difference = layer.loss[1:] - layer.loss[:1]
        weighted: Tensor = difference * (layer.cache - 0.5)
        return weighted


@Estimator.registry.add("disarm")
class DisARM(Antithetic):
    """DisARM, layer by layer (Dong, Mnih & Tucker 2020; U2G of Yin et al. 2020).

        d f / d ℓ := ½ (f(b) - f(b')) (b - b') max(p, 1 - p)

    It is `arm` averaged over u given the pair, so its variance is never larger. Evaluations of f
    per sample and step: 1 + layers. Unbiased.
    """

    def gradient(self, layer: LayerSamples) -> Tensor:
        p, f, b = layer.site.probs.detach(), layer.loss, layer.bits
        return (f[:1] - f[1:]) * (b[:1] - b[1:]) * torch.maximum(p, 1 - p) / 2


@Estimator.registry.add("arms")
class ARMS(LayerByLayer):
    """ARMS, antithetic REINFORCE of K draws, layer by layer (Dimitriev & Zhou 2021).

        d f / d ℓ := Σ_k (f_k - f̄) (b_k - p) / ((K - 1) (1 - ρ))

    The uniform numbers behind the draws are v_k = (1 - d_k)^(K - 1) for d ~ Dirichlet(1, …, 1);
    b_k = 1[v_k < p] where p ≤ ½ and 1[v_k > 1 - p] elsewhere, so that the rarer value is drawn
    apart. ρ is the correlation of two draws, (max(0, 2 m^(1/(K-1)) - 1)^(K-1) - m²) / (m (1 - m))
    with m = min(p, 1 - p). K = 2 is `disarm`.

    Evaluations of f per sample and step: 1 + layers · (K - 1). Unbiased.

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
        """Correlation ρ of two draws; 0 where the unit is certain.

        Args:
            p: firing probabilities, any shape.

        Returns:
            Of the shape of `p`.
        """
        m = torch.minimum(p, 1 - p)
        both = (2 * m ** (1 / (self.samples - 1)) - 1).clamp(min=0) ** (self.samples - 1)
        return (both - m * m) / (m * (1 - m)).clamp(min=torch.finfo(p.dtype).tiny)

    def gradient(self, layer: LayerSamples) -> Tensor:
        p, f = layer.site.probs.detach(), layer.loss
        credited = ((f - f.mean(0, keepdim=True)) * (layer.bits - p)).sum(0, keepdim=True)
        return credited / ((self.samples - 1) * (1 - self.correlation(p)))
