"""Small networks, losses and a batch, on which the claims of estimators are measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.nn.handlers import sample
from bnn.nn.layers import binary_layers
from bnn.nn.neurons import Stochastic
from bnn.nn.noise import Logistic
from bnn.nn.sites import Latents, Site


class SharedBits(nn.Module):
    """Linear layer without bias whose weights are bits, w ~ Bernoulli(σ(2η)), one draw a batch.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
    """

    binary = True

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.randn(outputs, inputs) / 2)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, outputs] of inputs [n, inputs]; n holds as many replicas as the weights."""
        weights = sample(Site(self.latent, Logistic(), Site.sample, shared=True, module=self))
        if len(weights) == 1:
            return F.linear(x, weights[0])
        return torch.bmm(x.unflatten(0, (len(weights), -1)), weights.transpose(1, 2)).flatten(0, 1)


class Residual(nn.Module):
    """Two binary layers and a path around both; 3 inputs, 2 outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper, self.readout = nn.Linear(3, 2), nn.Linear(2, 2), nn.Linear(5, 2)
        self.first, self.second = Stochastic(), Stochastic()

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, 2] of inputs [n, 3]."""
        low = self.first(self.lower(x))
        high = self.second(self.upper(low)) + 0.5 * low
        output: Tensor = self.readout(torch.cat([high, x], 1))
        return output


class Gated(nn.Module):
    """Binary gate beside the units that it gates; 3 inputs, 2 outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gater, self.gated, self.readout = nn.Linear(3, 2), nn.Linear(3, 2), nn.Linear(2, 2)
        self.gate = Stochastic()

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, 2] of inputs [n, 3]."""
        output: Tensor = self.readout(self.gate(self.gater(x)) * torch.tanh(self.gated(x)))
        return output


def _sequential(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for below, above in itertools.pairwise((3, *widths)):
        layers += [nn.Linear(below, above), Stochastic()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2))


def _convolution() -> nn.Sequential:
    first = [nn.Unflatten(1, (1, 3)), nn.Conv1d(1, 1, 2, padding=1), Stochastic(), nn.MaxPool1d(2)]
    return nn.Sequential(*first, nn.Conv1d(1, 2, 2), Stochastic(), nn.Flatten(), nn.Linear(2, 2))


NETWORKS: Mapping[str, Callable[[], nn.Module]] = {
    "one layer": lambda: _sequential(3),
    "two layers": lambda: _sequential(2, 2),
    "three layers": lambda: _sequential(2, 1, 1),
    "convolution": _convolution,
    "residual": Residual,
    "gated": Gated,
    "shared weights": lambda: nn.Sequential(
        SharedBits(3, 1), nn.Linear(1, 2), Stochastic(), nn.Linear(2, 2)
    ),
}
"""Networks of 3 inputs and 2 outputs, by name: chains, a convolution with pooling between binary
layers, paths around binary layers, and weights that the batch shares."""


def network(name: str, seed: int = 0) -> nn.Module:
    """One of NETWORKS in float64, initialised from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return NETWORKS[name]().double()


def shares_bits(model: nn.Module) -> bool:
    """Whether the batch shares any binary variables of a network of 3 inputs."""
    return any(site.shared for site in binary_layers(model, batch(2)[0]).sites)


def batch(samples: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs [samples, 3] and targets [samples] in float64."""
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.linspace(0.5, 1.5, samples, dtype=torch.float64)


def tangled(output: Tensor, targets: Tensor) -> Tensor:
    """Loss that is neither quadratic nor additive in the bits.

    Args:
        output: [n, 2].
        targets: [n].

    Returns:
        [n].
    """
    s, t = output.unbind(1)
    loss: Tensor = torch.exp(0.7 * s) * torch.sin(2 * t + targets) + 0.3 * s**3 * t
    return loss


def tangled_with_latents(output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
    """Loss `tangled` with terms of the bits and probabilities themselves, as in evidence bounds.

    Args:
        output: [n, 2].
        targets: [n].
        latents: the binary layers, [n, *units].

    Returns:
        [n].
    """
    loss = tangled(output, targets)
    for site, bits in latents:
        b, p = bits.flatten(1), site.probs.flatten(1)
        loss = loss + 0.5 * torch.sin(b.sum(1) + targets) * p.sum(1) + (b * p).mean(1)
    return loss
