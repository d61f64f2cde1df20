"""Measurements of the gradient during training, as metrics. They draw from streams of their own and move nothing."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

from torch import Tensor, nn

from bnn.estimators import Estimator
from bnn.lab.bench import Bench
from bnn.lab.measure import measure, truth
from bnn.nn.forward import Loss


@dataclass
class Probe:
    """Called with an epoch, counted from 1: every so many, the accuracy of the training's own estimator on one batch."""

    model: nn.Module
    estimator: Estimator
    inputs: Tensor
    targets: Tensor
    loss: Loss
    every: int
    draws: int
    reference: int
    precision: str = "float32"

    def __call__(self, epoch: int) -> dict[str, float]:
        """`lab/<layer>/bias2`, `…/variance` (over the squared norm of the true gradient) and `…/cosine` of each layer, and
        `…/reference_error`, by how much of its norm the true gradient is uncertain; what cannot be told of such a reference
        is left out. Nothing in the other epochs."""
        if epoch % self.every:
            return {}
        bench = Bench(self.model, self.inputs, self.targets, epoch, self.loss, self.precision)
        against = truth(bench, self.reference)
        found = measure(bench, copy.deepcopy(self.estimator), against, self.draws)
        figures = {
            f"lab/{layer}/{key}": value.value
            for layer, one in found.layers.items()
            for key, value in (
                ("bias2", one.bias),
                ("variance", one.variance),
                ("cosine", one.cosine),
            )
        }
        known = {
            f"lab/{layer}/reference_error": against.relative_error(layer) for layer in found.layers
        }
        return {key: value for key, value in (figures | known).items() if math.isfinite(value)}
