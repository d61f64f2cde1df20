"""Slopes of an expected loss along directions, and projections of gradient estimates on them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bnn.estimators import Estimator
from bnn.lab.estimate import Estimate
from bnn.lab.gradient_sampler import GradientSampler
from bnn.lab.intervals import estimate_of_mean
from bnn.nn.sites import Site

STEP = 0.02
"""Step of the central difference along a direction of unit length."""

Direction = dict[str, Tensor]
"""Vector of unit length in the space of the parameters, by parameter."""


def directions(sampler: GradientSampler, count: int) -> dict[str, Direction]:
    """Directions below the highest binary layer: mean straight-through gradient, and random ones.

    In a random direction each parameter has the norm of its straight-through gradient.

    Args:
        sampler: network and batch.
        count: number of directions.

    Returns:
        Directions by name.
    """
    st = Estimator.registry.build({"name": "st", "pseudo_derivative": "density"})
    sampler.init(st)
    mean = sampler.mean(st, 20)
    generator = torch.Generator().manual_seed(0)
    found = {"straight-through": mean}
    for k in range(count - 1):
        found[f"random {k + 1}"] = {
            name: torch.randn(g.shape, generator=generator).to(g) * g.norm() / math.sqrt(g.numel())
            for name, g in mean.items()
        }
    for direction in found.values():
        for name in set(direction) - set(sampler.below):
            direction[name] = torch.zeros_like(direction[name])
        size = math.sqrt(sum(float(g.square().sum()) for g in direction.values()))
        for g in direction.values():
            g /= size
    return found


@torch.no_grad()
def slope_along(sampler: GradientSampler, direction: Direction, pairs: int) -> Estimate:
    """Slope d E[loss] / dε along a direction, from central differences with common noise.

    Args:
        sampler: network and batch.
        direction: vector of unit length.
        pairs: number of differences.
    """
    found = []
    for pair in range(pairs):
        losses = []
        for sign in (1, -1):
            _move(sampler, direction, sign * STEP)
            sampler.reseed(pair)
            losses.append(float(sampler.forward()(Site.sample).loss.mean()))
            _move(sampler, direction, -sign * STEP)
        found.append((losses[0] - losses[1]) / (2 * STEP))
    return estimate_of_mean(torch.tensor(found, dtype=torch.float64))


def _move(sampler: GradientSampler, direction: Direction, step: float) -> None:
    for name, parameter in sampler.parameters.items():
        parameter.add_(direction[name], alpha=step)


def projections(
    sampler: GradientSampler, estimator: Estimator, along: dict[str, Direction], draws: int
) -> dict[str, Estimate]:
    """Mean projection of an estimator's estimates on each direction.

    Args:
        sampler: network and batch.
        estimator: estimator, of which an initialised copy is used.
        along: directions by name.
        draws: number of estimates.
    """
    ready = sampler.warm_up(estimator, 0)
    drawn = []
    for _ in range(draws):
        gradient = sampler.gradient(ready)
        drawn.append(
            [sum(float((gradient[n] * g).sum()) for n, g in d.items()) for d in along.values()]
        )
    values = torch.tensor(drawn, dtype=torch.float64)
    return {name: estimate_of_mean(column) for name, column in zip(along, values.T, strict=True)}
