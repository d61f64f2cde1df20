"""Straight-through estimators: one pass, biased, a pseudo-derivative in place of the step's.

`st` with the density of the noise is exact where the loss is multilinear in the bits of one layer,
`reinmax` where it is quadratic in them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bnn.errors import ConfigError, NoEstimatorError
from bnn.estimators.base import Estimator
from bnn.estimators.compatibility import check_law
from bnn.estimators.pseudo_derivatives import PSEUDO_DERIVATIVES
from bnn.nn.forward import ForwardClosure
from bnn.nn.gradients import replace_gradient
from bnn.nn.handlers import SiteHandler, handling
from bnn.nn.replicas import flatten, split
from bnn.nn.sites import Noise, RandomUnits, Site
from bnn.nn.weight_draws import WeightDraws, drawing_weights


class OnePass(Estimator):
    """Estimator of one pass whose estimate is the gradient that the bits carry.

    Evaluations of f per sample and step: 1. Biased, unless a subclass claims otherwise.
    """

    unbiased = False
    assumes_independent_samples = False

    def evaluations(self, units: Sequence[int]) -> int:
        return 1

    @abstractmethod
    def sample(self, site: Site) -> Tensor:
        """Bits with a pathwise gradient by the pre-activation.

        Args:
            site: the layer, any shape.

        Returns:
            Of the shape of the site.
        """

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        return forward(self.sample).loss.mean()

    def handler(self, noise: Noise = torch.rand_like) -> SiteHandler:
        """Site handler that samples every binary layer by this estimator.

        Args:
            noise: source of the uniform numbers.

        Raises:
            ConfigError: from the handler, at a law without full support where one is needed.
        """

        def handle(layer: Site | RandomUnits) -> Tensor:
            layer = dataclasses.replace(layer, noise=noise)
            if isinstance(layer, RandomUnits):
                return layer.fire()
            check_law(self, layer.law)
            named = split(layer.preactivation, 1)
            bits = self.sample(
                dataclasses.replace(layer, preactivation=named[None] if layer.shared else named)
            )
            return bits.squeeze(1) if layer.shared else flatten(bits)

        return handle

    @contextlib.contextmanager
    def in_force(self, noise: Noise = torch.rand_like) -> Iterator[None]:
        """Context for a forward pass and a loss of the user's own.

            with estimator.in_force():
                loss = criterion(net(inputs), targets)
            loss.backward()

        Args:
            noise: source of the uniform numbers.

        Raises:
            ConfigError: at a law without full support, where the estimator needs one.
            NoEstimatorError: at the end, if no binary layer was met within.
        """
        handle, met = self.handler(noise), 0

        def count(layer: Site | RandomUnits) -> Tensor:
            nonlocal met
            met += isinstance(layer, Site)
            return handle(layer)

        with handling(count), drawing_weights(WeightDraws(noise)):
            yield
        if not met:
            raise NoEstimatorError(
                f"{type(self).__name__}.in_force: no binary layer was met; the forward pass of the "
                "network belongs within"
            )


@Estimator.registry.add("st")
class StraightThrough(OnePass):
    """Straight-through estimator (Hinton 2012; Bengio, Léonard & Courville 2013, §4).

        d f / d a := f'(b) · s'(a)

    b is fired by the neuron's own rule, s' is a pseudo-derivative. With the density of the noise
    law as s' it is exact in expectation for one stochastic layer under a multilinear f, and biased
    elsewhere (Shekhovtsov & Yanush 2021). Evaluations of f per sample and step: 1.

    Args:
        pseudo_derivative: s', `density`, `identity` or `sigmoid`
            (bnn/estimators/pseudo_derivatives.py).

    Raises:
        ConfigError: for another pseudo-derivative.
    """

    needs_full_support = False
    samples_in_training = False

    def __init__(self, *, pseudo_derivative: str = "density") -> None:
        super().__init__()
        self._function = PSEUDO_DERIVATIVES[pseudo_derivative]
        self.pseudo_derivative = pseudo_derivative

    def sample(self, site: Site) -> Tensor:
        return replace_gradient(site.fire(), self._function(site))


@Estimator.registry.add("reinmax")
class ReinMax(OnePass):
    """ReinMax, a second-order straight-through estimator (Liu et al. 2023).

        d f / d ℓ := f'(b) [2π(1 - π) - p(1 - p)/2],   π = (σ(ℓ/τ) + b)/2,   b ~ Bernoulli(p)

    At τ = 1 the bracket is |b - p|/2: the ½-estimator of DARN (Gregor et al. 2014), exact in
    expectation for one layer under an f that is quadratic in its bits, and biased elsewhere. Bits
    are always sampled: a deterministic neuron is sampled by its noise law in training and
    thresholded in evaluation. Evaluations of f per sample and step: 1.

    Args:
        tau: temperature τ ≥ 1.

    Raises:
        ConfigError: for tau < 1.
    """

    needs_full_support = True

    def __init__(self, *, tau: float = 1.0) -> None:
        super().__init__()
        if not 1 <= tau < math.inf:
            raise ConfigError(
                f"estimator.tau: reinmax expects a finite temperature of at least 1, got {tau}"
            )
        self.tau = tau

    def sample(self, site: Site) -> Tensor:
        bits, p = site.sample(), site.probs.detach()
        pi = (torch.sigmoid(site.logits.detach() / self.tau) + bits) / 2
        return replace_gradient(bits, (2 * pi * (1 - pi) - p * (1 - p) / 2) * site.logits)


@Estimator.registry.add("mve")
class MinimumVarianceStraightThrough(OnePass):
    """Minimum-variance estimator of the straight-through family (Hooper & Shekhovtsov 2026).

        d f / d ℓ := f'(b) [(1 - λ) v + λ |b - p| / 2],   λ = 4 t v / (1 + 4 t v),   v = p (1 - p)

    A mixture of straight-through (λ = 0) and the ½-estimator (`reinmax`, λ = 1), more of the latter
    where the unit is uncertain. The bracket has the expectation v, so that it is exact for
    one layer under a multilinear f, and biased elsewhere. Evaluations of f per sample and step: 1.

    Args:
        t: weight t ≥ 0 of the ½-estimator; 0 is straight-through.

    Raises:
        ConfigError: for t < 0.
    """

    needs_full_support = True

    def __init__(self, *, t: float = 1.0) -> None:
        super().__init__()
        if not 0 <= t < math.inf:
            raise ConfigError(f"estimator.t: mve expects a finite number of at least 0, got {t}")
        self.t = t

    def sample(self, site: Site) -> Tensor:
        bits, p = site.sample(), site.probs.detach()
        v = p * (1 - p)
        weight = 4 * self.t * v / (1 + 4 * self.t * v)
        return replace_gradient(
            bits, ((1 - weight) * v + weight * (bits - p).abs() / 2) * site.logits
        )
