"""One network, one batch, one loss: estimates of the same gradient, again and again, and nothing of the network moves."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from bnn.estimators import Estimator
from bnn.estimators.controls import Frozen
from bnn.nn.forward import ForwardClosure, Loss
from bnn.nn.sites import Noise, generator_noise
from bnn.tasks.classification import cross_entropy
from bnn.training.step import init_estimator

BELOW = "below"
"""The name of all parameters below the highest binary layer together: what the estimators differ in."""
WARM_RATE, WARM_MOMENTUM = 0.05, 0.9
"""Of stochastic gradient descent on what an estimator learns while it is warmed up; the defaults of a training."""


@dataclass
class Bench:
    """Gradients of `model` on a batch, as flat vectors by layer. The network keeps its weights and running statistics."""

    model: nn.Module
    inputs: Tensor
    targets: Tensor
    seed: int = 0
    loss: Loss = cross_entropy
    precision: str = "float32"
    """Of the estimates, as in training: float32, or bf16 under autocast. What stands for the truth is in float32."""
    training: Callable[[torch.Generator], tuple[Tensor, Tensor]] | None = None
    """Draws a batch of training, inputs and targets, on which estimators are warmed up; None: the bench's own batch, which
    what they learn then knows by heart."""
    units: tuple[int, ...] = field(init=False)
    below: list[str] = field(init=False)
    """Names of the parameters below the highest binary layer: those that no gradient of `frozen` reaches, whatever the
    batch and the draw."""

    def __post_init__(self) -> None:
        self.reseed(self.seed)
        self.model.train()
        self.parameters = dict(self.model.named_parameters())
        frozen = Frozen()
        self.units = self.init(frozen)
        reached = self.reached(frozen.surrogate_loss(self.forward(frozen)))
        self.below = [name for name, gradient in reached.items() if gradient is None]

    def reseed(self, seed: int) -> None:
        """Begin the bench's noise anew."""
        self.noise: Noise = generator_noise(torch.Generator(self.inputs.device).manual_seed(seed))

    def init(self, estimator: Estimator) -> tuple[int, ...]:
        """Initialise `estimator` for this network; returns the units of its binary layers."""
        return init_estimator(estimator, self.model, self.inputs[:2], self.seed)

    def forward(self, estimator: Estimator | None = None) -> ForwardClosure:
        """Forward closure of the network on the batch, for an initialised estimator."""
        layers = estimator.layers if estimator is not None else None
        return ForwardClosure(
            self.model,
            self.inputs,
            self.targets,
            self.loss,
            self.noise,
            record=False,
            layers=layers,
        )

    def gradients(self, estimator: Estimator, precision: str = "float32") -> dict[str, Tensor]:
        """One estimate, by parameter."""
        with torch.autocast(self.inputs.device.type, torch.bfloat16, enabled=precision == "bf16"):
            surrogate = estimator.surrogate_loss(self.forward(estimator))
        return self.differentiate(surrogate)

    def reached(self, scalar: Tensor) -> dict[str, Tensor | None]:
        """The gradient of `scalar` by each parameter; None for one that is not in its graph, which is more than a gradient
        that happens to be zero."""
        if not scalar.requires_grad:
            return dict.fromkeys(self.parameters)
        return dict(
            zip(
                self.parameters,
                torch.autograd.grad(scalar, list(self.parameters.values()), allow_unused=True),
                strict=True,
            )
        )

    def differentiate(self, scalar: Tensor) -> dict[str, Tensor]:
        """The gradient of `scalar` by each parameter; zeros where it does not depend on one."""
        found = self.reached(scalar)
        return {
            name: torch.zeros_like(self.parameters[name]) if g is None else g
            for name, g in found.items()
        }

    def warmed(self, estimator: Estimator, steps: int) -> Estimator:
        """A copy of `estimator`, bound to the network, whose averages and learned parts saw `steps` training batches."""
        estimator = copy.deepcopy(estimator)
        self.init(estimator)
        learned = list(estimator.parameters())
        optimizer = torch.optim.SGD(learned, WARM_RATE, WARM_MOMENTUM) if learned else None
        own, picks = (self.inputs, self.targets), torch.Generator().manual_seed(self.seed)
        for _ in range(steps):
            if self.training is not None:
                self.inputs, self.targets = self.training(picks)
            surrogate = estimator.surrogate_loss(self.forward(estimator))
            self.inputs, self.targets = own
            if optimizer is not None:
                optimizer.zero_grad()
                torch.autograd.backward(surrogate, inputs=learned)
                optimizer.step()
        return estimator

    def estimates(self, estimator: Estimator, draws: int) -> tuple[dict[str, Tensor], float]:
        """[draws, numbers] of each layer, and of BELOW; and the seconds that one estimate took."""
        start = time.perf_counter()
        drawn = [self.by_layer(self.gradients(estimator, self.precision)) for _ in range(draws)]
        if self.inputs.is_cuda:
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / draws
        return {layer: torch.stack([one[layer] for one in drawn]) for layer in drawn[0]}, seconds

    def mean(self, estimator: Estimator, draws: int) -> dict[str, Tensor]:
        """The mean of so many estimates, by parameter."""
        total = {
            name: torch.zeros_like(p, dtype=torch.float64) for name, p in self.parameters.items()
        }
        for _ in range(draws):
            for name, gradient in self.gradients(estimator).items():
                total[name] += gradient / draws
        return total

    def groups(self, estimator: Estimator, groups: int, draws: int) -> dict[str, Tensor]:
        """[groups, numbers]: means of so many estimates each, by layer."""
        means = [self.by_layer(self.mean(estimator, draws)) for _ in range(groups)]
        return {layer: torch.stack([mean[layer] for mean in means]) for layer in means[0]}

    def by_layer(self, gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        layers: dict[str, list[Tensor]] = {}
        for name, gradient in gradients.items():
            layers.setdefault(name.rpartition(".")[0] or name, []).append(gradient.flatten())
            if name in self.below:
                layers.setdefault(BELOW, []).append(gradient.flatten())
        return {layer: torch.cat(parts).double() for layer, parts in layers.items()}
