"""Exact enumeration: the gradient of the expected loss as a sum over every configuration of the binary units."""

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

LAYER = 12
"""The most units of one layer: 2^12 replicas of each sample."""
NEIGHBOURS = 20
"""The most units of two layers that follow each other: the table of transitions has 2^20 entries for each sample."""


def probabilities(p: Tensor) -> Tensor:
    """Probability of each configuration, [2^units, …], from firing probabilities [..., units]; unit k is bit k of it."""
    q = torch.ones_like(p[None, ..., 0])
    for one in p.unbind(-1):
        q = torch.cat([q * (1 - one), q * one])
    return q


def configurations(units: int, like: Tensor) -> Tensor:
    """Configurations of so many units in the order of `probabilities`, [2^units, units]."""
    index = torch.arange(2**units, device=like.device)
    return (index[:, None] >> torch.arange(units, device=like.device) & 1).to(like.dtype)


@Estimator.registry.add("enumeration")
class Enumeration(Estimator):
    """Exact enumeration, E[f] = Σ_b q(b) f(b) for each sample; differentiable, so that its gradient is the true one.

    Layer by layer: what lies above a layer depends on its configuration alone, whatever led to it, so the distribution of
    each layer's 2^units configurations follows from that of the one below. The replicas of a pass are the configurations of
    the widest layer. Its value is the expected loss. Any law: no logarithm is taken. Batch norm must not couple the samples.

    Raises:
        ConfigError: in `init`, above LAYER units in a layer or NEIGHBOURS in two; for a network with a path around a
            binary layer; for a loss of several layers' bits.
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
                f"estimator=enumeration: expected at most {LAYER} binary units a layer and {NEIGHBOURS} in two that follow "
                f"each other, the network has {' + '.join(map(str, self._units))}; write estimator=reinforce"
            )

    @staticmethod
    def holds(units: Sequence[int]) -> bool:
        """Whether binary layers of so many units can be enumerated."""
        pairs = (below + above for below, above in itertools.pairwise(units))
        return max(units, default=0) <= LAYER and max(pairs, default=0) <= NEIGHBOURS

    def evaluations(self, units: Sequence[int]) -> int:
        return len(self.tree(units)[-1])

    @staticmethod
    def tree(units: Sequence[int]) -> SampleTree:
        """Replica c goes on from replica c, and new ones from the first: none that a later layer needs is lost."""
        tree: list[list[int]] = []
        for count in units:
            below = len(tree[-1]) if tree else 1
            tree.append([*range(below), *[0] * (2**count - below)])
        return tree

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        def rule(site: Site) -> Tensor:
            table = configurations(self._units[site.index], site.preactivation)
            index = torch.arange(len(site.preactivation), device=table.device) % len(table)
            return (
                table[index]
                .view(-1, 1, *site.preactivation.shape[2:])
                .expand_as(site.preactivation)
            )

        drawn = forward(rule, self.tree(self._units))
        if drawn.latents.used and len(drawn.sites) > 1:
            raise ConfigError(
                "estimator=enumeration: it sums layer by layer, and this loss depends on the bits of lower layers; write "
                "estimator=reinforce"
            )
        weight = drawn.loss.new_ones(1, drawn.loss.shape[1])
        for site in drawn.sites:
            q = probabilities(
                site.probs[: len(weight)].flatten(2)
            )  # [configurations, replicas below, samples]
            weight = (q * weight).sum(1)
        return (weight * drawn.loss[: len(weight)]).sum(0).mean()
