"""Layer-by-layer estimators: several draws of one layer from a true sample of the layers below it.

`arm`, `disarm` and `arms` (antithetic.py) couple the draws, so that their differences have little
noise; `local_expectation` flips every unit; `rebar` and `relax` subtract a relaxation.
The layers above follow every draw by the noise of the base sample (common random numbers), which
leaves the differences without noise from above. One coupled pair over all layers at once would be
biased for the weights between.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from bnn.estimators.base import Estimator, gradient_only
from bnn.nn.forward import ForwardClosure, ForwardPass
from bnn.nn.replicas import SampleTree, join
from bnn.nn.sites import Site


@dataclass(frozen=True)
class LayerSamples:
    """K draws of one layer that share the bits below.

    Args:
        site: the layer in the base sample, [1, samples, *units].
        bits: [K, samples, *units], the base sample's own first.
        loss: loss that each draw led to under the base sample's noise above, [K, samples, 1, …].
        cache: values that `draw` kept for the gradient.
        forward: forward closure of the batch.
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
        """Difference b - p of the base sample, detached, [1, samples, *units]."""
        return self.bits[:1] - self.site.probs.detach()


class LayerByLayer(Estimator):
    """Estimator by K draws of each layer, which share the base sample's bits below and noise above.

    A draw is credited with the loss of its own continuation alone: given the noise above, two draws
    then differ by their own layer's bits. (The mean over the base sample's further draws above
    would be as unbiased, and noisier.)

    Evaluations of f per sample and step: 1 + Σ_layers (K - 1). Unbiased.
    """

    unbiased = True
    needs_full_support = True
    assumes_independent_samples = True
    true_samples: ClassVar[bool]
    """Whether every draw has the distribution of the layer: the value is then their mean loss, not
    the base sample's."""

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
        """Number K of draws of a binary layer.

        Args:
            layer: position from the input.
            units: number of units of every binary layer.
        """

    @abstractmethod
    def draw(self, site: Site) -> tuple[Tensor, Any]:
        """Draws of a layer of the base sample.

        Args:
            site: the layer, [1, samples, *units].

        Returns:
            Bits [K, samples, *units], the base sample's own first; and a cache of values that
            `follow` and `gradient` need.
        """

    @abstractmethod
    def follow(self, site: Site, cache: Any) -> Tensor:
        """Bits in the replicas that branched at a lower layer, by the base sample's random numbers.

        Args:
            site: the layer in those draws, [replicas, samples, *units].
            cache: values that `draw` kept at this layer.

        Returns:
            Bits, or a relaxation, of the shape of the site.
        """

    @abstractmethod
    def gradient(self, layer: LayerSamples) -> Tensor:
        """Estimate of d f / d ℓ at one layer.

        Args:
            layer: its draws.

        Returns:
            [1, samples, *units].
        """

    def auxiliary_loss(self, gradients: Sequence[Tensor]) -> Tensor | float:
        """Loss of the estimator's own parameters; 0 unless overridden.

        Args:
            gradients: estimates of each layer, [1, samples, *units].

        Returns:
            Scalar, whose gradient alone is used.
        """
        return 0.0

    def tree(self, units: Sequence[int]) -> SampleTree:
        """Sample tree: K draws of each layer from replica 0, and one of each further replica.

        Args:
            units: number of units of every binary layer.
        """
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
            layer = LayerSamples(base, bits.detach()[:draws], loss, cache, forward, drawn)
            estimates.append(self.gradient(layer))
            term = term + (estimates[-1].detach() * base.logits).sum() / base.samples
        value = drawn.loss if self.true_samples else drawn.loss[0]
        return value.mean() + gradient_only(term + self.auxiliary_loss(estimates))


def fires(u: Tensor, site: Site) -> Tensor:
    """Bits 1[u < p] of given uniform numbers.

    Args:
        u: [1, samples, *units].
        site: [replicas, samples, *units].

    Returns:
        [replicas, samples, *units].
    """
    return (u < site.probs.detach()).to(site.preactivation.dtype)
