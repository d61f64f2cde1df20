"""Interface of a task: what a network is trained for, and how it is measured.

A task owns how a batch becomes inputs and targets, the loss of each sample, the size of the output, the metrics with their
direction, the one that selects the best epoch, and the evaluation of a split. Nothing else knows any of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bnn import schema
from bnn.data import DatasetSpec, Split
from bnn.nn.handlers import SiteHandler, evaluating, sampled, threshold
from bnn.nn.layers import binary_layers
from bnn.nn.neurons import is_stochastic
from bnn.nn.sites import Latents
from bnn.registry import Registry
from bnn.tasks.readings import BATCH, outputs, seeded_noise

Scores = dict[str, float]
"""Metrics by name, `loss` among them; means over the samples of a split."""


@dataclass(frozen=True)
class Metric:
    """A metric of a task.

    Args:
        direction: `minimize` or `maximize`.
        unit: `nats`, `%`.
        scale: factor between a value and how it is printed.
        digits: printed behind the point.
    """

    direction: str
    unit: str
    scale: float = 1.0
    digits: int = 4

    def format(self, value: float) -> str:
        """The value without its unit: `98.92`."""
        return f"{self.scale * value:.{self.digits}f}"


class Task(nn.Module, ABC):
    """Task: inputs, targets, loss, metrics and evaluation. A Module, for the networks that it may bring.

    Parameters of a task are a parameter group of their own (`optimizer.groups.task`); networks with an optimizer of their
    own are trained in `step`.
    """

    registry: ClassVar[Registry[Task]] = Registry("task.name")
    metrics: ClassVar[Mapping[str, Metric]]
    """Metrics by name, the one that tables show first; `loss` is among them."""
    selection: ClassVar[str] = "loss"
    """The metric that selects the best epoch on the validation split."""
    fractional_bits: ClassVar[bool]
    """Whether the loss is defined at bits between 0 and 1, which some estimators evaluate (muprop, rebar, relax, concrete);
    those are refused where it is not."""

    @property
    def headline(self) -> str:
        """Name of the metric that tables show first."""
        return next(iter(self.metrics))

    @abstractmethod
    def output_size(self, data: DatasetSpec) -> int:
        """Number of outputs of a network for this data set.

        Raises:
            ConfigError: for a data set that the task cannot use.
        """

    def init(self, data: DatasetSpec) -> None:
        """Networks that the task brings, for this data set; none unless overridden."""

    def inputs(self, images: Tensor) -> Tensor:
        """Inputs of the network; the images [n, c, h, w] themselves unless overridden."""
        return images

    @abstractmethod
    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Targets of the loss, [n, …], from images [n, c, h, w] and the labels [n] of the data set."""

    def batch(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one batch, [n, …] each."""
        return self.inputs(images), self.targets(images, labels)

    @abstractmethod
    def loss(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
        """Training loss of each row of the output.

        Args:
            output: [n, …], n = replicas · samples.
            targets: [n, …].
            latents: the binary layers with their bits, [n, *units].

        Returns:
            [n].
        """

    def statistics(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Metrics beside the loss that the training curves show, [n] each; none unless overridden."""
        return {}

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Metrics of each sample of a batch in evaluation, in float64.

        Args:
            outputs: [draws, n, …], several draws of the random units.
            targets: [n, …].

        Returns:
            [n] by metric.
        """

    def predict(self, output: Tensor) -> Tensor:
        """Prediction that an exported model returns, from the network's output; the output itself unless overridden."""
        return output

    def step(
        self, train: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor
    ) -> Tensor:
        """One training step; `train` unless overridden.

        Args:
            train: one step of the network's optimizer on inputs and targets; returns the mean loss.
            inputs, targets: the batch.

        Returns:
            The mean loss, a detached scalar.
        """
        return train(inputs, targets)

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Optimizers of the task's own, which checkpoints keep; none unless overridden."""
        return {}

    def evaluate(
        self, model: nn.Module, split: Split, reading: SiteHandler, draws: int = 1
    ) -> Scores:
        """Metrics of `model` in evaluation mode under a reading of its random units, over `draws` of them."""
        total: dict[str, Tensor] = {}
        chain = draws == 1 or binary_layers(model, self.inputs(split.images[:2])).chain
        with evaluating(model), torch.no_grad():
            for images, labels in zip(
                split.images.split(BATCH), split.labels.split(BATCH), strict=True
            ):
                inputs, targets = self.batch(images, labels)
                for name, values in self.score(
                    outputs(model, inputs, reading, draws, chain), targets
                ).items():
                    total[name] = total.get(name, 0) + values.double().sum()
        return {name: float(value) / len(split.labels) for name, value in total.items()}

    def evaluations(
        self, model: nn.Module, split: Split, draws: int, seed: int
    ) -> dict[str, Scores]:
        """Metrics under every reading that applies, by the reading's name.

        `sampled` is one draw by the neurons' own rule. Networks with random units have two more: `mc_mean` of `draws` draws, and
        `threshold`.
        """
        device = split.images.device
        scores = {schema.SAMPLED: self.evaluate(model, split, sampled(seeded_noise(seed, device)))}
        if is_stochastic(model):
            scores[schema.MC_MEAN] = self.evaluate(
                model, split, sampled(seeded_noise(seed, device)), draws
            )
            scores[schema.THRESHOLD] = self.evaluate(model, split, threshold)
        return scores
