"""Measurement of one estimator: the accuracy of its gradients by layer, and their cost."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bnn.estimators import Estimator
from bnn.lab.accuracy import Accuracy, accuracy
from bnn.lab.estimate import Estimate
from bnn.lab.gradient_sampler import GradientSampler
from bnn.lab.reference import ReferenceGradient

OF_F = "f is the loss of a sample as a function of its bits."
"""Sentence on pages with a column `evaluations of f`."""


@dataclass(frozen=True)
class Measurement:
    """Accuracy and cost of one estimator on one sampler.

    Args:
        unbiased: claim of the estimator, which the contract tests verify.
        evaluations: forward-backward evaluations of the loss per sample and estimate.
        seconds: time of one estimate.
        layers: accuracy by layer, and under BELOW.
        up_to_scale: whether it claims to be unbiased only up to a scale; its variance then says
            nothing about its cost.
    """

    unbiased: bool
    evaluations: int
    seconds: float
    layers: dict[str, Accuracy]
    up_to_scale: bool = False

    def error(self, layer: str, estimates: float) -> float:
        """Relative root-mean-square error of the mean of `estimates` independent estimates.

        An unbiased estimator has noise alone. Of another one, such as one that is unbiased up to a
        scale, the squared bias counts for at least half of the upper end of its interval, below
        which it was not measured.
        """
        one = self.layers[layer]
        bias = one.squared_bias
        exact = self.unbiased and not self.up_to_scale
        squared_bias = 0.0 if exact else max(bias.value, bias.high / 2, 0.0)
        return math.sqrt(squared_bias + one.variance.value / estimates)

    def cost(self, layer: str, unit: str = "evaluations") -> Estimate:
        """Variance of one estimate times its price: what an average leaves for one unit.

        Args:
            layer: layer, or BELOW.
            unit: `evaluations` of the loss per sample, forward and backward, or `ms`.
        """
        price = self.evaluations if unit == "evaluations" else 1000 * self.seconds
        return self.layers[layer].variance.transform(lambda variance: variance * price)


def measure(
    sampler: GradientSampler, estimator: Estimator, reference: ReferenceGradient, draws: int
) -> Measurement:
    """Measurement of an initialised estimator, over `draws` estimates."""
    estimates, seconds = sampler.estimates(estimator, draws)
    layers = {
        layer: accuracy(vectors, reference.groups[layer]) for layer, vectors in estimates.items()
    }
    evaluations = estimator.evaluations(sampler.units)
    return Measurement(estimator.unbiased, evaluations, seconds, layers, estimator.up_to_scale)
