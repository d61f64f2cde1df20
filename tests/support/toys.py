"""Small networks in float64 with a known exact gradient, and losses that are hard to estimate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.nn.neurons import Stochastic
from bnn.nn.noise import NoiseLaw


class Toy(nn.Module):
    """Network of linear layers with binary neurons, and a linear read-out of 2 scores.

    Args:
        widths: units of each binary layer.
        law: noise law of all neurons.
        neuron: class of all neurons.
        seed: seed of the weights.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        law: str = "logistic",
        neuron: type = Stochastic,
        seed: int = 0,
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        sizes = (3, *widths)
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, widths, strict=False))
        self.neurons = nn.ModuleList(neuron(law=NoiseLaw.registry.build(law)) for _ in widths)
        self.readout = nn.Linear(widths[-1], 2)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        """Scores [samples, 2] of inputs [samples, 3]."""
        for layer, neuron in zip(self.layers, self.neurons, strict=True):
            x = neuron(layer(x))
        return self.readout(x)


def tangled(scores: Tensor, targets: Tensor) -> Tensor:
    """Loss [samples] that is neither quadratic nor additive in the bits."""
    s, t = scores.unbind(1)
    return torch.exp(0.7 * s) * torch.sin(2 * t + targets) + 0.3 * s**3 * t


def product(scores: Tensor, targets: Tensor) -> Tensor:
    """Loss [samples] that is multilinear in the scores: their product and one of them."""
    return scores[:, 0] * scores[:, 1] * targets + 2 * scores[:, 1]


def quadratic(scores: Tensor, targets: Tensor) -> Tensor:
    """Loss [samples] that is quadratic in the scores, hence in the bits below a linear read-out.

    It has products of different bits.
    """
    s, t = scores.unbind(1)
    return s**2 - 0.7 * s * t + 1.3 * t**2 * targets + s


def batch(samples: int = 1) -> tuple[Tensor, Tensor]:
    """Inputs [samples, 3] and targets [samples] of a fixed seed."""
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    return inputs, torch.linspace(0.5, 1.5, samples, dtype=torch.float64)
