"""One unit, from its input to its output: how often it fires, and the derivative that stands in for that of its step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.estimators.straight_through import OnePass
from bnn.nn.handlers import handling
from bnn.nn.neurons import Neuron, set_slope
from bnn.nn.sites import generator_noise
from bnn.training.schedules import SCHEDULES

REACH, POINTS = 4.0, 201
"""Inputs from -REACH to REACH, and how many."""


@dataclass(frozen=True)
class Unit:
    """Over inputs x [n]: the probability p = F(slope · x) of the law, the bits of one draw, their mean over draws, and the
    derivative d b / d x that the estimator pretends, all [n]."""

    x: Tensor
    p: Tensor
    bits: Tensor
    mean: Tensor
    derivative: Tensor


def unit(*overrides: str, slope: float = 1.0, draws: int, seed: int) -> Unit:
    """The unit of `python -m bnn.train OVERRIDES` at a slope, by the very neuron and estimator that train.

    Errors: ConfigError for an estimator without a pathwise derivative, or a neuron that fires no bits.
    """
    config = compose(overrides)
    estimator, neuron = (
        Estimator.registry.build(config.estimator),
        Neuron.registry.build(config.neuron),
    )
    if not isinstance(estimator, OnePass) or not neuron.binary:
        raise ConfigError(
            "expected a binary neuron and an estimator that differentiates its bits (st, reinmax, st_gumbel, concrete), got "
            f"neuron={config.neuron.name} with estimator={config.estimator.name}"
        )
    set_slope(neuron, slope)
    noise = generator_noise(torch.Generator().manual_seed(seed))
    x = (
        torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
        .expand(draws, -1)
        .clone()
        .requires_grad_()
    )
    with handling(estimator.handler(noise)):
        bits = neuron(x)
    (derivative,) = torch.autograd.grad(bits.sum(), x)
    bits, inputs = bits.detach(), x.detach()[0]
    p = neuron.law.cdf(neuron.preactivation(inputs)).detach()
    return Unit(inputs, p, bits[0], bits.mean(0), derivative.mean(0))


def annealed(
    *overrides: str, epochs: int, shown: Sequence[int], draws: int, seed: int
) -> dict[str, Unit]:
    """The unit along the slope schedule of `anneal=…`, in the epochs `shown` (counted from 1) of so many."""
    schedule = SCHEDULES.build(compose(overrides).anneal)
    slopes = {epoch: schedule(epoch - 1, epochs) for epoch in shown}
    return {
        f"epoch {epoch}, slope {slope:.3g}": unit(*overrides, slope=slope, draws=draws, seed=seed)
        for epoch, slope in slopes.items()
    }
