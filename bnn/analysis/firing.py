"""A single unit: its firing probability and its pseudo-derivative over its input."""

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
"""Largest input, and number of inputs from -REACH to REACH."""


@dataclass(frozen=True)
class UnitResponse:
    """Output and pseudo-derivative of a unit over n inputs.

    Args:
        x: [n], inputs.
        p: [n], firing probability F(slope · x) of the noise law.
        bits: [n], bits of one draw.
        mean: [n], mean of the bits over draws.
        derivative: [n], pseudo-derivative db/dx of the estimator, averaged over draws.
    """

    x: Tensor
    p: Tensor
    bits: Tensor
    mean: Tensor
    derivative: Tensor


def unit_response(*overrides: str, slope: float = 1.0, draws: int, seed: int) -> UnitResponse:
    """Response of the unit of `python -m bnn.train OVERRIDES`, by its neuron and its estimator.

    Args:
        overrides: as on the command line.
        slope: slope of the neuron.
        draws: draws of the bits at each input.
        seed: of the draws.

    Raises:
        ConfigError: for an estimator without a pathwise derivative, or a neuron without bits.
    """
    config = compose(overrides)
    estimator = Estimator.registry.build(config.estimator)
    neuron = Neuron.registry.build(config.neuron)
    if not isinstance(estimator, OnePass) or not neuron.binary:
        raise ConfigError(
            "expected a binary neuron and an estimator that differentiates its bits (st, reinmax, "
            f"st_gumbel, concrete), got neuron={config.neuron.name} with "
            f"estimator={config.estimator.name}"
        )
    set_slope(neuron, slope)
    noise = generator_noise(torch.Generator().manual_seed(seed))
    inputs = torch.linspace(-REACH, REACH, POINTS, dtype=torch.float64)
    x = inputs.expand(draws, -1).clone().requires_grad_()
    with handling(estimator.handler(noise)):
        bits = neuron(x)
    (derivative,) = torch.autograd.grad(bits.sum(), x)
    bits = bits.detach()
    p = neuron.law.cdf(neuron.preactivation(inputs)).detach()
    return UnitResponse(inputs, p, bits[0], bits.mean(0), derivative.mean(0))


def annealed_unit_responses(
    *overrides: str, epochs: int, at_epochs: Sequence[int], draws: int, seed: int
) -> dict[str, UnitResponse]:
    """Responses of a unit along the slope schedule of `anneal=…`.

    Args:
        overrides: as on the command line.
        epochs: epochs of the schedule.
        at_epochs: epochs of the responses, counted from 1.
        draws: draws of the bits at each input.
        seed: of the draws.

    Returns:
        Epoch and slope, `epoch 2, slope 1.5` -> response.

    Raises:
        ConfigError: as `unit_response`.
    """
    schedule = SCHEDULES.build(compose(overrides).anneal)
    slopes = {epoch: schedule(epoch - 1, epochs) for epoch in at_epochs}
    return {
        f"epoch {epoch}, slope {slope:.3g}": unit_response(
            *overrides, slope=slope, draws=draws, seed=seed
        )
        for epoch, slope in slopes.items()
    }
