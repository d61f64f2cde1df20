"""The score-function estimator: unbiased, whatever the loss does with the bits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from bnn.estimators.base import Estimator
from bnn.estimators.baselines import Baseline, over_units
from bnn.neurons import Site
from bnn.passes import Run


@Estimator.registry.add("reinforce")
class Reinforce(Estimator):
    """d E[f] / dθ = E[Σ_layers (f - B) · d log q(b) / dθ + ∂f/∂θ] (Williams 1992), with a baseline B.

    Every binary layer's score is multiplied by the total loss of its own sample; nothing else reaches the layers below
    the highest binary one. Bits are always sampled: a hard threshold has no score, so for a deterministic neuron this
    means exploring by its noise law in training and thresholding at evaluation.
    """

    unbiased = True
    needs_full_support = True
    per_sample_credit = True

    def __init__(self, *, baseline: Baseline) -> None:
        super().__init__()
        self.baseline = baseline
        self._sites = 1

    @property
    def least_layers(self) -> int:
        return self.baseline.least_layers

    def bind(self, sites: Sequence[Site]) -> None:
        self._sites = len(sites)
        self.baseline.bind(sites)

    def passes(self, sites: int) -> int:
        return math.prod(self.baseline.forks(sites))

    def surrogate(self, run: Run) -> Tensor:
        base = run(Site.sample, self.baseline.forks(self._sites))
        loss = base.loss.detach()  # cuts nothing the estimate needs: the pathwise term is base.loss itself, below
        score = base.loss.new_zeros(())
        for site, bits in zip(base.sites, base.bits, strict=True):
            # the loss of a draw: the mean over what was drawn above it
            mine = loss.view(-1, len(bits) // loss.shape[1], loss.shape[1]).mean(0)
            units = site.score(bits).unflatten(0, mine.shape)
            credit = over_units(mine, units) - _aligned(self.baseline(site.index, mine), units)
            score = score + (credit * units).sum() / mine.numel()
        self.baseline.update(base)
        return base.loss.mean() + (score - score.detach())


def _aligned(baseline: Tensor, units: Tensor) -> Tensor:
    return over_units(baseline, units) if baseline.dim() == 2 else baseline
