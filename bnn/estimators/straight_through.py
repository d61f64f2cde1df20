"""Straight-through and its kin: one pass, biased, with a pseudo-derivative in place of the step's.

Prefer `st` with the density proxy; `reinmax` is exact where the loss is quadratic in the bits of one layer.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.neurons import Site
from bnn.passes import Run
from bnn.surrogates import SURROGATES, attach


class Pathwise(Estimator):
    """One pass, in which every binary layer draws by `draw`; the gradient that its bits carry is the whole estimate."""

    unbiased = False
    per_sample_credit = False

    def passes(self, units: Sequence[int]) -> int:
        return 1

    @abstractmethod
    def draw(self, site: Site) -> Tensor:
        """Bits with a pathwise gradient by `site.a`."""

    def surrogate(self, run: Run) -> Tensor:
        return run(self.draw).loss.mean()


@Estimator.registry.add("st")
class StraightThrough(Pathwise):
    """d f / d a := f'(b) · d proxy / d a, b fired by the neuron's own rule (Bengio, Léonard & Courville 2013, §4).

    proxy: `density`, `identity` or `sigmoid` (bnn/surrogates.py). With `density` it is exact in expectation for one
    stochastic layer under a multilinear f, and biased elsewhere (Shekhovtsov & Yanush 2021).
    """

    needs_full_support = False
    explores = False

    def __init__(self, *, proxy: str) -> None:
        super().__init__()
        self.proxy = SURROGATES[proxy]

    def draw(self, site: Site) -> Tensor:
        return attach(site.fire(), self.proxy(site))


@Estimator.registry.add("reinmax")
class ReinMax(Pathwise):
    """d f / d ℓ := f'(b) [2π(1 - π) - p(1 - p)/2], π = (σ(ℓ/τ) + b)/2, b ~ Bernoulli(p), p = σ(ℓ) (Liu et al. 2023).

    At τ = 1 the bracket is |b - p|/2: the ½-estimator of DARN (Gregor et al. 2014), exact in expectation for one layer under
    an f that is quadratic in its bits. Bits are always sampled: a deterministic neuron explores by its noise law in training
    and thresholds at evaluation. Errors: ConfigError for tau < 1.
    """

    needs_full_support = True

    def __init__(self, *, tau: float) -> None:
        super().__init__()
        if not 1 <= tau < math.inf:
            raise ConfigError(f"estimator.tau: reinmax expects a finite temperature of at least 1, got {tau}")
        self.tau = tau

    def draw(self, site: Site) -> Tensor:
        bits, p = site.sample(), site.p.detach()
        half = (torch.sigmoid(site.log_odds.detach() / self.tau) + bits) / 2
        return attach(bits, (2 * half * (1 - half) - p * (1 - p) / 2) * site.log_odds)
