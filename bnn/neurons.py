"""Neurons: a noise law, a slope and a fire rule. No loss and no estimator is known here.

A binary neuron does not decide how its bits are drawn: it describes itself as a `Site` and asks the `draw` that its
network was called with. A `Draw` is the estimator's rule in training and an evaluation rule (`Site.fire`,
`Site.sample`, `Site.threshold`) otherwise: `model(images, Site.fire)`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.errors import ConfigError
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

    @cached_property
    def log_odds(self) -> Tensor:
        """ℓ = log p - log(1 - p), differentiable in a; infinite where the law lacks full support."""
        return self.law.log_odds(self.a)

    def rows(self, start: int, stop: int | None = None) -> Site:
        """The same layer for some of the samples."""
        return dataclasses.replace(self, a=self.a[start:stop])

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
        return F.logsigmoid((2 * bits - 1) * self.log_odds)

    def score(self, bits: Tensor) -> Tensor:
        """(b - p) ℓ per unit, b - p detached: d/da is that of `log_prob`, since d log q / dℓ = b - σ(ℓ). The value is not
        log q; where only the gradient is wanted it saves a logarithm a unit."""
        return (bits - self.p).detach() * self.log_odds


@dataclass(frozen=True)
class Noisy:
    """A layer of random units that are no bits, met in the middle of a forward pass: it is differentiable, so no estimator
    is asked, and the pass gives it noise alone."""

    a: Tensor
    """Pre-activation after the slope, [n, *units]."""
    output: Callable[[Tensor, Noise], Tensor]
    """Activations, given `a` and noise."""
    quiet: Callable[[Tensor], Tensor]
    """Activations without noise."""
    noise: Noise = torch.rand_like

    def fire(self) -> Tensor:
        """The units' own rule."""
        return self.output(self.a, self.noise)

    def threshold(self) -> Tensor:
        """What stands for the threshold of a binary layer: the same without noise."""
        return self.quiet(self.a)


Draw = Callable[[Any], Tensor]
"""The rule by which a binary layer, a `Site`, gets its bits; they may carry a pathwise gradient. An evaluation rule serves a
`Noisy` layer too."""


class Neuron(nn.Module, ABC):
    """An activation F(slope · x). `slope` is a buffer, so that a checkpoint evaluates at the slope it was trained to.

    `rescale_gradient` makes the backward pass ignore the slope's factor (the g/s variant): the gradient by x is the one
    by slope · x.
    """

    registry: ClassVar[Registry[Neuron]] = Registry("neuron.name")
    binary: ClassVar[bool] = False
    """Whether it fires bits, which an estimator has to train."""
    random: ClassVar[bool] = False
    """Whether its own rule draws."""
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

    binary = True
    rule: ClassVar[Callable[[Site], Tensor]]

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        return draw(Site(self.preactivation(x), self.law, type(self).rule))


@Neuron.registry.add("stochastic")
class Stochastic(Binary):
    """b = 1[u < F(slope · x)] (Bengio, Léonard & Courville 2013)."""

    rule = Site.sample
    random = True


@Neuron.registry.add("deterministic")
class Deterministic(Binary):
    """b = 1[x > 0]; the slope and the law shape its backward pass only."""

    rule = Site.threshold


@Neuron.registry.add("stochastic_smooth")
class StochasticSmooth(Neuron):
    """h = b √p with b ~ Bernoulli(√p), p = F(slope · x): E[h] = p (Bengio, Léonard & Courville 2013).

    No bit: it is 0 or √p, and the gradient passes through √p where it fired. Without noise: p.
    """

    random = True

    def __init__(self, *, law: NoiseLaw) -> None:
        super().__init__(law=law)

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        return draw(Noisy(self.preactivation(x), self._fire, self.law.cdf))

    def _fire(self, a: Tensor, noise: Noise) -> Tensor:
        # kept off 0, where the root has no derivative
        root = self.law.cdf(a).clamp(min=torch.finfo(a.dtype).tiny).sqrt()
        return (noise(root.detach()) < root).to(a.dtype) * root


NOISES = ("additive", "multiplicative")


@Neuron.registry.add("noisy_rectifier")
class NoisyRectifier(Neuron):
    """h = max(0, a + z), or max(0, a (1 + z)) with `noise=multiplicative`, a = slope · x, z of the noise law (Bengio,
    Léonard & Courville 2013). Trained by plain backpropagation; exactly 0 at random. Without noise: max(0, a).

    Errors: ConfigError for another noise.
    """

    random = True

    def __init__(self, *, law: NoiseLaw, noise: str) -> None:
        super().__init__(law=law)
        if noise not in NOISES:
            raise ConfigError(f"neuron.noise: expected one of {', '.join(NOISES)}; got {noise!r}")
        self.noise = noise

    def forward(self, x: Tensor, draw: Draw) -> Tensor:
        return draw(Noisy(self.preactivation(x), self._fire, torch.relu))

    def _fire(self, a: Tensor, noise: Noise) -> Tensor:
        z = self.law.quantile(noise(a.detach()))
        return torch.relu(a + z if self.noise == "additive" else a * (1 + z))


def set_slope(model: nn.Module, slope: float) -> None:
    """Give every neuron of `model` this slope but the real-valued ones, which keep theirs."""
    for module in model.modules():
        if isinstance(module, Neuron) and not isinstance(module, Real):
            module.slope.fill_(slope)
