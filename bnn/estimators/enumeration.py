"""The exact gradient of the expected loss, by summing over every configuration of the binary units: the oracle."""

from __future__ import annotations

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
    the widest layer. Its value is the expected loss. Any law: no logarithm is taken.
    Errors: ConfigError above LAYER units in a layer or NEIGHBOURS in two; for a network with a path around a binary layer.
    """

    unbiased = True
    needs_full_support = False
    per_sample_credit = True
    exact = True

    def __init__(self) -> None:
        super().__init__()
        self._units: list[int] = []

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        self._units = [site.a[0].numel() for site in sites]
        pairs = [a + b for a, b in zip(self._units, self._units[1:], strict=False)]
        if max(self._units, default=0) > LAYER or max(pairs, default=0) > NEIGHBOURS:
            raise ConfigError(
                f"estimator=enumeration: expected at most {LAYER} binary units a layer and {NEIGHBOURS} in two that follow "
                f"each other, the network has {' + '.join(map(str, self._units))}; write estimator=reinforce"
            )

    def passes(self, units: Sequence[int]) -> int:
        return len(self.tree(units)[-1])

    @staticmethod
    def tree(units: Sequence[int]) -> list[list[int]]:
        """Replica c goes on from replica c, and new ones from the first: none that a later layer needs is lost. With several
        layers the last one is the witness of `_check_chain`, on its own throughout."""
        tree: list[list[int]] = []
        for count in units:
            below = len(tree[-1]) if tree else 1
            above = max(below, 2**count + (len(units) > 1))
            tree.append([*range(below - 1), *[0] * (above - below), below - 1])
        return tree

    def surrogate(self, run: Run) -> Tensor:
        tree, n = self.tree(self._units), len(run.inputs)

        def draw(site: Site) -> Tensor:
            table = configurations(self._units[site.index], site.a)
            index = torch.arange(len(tree[site.index]), device=table.device) % len(table)
            if len(tree) > 1:
                index[-1] = site.index % len(table)
            return table[index].repeat_interleave(n, 0).view_as(site.a)

        latest = run(draw, tree)
        weight, below = latest.loss.new_ones(1, n), 1
        for site in latest.sites:
            if site.index:
                self._check_chain(site.a.unflatten(0, (-1, n)), site.index - 1)
            q = probabilities(site.p.unflatten(0, (-1, n))[:below].flatten(2))
            weight, below = (q * weight).sum(1), len(q)
        if len(tree) > 1:
            self._check_chain(latest.loss, len(tree) - 1)
        return (weight * latest.loss[:below]).sum(0).mean()

    def _check_chain(self, met: Tensor, layer: int) -> None:
        """Errors: ConfigError where the witness, which has the bits of another replica at `layer` and not below it, met
        something else above."""
        twin = met[layer % 2 ** self._units[layer]]
        if not torch.allclose(met[-1], twin):
            raise ConfigError(
                "estimator=enumeration: it sums layer by layer, and this network has a path around a binary layer; write "
                "estimator=reinforce for an unbiased estimate"
            )
