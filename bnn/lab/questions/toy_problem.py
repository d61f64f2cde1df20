"""Toy problem of REBAR and RELAX: minimise E[(b - t)²] over θ, b ~ Bernoulli(σ(θ)).

At p = ½ and t = 0.499 the true gradient, p (1 - p) (1 - 2t), is 0.4 % of the standard deviation of
plain REINFORCE. The best unit never fires; its loss is t².
"""

from __future__ import annotations

import copy
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from bnn.estimators import Estimator
from bnn.lab.estimate import Estimate
from bnn.nn.neurons import Stochastic
from bnn.nn.noise import Logistic
from bnn.nn.sites import Noise, generator_noise
from bnn.training.initialisation import init_estimator

TARGETS = (0.45, 0.499)
"""Targets t of Tucker et al. 2017 and of Grathwohl et al. 2018."""
SAMPLES = (1, 16)
"""Samples a step: 1 as in the papers, and a small batch."""
RATE = 0.01
"""Learning rate of Adam for θ, as in the papers."""
LEARNED_RATE = 0.01
"""Learning rate of Adam for an estimator's parameters, as in the papers."""
MEASUREMENTS = 8
"""Steps, about equally spaced by their logarithm, at which the variance is measured."""


def least_loss(t: float) -> float:
    """Least expected loss, t²: the unit never fires."""
    return t**2


def expected_loss(p: float, t: float) -> float:
    """Expected loss of a unit that fires with probability p."""
    return p * (1 - t) ** 2 + (1 - p) * t**2


def exact_gradient(p: float, t: float) -> float:
    """Gradient d E[(b - t)²] / dθ at p = σ(θ)."""
    return p * (1 - p) * (1 - 2 * t)


def reinforce_variance(p: float, t: float) -> float:
    """Variance of (b - t)² (b - p), the estimate of plain REINFORCE with one sample.

    p (1 - p) [(1 - p) (1 - t)² + p t²]².
    """
    return p * (1 - p) * ((1 - p) * (1 - t) ** 2 + p * t**2) ** 2


def squared_error(t: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Loss (b - t)²: bits [n, 1] to [n]; targets are ignored."""
    return lambda bits, _: (bits - t).square().mean(1)


def measured_steps(steps: int) -> list[int]:
    """Steps at which the variance is measured, from 1 to `steps`."""
    return sorted({round(steps ** (k / (MEASUREMENTS - 1))) for k in range(MEASUREMENTS)})


class Unit(nn.Module):
    """Unit that fires with probability σ(θ); its output are the bits.

    Only the number of rows is used of the input. `theta` has one number, or one for each of several
    batches of as many rows.

    Args:
        p: firing probability at the start.
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.full((1,), math.log(p / (1 - p))))
        self.neuron = Stochastic(law=Logistic())

    def forward(self, x: Tensor) -> Tensor:
        rows = self.theta.repeat_interleave(len(x) // len(self.theta))
        return self.neuron(rows[:, None] / 2)  # the logistic law is σ(2a)


@dataclass
class Descent:
    """Record of one unit's descent by one estimator.

    Args:
        variances: (step, variance of one step's estimate, its standard error).
        loss: expected loss, averaged over the last tenth of the steps.
    """

    variances: list[tuple[int, float, float]] = field(default_factory=list)
    loss: float = math.nan


def estimates(
    estimator: Estimator, unit: Unit, t: float, samples: int, draws: int, noise: Noise
) -> Tensor:
    """Independent estimates of d E / dθ, each of a batch; estimator and unit stay as they are.

    All are drawn in one pass, in which each batch has its own θ. Where the samples of an estimator
    are independent given its state, these are the estimates that it would return one by one.

    Args:
        estimator: initialised estimator.
        unit: the unit.
        t: target.
        samples: samples of a batch.
        draws: number of batches.
        noise: source of uniform numbers.

    Returns:
        [draws].
    """
    estimator, unit = copy.deepcopy((estimator, unit))
    unit.theta = nn.Parameter(unit.theta.detach().expand(draws).clone())
    rows = torch.zeros(draws * samples, 1)
    surrogate = estimator(unit, rows, rows, squared_error(t), noise=noise)
    if not surrogate.requires_grad:  # `frozen` has nothing to train here
        return torch.zeros(draws)
    (found,) = torch.autograd.grad(surrogate, unit.theta)
    return (found * draws).detach()


def variance(values: Tensor) -> tuple[float, float]:
    """Variance of independent numbers [n], and its standard error."""
    squares = (values.double() - values.double().mean()).square()
    return float(values.double().var()), float(squares.std()) / math.sqrt(len(values))


def descend(
    estimator: Estimator, t: float, samples: int, steps: int, *, draws: int, seed: int = 0
) -> Descent:
    """Descent of one unit from p = ½ by the estimates of an estimator, which learns on the way.

    Args:
        estimator: estimator, initialised here.
        t: target.
        samples: samples a step.
        steps: steps of Adam.
        draws: estimates behind each variance.
        seed: seed of the estimator's parameters, and of the noise.

    Raises:
        ConfigError: for an estimator that cannot serve one unit.
    """
    unit, rows = Unit(), torch.zeros(samples, 1)
    init_estimator(estimator, unit, rows, seed)
    noise, apart = (generator_noise(torch.Generator().manual_seed(one)) for one in (seed, seed + 1))
    groups: list[dict[str, Any]] = [{"params": [unit.theta]}]
    if learned := list(estimator.parameters()):
        groups.append({"params": learned, "lr": LEARNED_RATE})
    optimizer = torch.optim.Adam(groups, RATE)
    found, losses, measured = Descent(), [], set(measured_steps(steps))
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        surrogate = estimator(unit, rows, rows, squared_error(t), noise=noise)
        if surrogate.requires_grad:
            surrogate.backward()
        optimizer.step()
        if step in measured:
            values = estimates(estimator, unit, t, samples, draws, apart)
            found.variances.append((step, *variance(values)))
        if in_last_tenth(step, steps):
            losses.append(expected_loss(float(torch.sigmoid(unit.theta.detach())), t))
    found.loss = sum(losses) / len(losses)
    return found


def in_last_tenth(step: int, steps: int) -> bool:
    """Whether a step, counted from 1, is among the last tenth of `steps`, or the last one."""
    return step > steps - max(1, steps // 10)


def over_seeds(descents: Sequence[Descent]) -> tuple[list[tuple[int, Estimate]], float]:
    """Median variance by step, between the least and the largest of any seed; median loss."""
    found = []
    for points in zip(*(one.variances for one in descents), strict=True):
        values = [value for _, value, _ in points]
        median = Estimate(statistics.median(values), min(values), max(values))
        found.append((points[0][0], median))
    return found, statistics.median(one.loss for one in descents)
