"""Descent on E|b - c|^p, averaged over units with a bit b each, by any gradient estimator.

The best units never fire, and the loss is then c^p. The expected gradient of straight-through
vanishes at the firing probability c^(p-1) / (c^(p-1) + (1-c)^(p-1)).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from bnn.estimators import Estimator
from bnn.nn.neurons import Stochastic
from bnn.nn.noise import Logistic
from bnn.nn.sites import generator_noise
from bnn.training.initialisation import init_estimator

C = 0.45
POWERS = (1.5, 2.0, 3.0)
UNITS = 128
FEW = 8
"""Units for an estimator that cannot hold UNITS; the mean over them has the same expected loss."""
SAMPLES = 64
RATE = 0.05
"""Learning rate of Adam at the start; it falls to 0 by half a cosine."""


def least_loss(power: float) -> float:
    """Least expected loss, c^p: no unit fires."""
    return C**power


def resting_probability(power: float) -> float:
    """Probability at which straight-through's expected gradient, p f'(1) + (1 - p) f'(0), is 0."""
    low, high = C ** (power - 1), (1 - C) ** (power - 1)
    return low / (low + high)


def expected_loss(probability: float, power: float) -> float:
    """Expected loss of a unit that fires with the given probability."""
    return float(probability * (1 - C) ** power + (1 - probability) * C**power)


def power_loss(power: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Loss mean |b - c|^p over the units: bits [n, units] to [n]; targets are ignored."""
    return lambda bits, _: (bits - C).abs().pow(power).mean(1)


class Units(nn.Module):
    """Stochastic units whose pre-activations are parameters; the output are their bits.

    Args:
        count: number of units.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.a, self.neuron = nn.Parameter(torch.zeros(count)), Stochastic(law=Logistic())

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.a.expand(len(x), len(self.a)))


def descend(
    estimator: Estimator, power: float, steps: int, units: int, seed: int = 0
) -> tuple[float, float]:
    """Expected loss and firing probability at the end of a descent by an estimator.

    Args:
        estimator: estimator, initialised here.
        power: p.
        steps: steps of Adam.
        units: number of units.
        seed: seed of the noise, and of the estimator's parameters.

    Returns:
        Expected loss at the mean firing probability of the last tenth of the steps, and that
        probability.

    Raises:
        ConfigError: for an estimator that cannot serve one layer of so many units.
    """
    model, inputs = Units(units), torch.zeros(SAMPLES, 1)
    init_estimator(estimator, model, inputs, seed)
    noise = generator_noise(torch.Generator().manual_seed(seed))
    optimizer = torch.optim.Adam([*model.parameters(), *estimator.parameters()], RATE)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    found = []
    for step in range(steps):
        optimizer.zero_grad()
        surrogate = estimator(model, inputs, inputs, power_loss(power), noise=noise)
        if surrogate.requires_grad:  # `frozen` has nothing to train here, and stays
            surrogate.backward()
        optimizer.step()
        rate.step()
        if step >= steps - max(1, steps // 10):
            found.append(float(torch.sigmoid(2 * model.a.detach()).mean()))
    p = sum(found) / len(found)
    return expected_loss(p, power), p
