"""Straight-through: one pass, biased, with a pseudo-derivative in place of the step's."""

from __future__ import annotations

from torch import Tensor

from bnn.estimators.base import Estimator
from bnn.neurons import Site
from bnn.passes import Run
from bnn.surrogates import SURROGATES, attach


@Estimator.registry.add("st")
class StraightThrough(Estimator):
    """d f / d a := f'(b) · d proxy / d a, b fired by the neuron's own rule (Bengio, Léonard & Courville 2013, §4).

    proxy: `density`, `identity` or `sigmoid` (bnn/surrogates.py). With `density` it is exact in expectation for one
    stochastic layer under a multilinear f, and biased elsewhere (Shekhovtsov & Yanush 2021).
    """

    unbiased = False
    needs_full_support = False
    per_sample_credit = False

    def __init__(self, *, proxy: str) -> None:
        super().__init__()
        self.proxy = SURROGATES[proxy]

    def passes(self, sites: int) -> int:
        return 1

    def draw(self, site: Site) -> Tensor:
        return attach(site.fire(), self.proxy(site))

    def surrogate(self, run: Run) -> Tensor:
        return run(self.draw).loss.mean()
