"""Readings: how the random units of a network are evaluated.

`sampled` is one draw of each unit by its own rule, `mc_mean` several of them, over which a task
averages its predictions, and `threshold` the more probable bit. A reading without a seed has no
noise.

    reading = Reading.mc_mean(draws=8, seed=0)
    outputs = reading.outputs(net, images)  # [8, n, classes]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn import schema
from bnn.nn.handlers import SiteHandler, apply, evaluating, sampled, threshold
from bnn.nn.layers import binary_layers
from bnn.nn.neurons import is_stochastic
from bnn.nn.replicas import split
from bnn.nn.sites import Latent, Latents, Noise, RandomUnits, Site, generator_noise
from bnn.seeds import stream

BATCH = 500
"""Number of rows, samples times draws, that are evaluated at once."""


@dataclass(frozen=True)
class Reading:
    """Reading of a network's random units in evaluation.

    Args:
        name: name under which its metrics are logged (`bnn.schema`).
        seed: seed of the noise; None: no noise.
        draws: number of draws of the random units.
    """

    name: str
    seed: int | None
    draws: int = 1

    @classmethod
    def sampled(cls, seed: int) -> Reading:
        """Reading by each neuron's own rule: stochastic units drawn once, others thresholded."""
        return cls(schema.SAMPLED, seed)

    @classmethod
    def mc_mean(cls, draws: int, seed: int) -> Reading:
        """Reading by several draws, over which predictions are averaged."""
        return cls(schema.MC_MEAN, seed, draws)

    @classmethod
    def threshold(cls) -> Reading:
        """Reading without noise: the more probable bit."""
        return cls(schema.THRESHOLD, None)

    def handler(self, device: torch.device) -> SiteHandler:
        """Site handler of this reading, whose noise starts anew from the seed.

        Args:
            device: device of the network.
        """
        return threshold if self.seed is None else seeded_handler(self.seed, device)

    def outputs(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Outputs of a network, whose noise starts anew from the seed.

        Args:
            model: the network.
            inputs: [n, …].

        Returns:
            [draws, n, …].
        """
        return outputs(model, inputs, self.handler(inputs.device), self.draws)


def readings(model: nn.Module, draws: int, seed: int) -> tuple[Reading, ...]:
    """Readings that differ for a network: `sampled`, and of random units the two others too.

    Args:
        model: the network.
        draws: draws of `mc_mean`.
        seed: seed of the noise.
    """
    own = Reading.sampled(seed)
    if not is_stochastic(model):
        return (own,)
    return (own, Reading.mc_mean(draws, seed), Reading.threshold())


def seeded_noise(seed: int, device: torch.device, purpose: str = "evaluation") -> Noise:
    """Source of noise for evaluation, which starts anew from a seed.

    Args:
        seed: seed of the run.
        device: device of the network.
        purpose: purpose of the stream; those of different purposes are independent.
    """
    return generator_noise(torch.Generator(device).manual_seed(stream(seed, purpose)))


def seeded_handler(seed: int, device: torch.device) -> SiteHandler:
    """Site handler by each neuron's own rule, whose noise starts anew from a seed.

    Args:
        seed: seed of the run.
        device: device of the network.
    """
    return sampled(seeded_noise(seed, device))


def outputs(
    model: nn.Module,
    inputs: Tensor,
    handler: SiteHandler,
    draws: int = 1,
    chain: bool | None = None,
) -> Tensor:
    """Outputs of a network in evaluation mode, [draws, n, …]; see `evaluated`."""
    return evaluated(model, inputs, handler, draws, chain)[0]


@torch.no_grad()
def evaluated(
    model: nn.Module,
    inputs: Tensor,
    handler: SiteHandler,
    draws: int = 1,
    chain: bool | None = None,
) -> tuple[Tensor, Latents]:
    """Outputs and bits of a network in evaluation mode under several draws of its random units.

    Args:
        model: the network.
        inputs: [n, …].
        handler: site handler, whose noise goes on from call to call.
        draws: number of draws.
        chain: whether no path leads around a random layer; layers below the first one are then
            computed once. None: it is found out by passes on these inputs.

    Returns:
        Outputs, [draws, n, …], and the binary layers with their bits, [draws · n, *units].
    """
    with evaluating(model):
        if chain is None:
            chain = draws == 1 or binary_layers(model, inputs).chain
        if chain:
            met: list[Latent] = []
            flat = apply(model, inputs, _branched(_recorded(handler, met), draws))
            return split(flat, len(flat) // len(inputs)), latents_of(met)
        passes, layers = [], []
        for _ in range(draws):
            met = []
            passes.append(apply(model, inputs, _recorded(handler, met)))
            layers.append(met)
        return torch.stack(passes), joined_latents(layers)


def latents_of(layers: Sequence[Latent]) -> Latents:
    """Sequence of binary layers as a loss and a score receive it."""
    return Latents(len(layers), layers.__getitem__)


def joined_latents(passes: Sequence[Sequence[Latent]]) -> Latents:
    """Binary layers of several passes, row after row.

    Args:
        passes: for each pass its binary layers, [n, *units].

    Returns:
        [passes · n, *units].
    """

    def layer(index: int) -> Latent:
        found = [one[index] for one in passes]
        preactivation = torch.cat([one.site.preactivation for one in found])
        site = dataclasses.replace(found[0].site, preactivation=preactivation, branched=None)
        return Latent(site, torch.cat([one.bits for one in found]))

    return Latents(len(passes[0]) if passes else 0, layer)


def _recorded(handler: SiteHandler, met: list[Latent]) -> SiteHandler:
    """Site handler that adds the binary layers it meets, with their bits, to a list."""

    def handle(layer: Site | RandomUnits) -> Tensor:
        activations = handler(layer)
        if isinstance(layer, Site):
            met.append(Latent(layer, activations))
        return activations

    return handle


def _branched(handler: SiteHandler, draws: int) -> SiteHandler:
    """Site handler of one pass whose batch branches into `draws` replicas at the first layer."""
    first = True

    def handle(layer: Site | RandomUnits) -> Tensor:
        nonlocal first
        if first and draws > 1:
            repeated = torch.cat([layer.preactivation] * draws)
            layer = dataclasses.replace(layer, preactivation=repeated)
        first = False
        return handler(layer)

    return handle
