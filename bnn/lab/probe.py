"""Metrics of the gradient's accuracy during training, with random streams of their own."""

from __future__ import annotations

import copy
import math

from bnn import schema
from bnn.config.specification import LabSettings
from bnn.lab.gradient_sampler import GradientSampler
from bnn.lab.measure import measure
from bnn.lab.reference import reference_gradient
from bnn.training.callback import Callback, FitContext
from bnn.training.settings import TrainingConfig


class GradientProbe(Callback):
    """Accuracy of the training's own estimator on one validation batch, every so many epochs.

    Adds per layer `lab/<layer>/bias2` and `lab/<layer>/variance`, both over the squared norm of the
    reference gradient, `lab/<layer>/cosine`, and `lab/<layer>/reference_error`, the relative
    standard error of the reference. A value that is not finite is left out.

    Args:
        config: configuration of the training.
        settings: group `lab`.
    """

    def __init__(self, config: TrainingConfig, settings: LabSettings) -> None:
        self.config, self.settings = config, settings

    def on_fit_start(self, context: FitContext) -> None:
        split, size = context.data.validation, self.settings.batch
        self._model = context.model
        self._batch = context.task.fixed_batch(split.head(size))

    def on_evaluation(self, epoch: int, metrics: dict[str, float]) -> None:
        if epoch % self.settings.every:
            return
        loss, precision = self.config.task.loss, self.config.settings.precision
        sampler = GradientSampler(self._model, *self._batch, epoch, loss, precision)
        reference = reference_gradient(sampler, self.settings.reference)
        estimator = copy.deepcopy(self.config.estimator)
        found = measure(sampler, estimator, reference, self.settings.draws)
        for layer, accuracy in found.layers.items():
            values = {
                "bias2": accuracy.squared_bias.value,
                "variance": accuracy.variance.value,
                "cosine": accuracy.cosine.value,
                "reference_error": reference.relative_error(layer),
            }
            finite = {key: value for key, value in values.items() if math.isfinite(value)}
            metrics |= {f"{schema.LAB}{layer}/{key}": value for key, value in finite.items()}
