"""Interface of a task: what a network is trained for, and how it is measured.

A task owns how a batch becomes inputs and targets, the loss of each sample, the sizes of input and
output, the metrics with their direction, the one that selects the best epoch, and the evaluation of
a split. Nothing else knows any of these.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn

from bnn import schema
from bnn.data import DatasetSpec, Split
from bnn.errors import ConfigError
from bnn.nn.layers import binary_layers
from bnn.nn.readings import BATCH, Reading, evaluated, readings
from bnn.nn.sites import Latents, Noise, host_noise
from bnn.registry import Registry
from bnn.seeds import stream

Scores = dict[str, float]
"""Metrics by name, `loss` among them; means over the samples of a split."""


@dataclass(frozen=True)
class Metric:
    """Metric of a task.

    Args:
        direction: `minimize` or `maximize`.
        unit: unit of the printed value, `nats` or `%`.
        scale: factor between a value and the printed value.
        digits: printed digits behind the point.
    """

    direction: str
    unit: str
    scale: float = 1.0
    digits: int = 4

    def format(self, value: float) -> str:
        """Printed value without its unit: `98.92`."""
        return f"{self.scale * value:.{self.digits}f}"


@dataclass(frozen=True)
class Pictures:
    """Pictures that a task makes of a network, in named rows.

    Args:
        rows: title of each row, and its pictures, [columns, c, h, w] in [0, 1].
    """

    rows: Mapping[str, Tensor]


class TrainingStep(Protocol):
    """One training step of the network, as a task's own step uses it."""

    @property
    def noise(self) -> Noise:
        """Source of uniform numbers that belong to the training, and go on after a break."""

    def __call__(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """One step of the network's optimizer.

        Args:
            inputs: [n, …].
            targets: [n, …].

        Returns:
            Mean loss, a detached scalar.
        """

    def outputs(self, inputs: Tensor) -> Tensor:
        """Outputs of the network in training by one draw of its bits, detached.

        Args:
            inputs: [n, …].

        Returns:
            [n, …].
        """


class Task(nn.Module, ABC):
    """Task: inputs, targets, loss, metrics and evaluation.

    A task is a module, for the networks that it may bring. Its parameters are a parameter group of
    their own (`optimizer.groups.task`); networks with an optimizer of their own are trained in
    `step`.
    """

    registry: ClassVar[Registry[Task]] = Registry("task.name")
    metrics: ClassVar[Mapping[str, Metric]]
    """Metrics by name, the one that tables show first; `loss` is among them."""
    selection: ClassVar[str] = "loss"
    """Metric that selects the best epoch on the validation split."""
    fractional_bits: bool
    """Whether the loss is defined at bits between 0 and 1, which some estimators evaluate (muprop,
    rebar, relax, concrete); those are refused where it is not."""
    importance_weights: bool = False
    """Whether exp(-loss) is a likelihood p(y | b) or an importance weight p(x, b) / q(b | x), the
    mean of which over several draws some estimators train. Of a loss that takes the latents,
    exp(-loss) is p(x, b) / q(b | x), with log q(b | x) by detached logits."""
    logits_in_loss: bool = False
    """Whether the loss depends on the logits of the latent variables directly, not by the bits
    alone, as an analytic divergence does. An estimator that scales the gradient of the bits
    (`up_to_scale`) is refused: the sum would not be proportional to the gradient."""
    compared_reading: ClassVar[str] = schema.SAMPLED
    """Reading whose headline reports compare, `sampled` or `mc_mean`."""
    same_operations: ClassVar[bool] = True
    """Whether every step launches the same operations, as a CUDA graph repeats them."""
    scores_samples: ClassVar[bool] = True
    """Whether every metric is a mean over samples, which `score` gives; else `evaluate` computes
    metrics of a whole split, and weights that are drawn in training are refused."""
    needs_generator: ClassVar[bool] = False
    """Whether the network has to be one of those that make pixels in [0, 1] (`generates`)."""
    image_title: ClassVar[str] = "input"
    """Title of the test images above the heatmaps of the layers."""
    draws_probabilities: ClassVar[bool] = False
    """Whether runs have a figure of the units' firing probabilities by epoch."""
    needs_latents: ClassVar[bool] = False
    """Whether the loss is one of stochastic binary layers; a network without any is refused."""

    @property
    def headline(self) -> str:
        """Name of the metric that tables show first."""
        return next(iter(self.metrics))

    @abstractmethod
    def output_size(self, data: DatasetSpec) -> int:
        """Number of outputs of a network for a data set.

        Args:
            data: facts of the data set.

        Raises:
            ConfigError: for a data set that the task cannot use.
        """

    def input_shape(self, data: DatasetSpec) -> tuple[int, int, int]:
        """Channels, height and width of the network's inputs; of the images unless overridden.

        Args:
            data: facts of the data set.
        """
        return data.shape

    def init(self, data: DatasetSpec) -> None:
        """Make the networks and buffers that the task brings; none unless overridden.

        Args:
            data: facts of the data set.
        """

    def measure(self, train: Split) -> None:
        """Compute what the task takes from the training split; nothing unless overridden.

        Args:
            train: training split, on the task's device.
        """

    def inputs(self, images: Tensor) -> Tensor:
        """Inputs of the network; the images themselves unless overridden.

        Args:
            images: [n, c, h, w].

        Returns:
            [n, …].
        """
        return images

    @abstractmethod
    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Targets of the loss.

        Args:
            images: [n, c, h, w].
            labels: labels of the data set, [n].

        Returns:
            [n, …].
        """

    def batch(
        self, images: Tensor, labels: Tensor, noise: Noise = torch.rand_like
    ) -> tuple[Tensor, Tensor]:
        """Inputs and targets of one batch; `inputs` and `targets` unless overridden.

        Args:
            images: [n, c, h, w].
            labels: labels of the data set, [n].
            noise: source of uniform numbers, for a task that draws them.

        Returns:
            [n, …] each.
        """
        return self.inputs(images), self.targets(images, labels)

    def fixed_batch(self, split: Split) -> tuple[Tensor, Tensor]:
        """Inputs and targets of a split for evaluation, the same for every run and device.

        Args:
            split: examples.

        Returns:
            [n, …] each.
        """
        noise = host_noise(torch.Generator().manual_seed(stream(0, "targets")))
        return self.batch(split.images[:], split.labels, noise)

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
        """Metrics beside the loss for the training curves; none unless overridden.

        Args:
            output: [n, …].
            targets: [n, …].

        Returns:
            [n] by metric.
        """
        return {}

    @abstractmethod
    def score(self, outputs: Tensor, targets: Tensor, latents: Latents) -> dict[str, Tensor]:
        """Metrics of each sample of a batch in evaluation, in float64.

        Args:
            outputs: [draws, n, …], several draws of the random units.
            targets: [n, …].
            latents: the binary layers with their bits, [draws · n, *units]; under drawn weights
                only where `needs_latents`.

        Returns:
            [n] by metric.
        """

    def predict(self, output: Tensor) -> Tensor:
        """Prediction that an exported model returns; the output itself unless overridden.

        Args:
            output: output of the network, [n, …].

        Returns:
            [n, …].
        """
        return output

    def step(self, train: TrainingStep, inputs: Tensor, targets: Tensor) -> Tensor:
        """One training step; `train` unless overridden.

        Args:
            train: one step of the network's optimizer on inputs and targets.
            inputs: [n, …].
            targets: [n, …].

        Returns:
            Mean loss, a detached scalar.
        """
        return train(inputs, targets)

    def typical_step(self, train: TrainingStep, inputs: Tensor, targets: Tensor) -> Tensor:
        """Training step as most of them are, by which the time of a training is estimated.

        Args:
            train: as of `step`.
            inputs: [n, …].
            targets: [n, …].
        """
        return self.step(train, inputs, targets)

    def pictures(self, model: nn.Module, images: Tensor, seed: int) -> dict[str, Pictures]:
        """Pictures of a network for its run, at each epoch and at the end; none unless overridden.

        They leave the network and the generators of random numbers as they are. Names are parts of
        file names and of MLflow's keys.

        Args:
            model: the network.
            images: fixed test images, one of each class where there are classes, [n, c, h, w].
            seed: seed of the random units.
        """
        return {}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Optimizers of the task's own, which checkpoints keep; none unless overridden."""
        return {}

    def evaluate(self, model: nn.Module, split: Split, reading: Reading) -> Scores:
        """Metrics of a network on a split under one reading.

        Args:
            model: the network.
            split: examples, on the network's device.
            reading: reading of its random units.

        Returns:
            Means over the samples, by metric.
        """
        total: dict[str, Tensor] = {}
        handler, draws = reading.handler(split.images.device), reading.draws
        with torch.no_grad():
            inputs, targets = self.fixed_batch(split)
        chain = draws == 1 or binary_layers(model, inputs[:2]).chain
        size = max(1, BATCH // draws)  # rows of all draws together, which a cache has room for
        for part, of_part in zip(inputs.split(size), targets.split(size), strict=True):
            with torch.no_grad():
                outputs, latents = evaluated(model, part, handler, draws, chain)
                scores = self.score(outputs, of_part, latents)
                scores |= _costs(model, latents, draws, len(part), scores)
            for name, values in scores.items():
                total[name] = total.get(name, 0) + values.double().sum()
        return {name: float(value) / len(split.labels) for name, value in total.items()}

    def readings(self, model: nn.Module, draws: int, seed: int) -> tuple[Reading, ...]:
        """Readings of a network that the task evaluates; every one that applies by default.

        Args:
            model: the network.
            draws: draws of the reading `mc_mean`.
            seed: seed of the noise.
        """
        return readings(model, draws, seed)

    def validation_reading(self, model: nn.Module, draws: int, seed: int) -> Reading:
        """Reading that selects the best epoch: `mc_mean` of several draws, `sampled` of one.

        Args:
            model: the network; without random units it has one reading.
            draws: `trainer.validation_samples`.
            seed: seed of the noise.
        """
        of_draws = (one for one in self.readings(model, draws, seed) if one.draws == draws > 1)
        return next(of_draws, Reading.sampled(seed))

    def evaluations(
        self, model: nn.Module, split: Split, draws: int, seed: int
    ) -> dict[str, Scores]:
        """Metrics of a network on a split under every reading that applies.

        Args:
            model: the network.
            split: examples, on the network's device.
            draws: draws of the reading `mc_mean`.
            seed: seed of the noise.

        Returns:
            By reading the metrics by name: `sampled`, and of a network with random units `mc_mean`
            and `threshold`.
        """
        return {
            reading.name: self.evaluate(model, split, reading)
            for reading in self.readings(model, draws, seed)
        }


def _costs(
    model: nn.Module, latents: Latents, draws: int, samples: int, taken: Collection[str]
) -> dict[str, Tensor]:
    """Cost of each sample by name, the mean over draws; none without a method `sample_costs`.

    Args:
        model: the network.
        latents: binary layers with their bits, [draws · n, *units].
        draws: number of draws.
        samples: n.
        taken: names of the task's own metrics.

    Returns:
        [n] by name.

    Raises:
        ConfigError: for a cost that is called like a metric of the task.
    """
    costs = getattr(model, "sample_costs", None)
    if not inspect.ismethod(costs):
        return {}
    found = costs(latents, draws * samples)
    if common := sorted(set(found) & set(taken)):
        raise ConfigError(
            f"{type(model).__name__}.sample_costs: {common[0]} is a metric of the task; give the "
            "cost another name"
        )
    return {name: values.unflatten(0, (draws, samples)).mean(0) for name, values in found.items()}
