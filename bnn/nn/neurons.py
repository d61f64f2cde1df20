"""Neurons: a noise law, a slope and a fire rule, as activation modules for any network.

A binary neuron does not decide how its bits are drawn: it describes its layer as a `Site` and asks
the handler in force (`bnn.nn.handlers`). Prefer `Stochastic`; `Deterministic` is the hard
threshold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.nn.handlers import sample
from bnn.nn.memory_layout import laid_out_gradient
from bnn.nn.noise import NoiseLaw
from bnn.nn.sites import Noise, RandomUnits, Site
from bnn.registry import Registry


class Neuron(nn.Module, ABC):
    """Activation of slope · x under a noise law; [n, *units] to the same shape.

    The slope is a buffer, so that a checkpoint evaluates at the slope it was trained to.

    Args:
        law: noise law F, or its name.
        rescale_gradient: whether the backward pass ignores the slope's factor (the g/s variant):
            the gradient by x is the one by slope · x.
    """

    registry: ClassVar[Registry[Neuron]] = Registry("neuron.name")
    binary: ClassVar[bool] = False
    """Whether it fires bits, which an estimator has to train."""
    random: ClassVar[bool] = False
    """Whether its own rule draws."""
    reparameterised: ClassVar[bool] = True
    """Of random units that are no bits: whether they are a differentiable function of a and of
    independent noise."""
    slope: Tensor

    def __init__(self, *, law: NoiseLaw | str = "logistic", rescale_gradient: bool = False) -> None:
        super().__init__()
        self.law = NoiseLaw.registry[law]() if isinstance(law, str) else law
        self.rescale_gradient = rescale_gradient
        self.register_buffer("slope", torch.ones(()))

    def preactivation(self, x: Tensor) -> Tensor:
        """Pre-activation a = slope · x, in float32 or wider.

        Under autocast too: bfloat16 has 8 bits for a probability.

        Args:
            x: [n, *units].

        Returns:
            [n, *units].
        """
        x = laid_out_gradient(x if x.dtype == torch.float64 else x.float())
        if self.rescale_gradient:
            return x + ((self.slope - 1) * x).detach()
        return self.slope * x

    @abstractmethod
    def forward(self, x: Float[Tensor, "n *units"]) -> Float[Tensor, "m *units"]:
        """Activations of the layer.

        Args:
            x: [n, *units].

        Returns:
            [m, *units]; m is n, or more where an estimator's replicas branch at this layer.
        """


class Real(Neuron):
    """Real-valued control: the firing probability F(slope · x) in place of a bit."""

    def forward(self, x: Float[Tensor, "n *units"]) -> Float[Tensor, "m *units"]:
        return self.law.cdf(self.preactivation(x))


class Binary(Neuron):
    """Unit that fires bits, 0 or 1."""

    binary = True
    rule: ClassVar[Callable[[Site], Tensor]]

    def forward(self, x: Float[Tensor, "n *units"]) -> Float[Tensor, "m *units"]:
        return sample(Site(self.preactivation(x), self.law, type(self).rule, module=self))


@Neuron.registry.add("stochastic")
class Stochastic(Binary):
    """Stochastic binary unit, b = 1[u < F(slope · x)], u ~ U[0, 1) (Bengio et al. 2013).

    Args:
        law: noise law F, or its name.
        rescale_gradient: whether the backward pass ignores the slope's factor.
    """

    rule = Site.sample
    random = True


@Neuron.registry.add("deterministic")
class Deterministic(Binary):
    """Deterministic binary unit, b = 1[x > 0]; slope and law shape its pseudo-derivative.

    Estimators with `samples_in_training` draw it by the law in training.

    Args:
        law: noise law F, or its name.
        rescale_gradient: whether the backward pass ignores the slope's factor.
    """

    rule = Site.threshold


@Neuron.registry.add("stochastic_smooth")
class StochasticSmooth(Neuron):
    """Stochastic times smooth unit, h = b √p, b ~ Bernoulli(√p), p = F(slope · x).

    E[h] = p. No bit: h is 0 or √p, and the gradient passes through √p where it fired. Without
    noise: p (Bengio, Léonard & Courville 2013).

    Args:
        law: noise law F, or its name.
    """

    random = True
    reparameterised = False

    def __init__(self, *, law: NoiseLaw | str = "logistic") -> None:
        super().__init__(law=law)

    def forward(self, x: Float[Tensor, "n *units"]) -> Float[Tensor, "m *units"]:
        return sample(RandomUnits(self.preactivation(x), self._fire, self.law.cdf))

    def _fire(self, a: Tensor, noise: Noise) -> Tensor:
        # kept off 0, where the root has no derivative
        root = self.law.cdf(a).clamp(min=torch.finfo(a.dtype).tiny).sqrt()
        return (noise(root.detach()) < root).to(a.dtype) * root


NOISES = ("additive", "multiplicative")


@Neuron.registry.add("noisy_rectifier")
class NoisyRectifier(Neuron):
    """Noisy rectifier, h = max(0, a + z) or max(0, a (1 + z)), a = slope · x.

    Trained by plain backpropagation; exactly 0 at random. Without noise: max(0, a) (Bengio,
    Léonard & Courville 2013).

    Args:
        law: law of the noise z, or its name.
        noise: `additive` or `multiplicative`.

    Raises:
        ConfigError: for another noise.
    """

    random = True

    def __init__(self, *, law: NoiseLaw | str = "logistic", noise: str = "additive") -> None:
        super().__init__(law=law)
        if noise not in NOISES:
            raise ConfigError(f"neuron.noise: expected one of {', '.join(NOISES)}; got {noise!r}")
        self.noise = noise

    def forward(self, x: Float[Tensor, "n *units"]) -> Float[Tensor, "m *units"]:
        return sample(RandomUnits(self.preactivation(x), self._fire, torch.relu))

    def _fire(self, a: Tensor, noise: Noise) -> Tensor:
        z = self.law.quantile(noise(a.detach()))
        return torch.relu(a + z if self.noise == "additive" else a * (1 + z))


def is_stochastic(model: nn.Module) -> bool:
    """Whether any unit of `model` is random by its own rule."""
    return any(isinstance(module, Neuron) and module.random for module in model.modules())


def set_slope(model: nn.Module, slope: float) -> None:
    """Set the slope of every neuron but the real-valued ones, which keep theirs.

    Args:
        model: network; its buffers are changed in place.
        slope: factor of the pre-activations.
    """
    for module in model.modules():
        if isinstance(module, Neuron) and not isinstance(module, Real):
            module.slope.fill_(slope)
