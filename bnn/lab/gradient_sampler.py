"""Repeated estimates of one gradient, of one network and one loss on one batch."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from bnn.estimators import Estimator
from bnn.estimators.controls import Frozen
from bnn.nn.forward import ForwardClosure, Loss
from bnn.nn.sites import Noise, Site, generator_noise, host_noise
from bnn.tasks.classification import cross_entropy
from bnn.training.initialisation import init_estimator
from bnn.training.optimizers import ESTIMATOR, sgd

if TYPE_CHECKING:
    from bnn.fitted import FittedNetwork

BELOW = "below"
"""Key of all parameters below the highest binary layer together: where the estimators differ."""


@dataclass
class GradientSampler:
    """Sampler of gradient estimates on a fixed batch, as flat vectors by layer.

    The network keeps its weights, its gradients and its running statistics.

    Args:
        model: network; it is put into training mode.
        inputs: batch, [samples, …].
        targets: targets of the batch, [samples, …].
        seed: seed of the noise, and of an estimator's parameters.
        loss: loss of each sample.
        precision: precision of the estimates, `float32` or `bf16` under autocast; a reference
            gradient is always computed in float32.
        training_batch: function that draws a batch (inputs, targets) of the training split, on
            which estimators are warmed up. None: they are on `inputs`, and what they learn is then
            fitted to the very batch on which they are measured.
        optimizer: constructor of the optimizer of an estimator's parameters in the warm-up; that of
            `optimizer=sgd` by default.

    Attributes:
        units: number of units of each binary layer, from the input.
        below: names of the parameters below the highest binary layer: those that no gradient of
            the output reaches under the estimator `frozen`, whatever the batch and the bits.
    """

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    seed: int = 0
    loss: Loss = cross_entropy
    precision: str = "float32"
    training_batch: Callable[[Generator], tuple[Tensor, Tensor]] | None = None
    optimizer: Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer] = field(
        default_factory=lambda: partial(sgd().of_group, ESTIMATOR)
    )
    units: tuple[int, ...] = field(init=False)
    below: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.reseed(self.seed)
        self.model.train()
        self.parameters = dict(self.model.named_parameters())
        frozen = Frozen()
        self.units = self.init(frozen)
        # of the output: a loss may depend on the probabilities of the units below themselves
        output = self.forward(frozen)(Site.fire).output
        reached = self._gradient_or_none(output.float().sum())
        self.below = [name for name, gradient in reached.items() if gradient is None]

    def reseed(self, seed: int) -> None:
        """Start the noise anew from a seed."""
        self.noise: Noise = generator_noise(torch.Generator(self.inputs.device).manual_seed(seed))

    def init(self, estimator: Estimator) -> tuple[int, ...]:
        """Initialise an estimator for the network; return the units of its binary layers."""
        return init_estimator(estimator, self.model, self.inputs[:2], self.seed)

    def forward(self, estimator: Estimator | None = None) -> ForwardClosure:
        """Forward closure of the network on the batch, for an initialised estimator."""
        return ForwardClosure(
            self.model,
            self.inputs,
            self.targets,
            self.loss,
            self.noise,
            record=False,
            layers=estimator.layers if estimator is not None else None,
        )

    def gradient(self, estimator: Estimator, precision: str = "float32") -> dict[str, Tensor]:
        """One estimate, by parameter."""
        with torch.autocast(self.inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
            surrogate = estimator.surrogate_loss(self.forward(estimator))
        return self.differentiate(surrogate)

    def differentiate(self, scalar: Tensor) -> dict[str, Tensor]:
        """Gradient of a scalar by each parameter; zeros where the scalar does not depend on it."""
        return {
            name: torch.zeros_like(self.parameters[name]) if gradient is None else gradient
            for name, gradient in self._gradient_or_none(scalar).items()
        }

    def _gradient_or_none(self, scalar: Tensor) -> dict[str, Tensor | None]:
        """Gradient of a scalar by each parameter; None, not zeros, for one outside its graph."""
        if not scalar.requires_grad:
            return dict.fromkeys(self.parameters)
        parameters = list(self.parameters.values())
        gradients = torch.autograd.grad(scalar, parameters, allow_unused=True)
        return dict(zip(self.parameters, gradients, strict=True))

    def warm_up(self, estimator: Estimator, steps: int) -> Estimator:
        """Copy of an estimator, initialised, whose averages and parameters saw `steps` batches."""
        estimator = copy.deepcopy(estimator)
        self.init(estimator)
        learned = list(estimator.parameters())
        optimizer = self.optimizer(learned) if learned else None
        own, generator = (self.inputs, self.targets), torch.Generator().manual_seed(self.seed)
        for _ in range(steps):
            if self.training_batch is not None:
                self.inputs, self.targets = self.training_batch(generator)
            surrogate = estimator.surrogate_loss(self.forward(estimator))
            self.inputs, self.targets = own
            if optimizer is not None:
                optimizer.zero_grad()
                torch.autograd.backward(surrogate, inputs=learned)
                optimizer.step()
        return estimator

    def estimates(self, estimator: Estimator, draws: int) -> tuple[dict[str, Tensor], float]:
        """Independent estimates, and the time that each took.

        Returns:
            [draws, numbers] by layer, and under BELOW; seconds per estimate.
        """
        start = time.perf_counter()
        drawn = [self.by_layer(self.gradient(estimator, self.precision)) for _ in range(draws)]
        if self.inputs.is_cuda:
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / draws
        return {layer: torch.stack([one[layer] for one in drawn]) for layer in drawn[0]}, seconds

    def mean(self, estimator: Estimator, draws: int) -> dict[str, Tensor]:
        """Mean of `draws` estimates, by parameter."""
        total = {
            name: torch.zeros_like(p, dtype=torch.float64) for name, p in self.parameters.items()
        }
        for _ in range(draws):
            for name, gradient in self.gradient(estimator).items():
                total[name] += gradient / draws
        return total

    def group_means(self, estimator: Estimator, groups: int, draws: int) -> dict[str, Tensor]:
        """Means of `draws` estimates each, [groups, numbers] by layer."""
        means = [self.by_layer(self.mean(estimator, draws)) for _ in range(groups)]
        return {layer: torch.stack([mean[layer] for mean in means]) for layer in means[0]}

    def by_layer(self, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Flat vectors [numbers] by layer, and of all layers under BELOW, from one by parameter."""
        layers: dict[str, list[Tensor]] = {}
        for name, values in gradient.items():
            layers.setdefault(name.rpartition(".")[0] or name, []).append(values.flatten())
            if name in self.below:
                layers.setdefault(BELOW, []).append(values.flatten())
        return {layer: torch.cat(parts).double() for layer, parts in layers.items()}


def validation_sampler(network: FittedNetwork, samples: int) -> GradientSampler:
    """Sampler on the first `samples` validation examples of a trained network.

    Estimators are warmed up on its training split, by the optimizer of its training.
    """
    training, data = network.setup.training, network.data
    task, validation, train = training.task, data.validation, data.train
    inputs, targets = task.fixed_batch(validation.head(samples))

    def training_batch(generator: Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(train.images), (samples,), generator=generator)
        index = index.to(train.images.device)
        return task.batch(train.images[index], train.labels[index], host_noise(generator))

    return GradientSampler(
        network.model,
        inputs,
        targets,
        network.setup.spec.general.seed,
        task.loss,
        training.settings.precision,
        training_batch,
        partial(training.optimization.of_group, ESTIMATOR),
    )
