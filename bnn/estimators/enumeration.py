"""The exact gradient of the expected loss, by summing over every configuration of the binary units: the oracle."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.neurons import Site
from bnn.passes import Run

LAYER = 12
"""The most units of one layer: 2^12 replicas of each sample."""
NEIGHBOURS = 20
"""The most units of two layers that follow each other: the table of transitions has 2^20 entries for each sample."""


def probabilities(p: Tensor) -> Tensor:
    """q [2^units, ...] of every configuration, from firing probabilities p [..., units]; bit k of the index is unit k."""
    q = torch.ones_like(p[None, ..., 0])
    for one in p.unbind(-1):
        q = torch.cat([q * (1 - one), q * one])
    return q


def configurations(units: int, like: Tensor) -> Tensor:
    """[2^units, units] in the order of `probabilities`."""
    index = torch.arange(2**units, device=like.device)
    return (index[:, None] >> torch.arange(units, device=like.device) & 1).to(like.dtype)


@Estimator.registry.add("enumeration")
class Enumeration(Estimator):
    """E[f] = Σ_b q(b) f(b) per sample, averaged over samples; differentiable, so its gradient is the true one.

    Layer by layer: what lies above a layer depends on its configuration alone, whatever led to it, so the distribution of
    each layer's 2^units configurations follows from that of the one below. The replicas of a pass are the configurations of
    the widest layer. Its value is the expected loss. Any law: no logarithm is taken. Batch norm must not couple the samples.
    Errors: ConfigError above LAYER units in a layer or NEIGHBOURS in two; for a network with a path around a binary layer.
    """

    unbiased = True
    needs_full_support = False
    per_sample_credit = True
    exact = True

    def __init__(self) -> None:
        super().__init__()
        self._units: list[int] = []
        self._chain = False

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        self._units, self._chain = [site.a[0].numel() for site in sites], False
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

    def passes(self, units: Sequence[int]) -> int:
        return len(self.tree(units)[-1])

    @staticmethod
    def tree(units: Sequence[int]) -> list[list[int]]:
        """Replica c goes on from replica c, and new ones from the first: none that a later layer needs is lost."""
        tree: list[list[int]] = []
        for count in units:
            below = len(tree[-1]) if tree else 1
            tree.append([*range(below), *[0] * (2**count - below)])
        return tree

    def surrogate(self, run: Run) -> Tensor:
        if not self._chain:
            self._check_chain(run)
        tree, n = self.tree(self._units), len(run.inputs)

        def draw(site: Site) -> Tensor:
            table = configurations(self._units[site.index], site.a)
            index = torch.arange(len(tree[site.index]), device=table.device) % len(table)
            return table[index].repeat_interleave(n, 0).view_as(site.a)

        latest = run(draw, tree)
        weight, below = latest.loss.new_ones(1, n), 1
        for site in latest.sites:
            q = probabilities(site.p.unflatten(0, (-1, n))[:below].flatten(2))
            weight, below = (q * weight).sum(1), len(q)
        return (weight * latest.loss[:below]).sum(0).mean()

    @torch.no_grad()
    def _check_chain(self, run: Run) -> None:
        """For each layer but the first a pair of replicas that differ in every unit below it and agree from it on: above it
        they must meet the same. Errors: ConfigError where they do not, for there is a path around a binary layer."""
        pairs = len(self._units) - 1

        def draw(site: Site) -> Tensor:
            differ = torch.arange(1, pairs + 1, device=site.a.device) > site.index
            ones = torch.stack([torch.zeros_like(differ), differ], 1).flatten()
            return ones.to(site.a).repeat_interleave(len(run.inputs)).view(-1, *[1] * (site.a.dim() - 1)).expand_as(site.a)

        if pairs:
            probe = Run(run.model, run.inputs, run.targets, run.loss, run.noise, record=False)
            latest = probe(draw, [[0] * (2 * pairs)])
            met = [site.a.unflatten(0, (2 * pairs, -1)) for site in latest.sites] + [latest.loss]
            for layer in range(1, pairs + 1):
                for above in met[layer + 1 :]:
                    if not torch.allclose(above[2 * layer - 2], above[2 * layer - 1]):
                        raise ConfigError(
                            "estimator=enumeration: it sums layer by layer, and this network has a path around a binary "
                            "layer; write estimator=reinforce"
                        )
        self._chain = True
