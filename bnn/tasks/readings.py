"""Outputs of a network under several draws of its random units, and the noise that they are drawn with."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, nn

from bnn.nn.handlers import SiteHandler, apply
from bnn.nn.sites import Noise, RandomUnits, Site
from bnn.seeds import stream

BATCH = 500
"""Samples of a split that are evaluated at once."""


def generator_noise(generator: torch.Generator) -> Noise:
    """Uniform numbers from one generator, in the memory layout of the tensor that they are compared with."""
    return lambda like: torch.empty_like(like).uniform_(generator=generator)


def seeded_noise(seed: int, device: torch.device) -> Noise:
    """Uniform numbers that start anew from `seed` on `device`."""
    return generator_noise(torch.Generator(device).manual_seed(stream(seed, "evaluation")))


@torch.no_grad()
def outputs(
    model: nn.Module, inputs: Tensor, reading: SiteHandler, draws: int = 1, chain: bool = True
) -> Tensor:
    """Outputs of `model` under several draws of its random units.

    Args:
        model: the network.
        inputs: [n, …].
        reading: site handler.
        draws: number of draws.
        chain: whether no path leads around a random layer; layers below the first one are then computed once.

    Returns:
        [draws, n, …].
    """
    if not chain:
        return torch.stack([apply(model, inputs, reading) for _ in range(draws)])
    return apply(model, inputs, _branched(reading, draws)).unflatten(0, (-1, len(inputs)))


def _branched(reading: SiteHandler, draws: int) -> SiteHandler:
    """`reading` for one forward pass in which the batch branches into `draws` replicas at the first random layer."""
    first = True

    def handle(layer: Site | RandomUnits) -> Tensor:
        nonlocal first
        if first and draws > 1:
            layer = dataclasses.replace(
                layer, preactivation=torch.cat([layer.preactivation] * draws)
            )
        first = False
        return reading(layer)

    return handle
