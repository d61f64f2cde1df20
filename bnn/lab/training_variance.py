"""Variance of the gradient of estimators, each in the course of its own training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

from omegaconf import DictConfig
from torch import Tensor

from bnn import schema
from bnn.build import read_dataset
from bnn.lab.comparison import usable_estimators
from bnn.lab.gradient_sampler import BELOW, GradientSampler
from bnn.specify import estimator_choices
from bnn.training.callback import Callback, FitContext
from bnn.training.loop import fit
from bnn.training.settings import TrainingConfig
from bnn.training.threads import threads


@dataclass
class TrainingVariance:
    """Variance of one estimator's gradient by epoch of its training.

    Args:
        estimator: name of the estimator.
        device: device of the training.
        evaluations: forward-backward evaluations of the loss per sample and estimate.
        variances: variance of one estimate after each epoch, the sum over the parameters below the
            highest binary layer.
        losses: validation loss after each epoch.
    """

    estimator: str
    device: str
    evaluations: int = 0
    variances: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def total_variance(estimates: Tensor) -> float:
    """Sum of the variances of all numbers, unbiased over the estimates.

    Args:
        estimates: [estimates, numbers].
    """
    return float(estimates.var(0).sum())


class VarianceProbe(Callback):
    """Variance of the training's own estimator on one validation batch, after each epoch.

    Args:
        config: configuration of the training.
        found: result, to which the epochs are added.
        draws: number of estimates.
        batch: number of validation images.
    """

    def __init__(
        self, config: TrainingConfig, found: TrainingVariance, draws: int, batch: int
    ) -> None:
        self._config, self._found, self._draws, self._size = config, found, draws, batch

    def on_fit_start(self, context: FitContext) -> None:
        self._model = context.model
        self._batch = context.task.fixed_batch(context.data.validation.head(self._size))

    def on_evaluation(self, epoch: int, metrics: dict[str, float]) -> None:
        task, settings = self._config.task, self._config.settings
        sampler = GradientSampler(self._model, *self._batch, epoch, task.loss, settings.precision)
        estimator = copy.deepcopy(self._config.estimator)
        estimates, _ = sampler.estimates(estimator, self._draws)
        self._found.evaluations = estimator.evaluations(sampler.units)
        self._found.variances.append(total_variance(estimates[BELOW]))
        self._found.losses.append(metrics[f"{schema.VALIDATION}loss"])


def training_variances(
    config: DictConfig, estimators: Sequence[str], *, draws: int, batch: int
) -> tuple[dict[str, TrainingVariance], list[str]]:
    """Variances of several estimators, each of which trains a network of its own.

    Args:
        config: composed configuration of the training.
        estimators: overrides, each string of which chooses one estimator; empty: all registered
            ones that can serve the network.
        draws: estimates after each epoch.
        batch: number of validation images.

    Returns:
        Result by the estimator's display name; a line for each one that cannot serve.

    Raises:
        ConfigError: for an estimator that was asked for and cannot serve the network.
    """
    choices = [words.split() for words in estimators] or estimator_choices()
    served, refused = usable_estimators(config, choices, strict=bool(estimators))
    found: dict[str, TrainingVariance] = {}
    data = None
    for title, one in served.items():
        data = read_dataset(one.spec) if data is None else data
        name = one.spec.config["estimator"]["name"]
        found[title] = TrainingVariance(name, one.spec.general.device)
        probe = VarianceProbe(one.training, found[title], draws, batch)
        with threads(one.training.settings.threads):
            fit(one.model.to(one.device), one.training, data, callbacks=[probe], title=title)
    return found, refused
