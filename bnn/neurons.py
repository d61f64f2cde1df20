"""Neurons: a noise law, a slope and a fire rule. No loss and no estimator is known here.

A binary neuron does not decide how its bits are drawn: it describes itself as a `Site` and asks the `draw` that its
network was called with. A `Draw` is the estimator's rule in training and an evaluation rule (`Site.fire`,
`Site.sample`, `Site.threshold`) otherwise: `model(images, Site.fire)`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.noise import NoiseLaw
from bnn.registry import Registry

Noise = Callable[[Tensor], Tensor]
"""`like -> u`: independent U[0, 1) of the shape, type and device of `like`."""


@dataclass(frozen=True)
class Site:
    """One binary layer, met in the middle of a forward pass."""

    a: Tensor
    """Pre-activation after the slope, [n, *units]."""
    law: NoiseLaw
    rule: Callable[[Site], Tensor]
    """The neuron's own fire rule."""
    noise: Noise = torch.rand_like
    index: int = 0
    """Position among the binary layers of the pass, from the input."""

    @cached_property
    def p(self) -> Tensor:
        """Firing probability F(a), differentiable in a."""
        return self.law.cdf(self.a)

    def sample(self) -> Tensor:
        """b = 1[u < p], u ~ U[0, 1): the stochastic rule, so E[b] = p. No gradient."""
        return (self.noise(self.p.detach()) < self.p).to(self.a.dtype)

    def threshold(self) -> Tensor:
        """b = 1[p > 1/2] = 1[a > 0], the deterministic rule; a tie gives 0. No gradient."""
        return (self.a > 0).to(self.a.dtype)

    def fire(self) -> Tensor:
        """Bits by the neuron's own rule. No gradient."""
        return self.rule(self)

    def log_prob(self, bits: Tensor) -> Tensor:
        """log q(b | a) = log σ((2b - 1) ℓ) per unit, from the log-odds ℓ; d/da = (b - p) F'(a) / (p (1 - p))."""
        return F.logsigmoid((2 * bits - 1) * self.law.log_odds(self.a))

    def score(self, bits: Tensor) -> Tensor:
        """(b - p) ℓ per unit, b - p detached: d/da is that of `log_prob`, since d log q / dℓ = b - σ(ℓ). The value is not
        log q; where only the gradient is wanted it saves a logarithm a unit."""
        return (bits - self.p).detach() * self.law.log_odds(self.a)


Draw = Callable[[Site], Tensor]
"""The rule by which a binary layer gets its bits; they may carry a pathwise gradient."""


class Neuron(nn.Module, ABC):
    """An activation F(slope · x). `slope` is a buffer, so that a checkpoint evaluates at the slope it was trained to.

    `rescale_gradient` makes the backward pass ignore the slope's factor (the g/s variant): the gradient by x is the one
    by slope · x.
    """

    registry: ClassVar[Registry[Neuron]] = Registry("neuron.name")
    slope: Tensor

    def __init__(self, *, law: NoiseLaw, rescale_gradient: bool = False) -> None:
        super().__init__()
        self.law = law
        self.rescale_gradient = rescale_gradient
        self.register_buffer("slope", torch.ones(()))

    def preactivation(self, x: Tensor) -> Tensor:
        """a = slope · x in float32 or wider (under autocast too: bfloat16 has 8 bits for a probability)."""
        x = x if x.dtype == torch.float64 else x.float()
        if self.rescale_gradient:
            return x + ((self.slope - 1) * x).detach()
        return self.slope * x

    @abstractmethod
    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        """Activations of the shape of `x`."""


class Real(Neuron):
    """The real-valued control: the mean of the noise law, F(slope · x), and no site."""

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        return self.law.cdf(self.preactivation(x))


class Binary(Neuron):
    """A unit that fires bits."""

    rule: ClassVar[Callable[[Site], Tensor]]

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        return draw(Site(self.preactivation(x), self.law, type(self).rule))


@Neuron.registry.add("stochastic")
class Stochastic(Binary):
    """b = 1[u < F(slope · x)] (Bengio, Léonard & Courville 2013)."""

    rule = Site.sample


@Neuron.registry.add("deterministic")
class Deterministic(Binary):
    """b = 1[x > 0]; the slope and the law shape its backward pass only."""

    rule = Site.threshold


def set_slope(model: nn.Module, slope: float) -> None:
    """Give every binary neuron of `model` this slope; the real-valued ones keep theirs."""
    for module in model.modules():
        if isinstance(module, Binary):
            module.slope.fill_(slope)
