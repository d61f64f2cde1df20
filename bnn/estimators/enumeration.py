"""Exact enumeration: the gradient of the expected loss as a sum over all configurations of bits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.nn.forward import ForwardClosure
from bnn.nn.replicas import SampleTree
from bnn.nn.sites import Site

LAYER_LIMIT = 12
"""Largest number of units of one layer: 2^12 replicas of each sample."""
PAIR_LIMIT = 20
"""Largest number of units of two layers that follow each other: the table of transitions has 2^20
entries for each sample."""


def probabilities(p: Tensor) -> Tensor:
    """Probability of each configuration of independent bits; unit k is bit k of its number.

    Args:
        p: firing probabilities, [..., units].

    Returns:
        [2^units, ...].
    """
    q = torch.ones_like(p[None, ..., 0])
    for one in p.unbind(-1):
        q = torch.cat([q * (1 - one), q * one])
    return q


def configurations(units: int, like: Tensor) -> Tensor:
    """Configurations of the bits of a layer, in the order of `probabilities`.

    Args:
        units: number of units.
        like: tensor of the wanted dtype and device.

    Returns:
        [2^units, units].
    """
    index = torch.arange(2**units, device=like.device)
    return (index[:, None] >> torch.arange(units, device=like.device) & 1).to(like.dtype)


@Estimator.registry.add("enumeration")
class Enumeration(Estimator):
    """Exact enumeration, the true gradient as a finite sum.

        E[f] = Σ_b q(b) f(b) for each sample, differentiated

    Layer by layer: what lies above a layer depends on its configuration alone, whatever led to it,
    so the distribution of each layer's 2^units configurations follows from that of the one below.
    The replicas of a pass are the configurations of the widest layer. Its value is the expected
    loss. Any law: no logarithm is taken. Batch norm must not couple the samples.

    Evaluations of f per sample and step: 2^units of the widest layer. Exact.

    Raises:
        ConfigError: in `init`, above LAYER_LIMIT units in a layer or PAIR_LIMIT in two; for a
            network with a path around a binary layer; for a loss of several layers' bits.
    """

    unbiased = True
    needs_full_support = False
    needs_chain = True
    assumes_independent_samples = True
    deterministic = True

    def __init__(self) -> None:
        super().__init__()
        self._units: list[int] = []

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        self._units = [site.preactivation[0].numel() for site in sites]
        if not self.holds(self._units):
            raise ConfigError(
                f"estimator=enumeration: expected at most {LAYER_LIMIT} binary units a layer and "
                f"{PAIR_LIMIT} in two that follow each other, the network has "
                f"{' + '.join(map(str, self._units))}; write estimator=reinforce"
            )

    @staticmethod
    def holds(units: Sequence[int]) -> bool:
        """Whether binary layers of so many units can be enumerated."""
        pairs = (below + above for below, above in itertools.pairwise(units))
        return max(units, default=0) <= LAYER_LIMIT and max(pairs, default=0) <= PAIR_LIMIT

    def evaluations(self, units: Sequence[int]) -> int:
        return len(self.tree(units)[-1])

    @staticmethod
    def tree(units: Sequence[int]) -> SampleTree:
        """Sample tree with one replica for each configuration of the widest layer so far.

        Replica c goes on from replica c, and new ones from the first: none that a later layer needs
        is lost.

        Args:
            units: number of units of every binary layer.
        """
        tree: list[list[int]] = []
        for count in units:
            below = len(tree[-1]) if tree else 1
            tree.append([*range(below), *[0] * (2**count - below)])
        return tree

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        drawn = forward(self._configured, self.tree(self._units))
        if drawn.latents.used and len(drawn.sites) > 1:
            raise ConfigError(
                "estimator=enumeration: it sums layer by layer, and this loss depends on the bits "
                "of lower layers; write estimator=reinforce"
            )
        weight = drawn.loss.new_ones(1, drawn.loss.shape[1])
        for site in drawn.sites:
            # [configurations, replicas below, samples]
            q = probabilities(site.probs[: len(weight)].flatten(2))
            weight = (q * weight).sum(1)
        return (weight * drawn.loss[: len(weight)]).sum(0).mean()

    def _configured(self, site: Site) -> Tensor:
        """Bits of a layer, its configurations one by one along the replicas."""
        table = configurations(self._units[site.index], site.preactivation)
        index = torch.arange(len(site.preactivation), device=table.device) % len(table)
        bits = table[index].view(-1, 1, *site.preactivation.shape[2:])
        return bits.expand_as(site.preactivation)
