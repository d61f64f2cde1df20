"""Binary weights w in {-1, 1} behind real latent weights η, and the rules that train them.

P(w = 1) = F(η) for a noise law F, and E[w] = μ = 2F(η) - 1; under the logistic law η is half the
log-odds of the weight, and μ = tanh η. A layer reads its weights as `sign` (w = sign η), `sampled`
(one draw for the whole batch) or `lrt` (the Gaussian of the pre-activation, drawn for each sample).
A rule says which of them training uses; in evaluation it is `sign`, unless another reading is in
force. Prefer `SignWeights`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.nn.bop import Bop
from bnn.nn.gradients import replace_gradient
from bnn.nn.handlers import replication
from bnn.nn.noise import NoiseLaw
from bnn.nn.sites import Noise, Site
from bnn.nn.weight_draws import LRT, SAMPLED, SIGN, BinaryLayer, WeightDraws, weight_draws
from bnn.registry import Registry

FLOOR = 1e-6
"""Smallest variance of a pre-activation under local reparameterisation: a patch of zeros has none,
where the square root has no derivative."""
SCALES = ("fan_in", "mean", "none")
STEPS = ("mirror", "gradient")
LAYERS = ("hidden", "all")


class WeightRule(ABC):
    """Rule that trains the weights of linear and convolutional layers.

    Args:
        layers: `hidden` (all but the first and the last), `all`, or names of layers.
    """

    registry: ClassVar[Registry[WeightRule]] = Registry("weights.name")
    binary: ClassVar[bool] = True
    reading: ClassVar[str] = SIGN
    """Reading by which the rule trains."""
    are_sites: ClassVar[bool] = False
    """Whether the weights are sample sites, which the estimator in force draws."""
    layers: Any

    @property
    def random(self) -> bool:
        """Whether training draws weights, or pre-activations, at random."""
        return self.reading != SIGN

    @abstractmethod
    def initialise(self, weight: Tensor) -> None:
        """Draw initial latent weights from torch's global stream.

        Args:
            weight: changed in place.
        """

    def by_sign(self, latent: Tensor) -> Tensor:
        """Weights of a layer in evaluation; those that it has unless overridden."""
        return latent

    @abstractmethod
    def output(self, layer: BinaryLayer, x: Tensor) -> Tensor:
        """Output of a layer under the reading in force.

        Args:
            layer: the layer; its `weight` holds the latent weights.
            x: input, [n, …].

        Returns:
            [n, …].
        """

    def group_settings(self) -> dict[str, Any]:
        """Settings of the latent weights' parameter group that differ from the network's."""
        return {}

    def optimizer(self, latents: list[nn.Parameter]) -> torch.optim.Optimizer | None:
        """Optimizer of the latent weights, where it is not the network's."""
        return None

    def finish_step(self, latent: Tensor, lr: float | Tensor) -> None:
        """Decay and clip latent weights after a step of their optimizer; nothing unless overridden.

        Args:
            latent: changed in place.
            lr: learning rate of the step.
        """
        return

    def means(self, latent: Tensor) -> Tensor:
        """Mean of each weight, from -1 to 1; the weight itself unless overridden."""
        return latent

    def statistics(self, latent: Tensor) -> dict[str, Tensor]:
        """Statistics of the weights of a layer by name; none unless overridden."""
        return {}


@WeightRule.registry.add("real")
class RealWeights(WeightRule):
    """Real weights: every layer stays as it is."""

    binary = False
    layers = ()

    def initialise(self, weight: Tensor) -> None:
        return

    def output(self, layer: BinaryLayer, x: Tensor) -> Tensor:
        return layer.operation(x, layer.weight, layer.bias)


@dataclass(kw_only=True)
class BinaryWeights(WeightRule):
    """Rule for weights in {-1, 1}, times a scale.

    Args:
        layers: `hidden`, `all`, or names of layers.
        scale: of the weights of a layer: `fan_in` (1 / √ of the number of its inputs), `mean` (mean
            of |η| for each output, XNOR-Net, Rastegari et al. 2016) or `none` (exactly ±1). A norm
            behind the layer cancels it.
    """

    layers: Any = "hidden"
    scale: str = "fan_in"

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Check the parameters.

        Raises:
            ConfigError: naming the key.
        """
        if self.scale not in SCALES:
            raise ConfigError(
                f"weights.scale: expected one of {', '.join(SCALES)}; got {self.scale!r}"
            )
        names = isinstance(self.layers, list | tuple) and all(
            isinstance(name, str) for name in self.layers
        )
        if self.layers not in LAYERS and not (names and self.layers):
            raise ConfigError(
                "weights.layers: expected hidden, all, or names of layers such as [conv2]; got "
                f"{self.layers!r}"
            )

    def site(self, latent: Tensor, noise: Noise = torch.rand_like) -> Site:
        """Weights of a layer as a site that the batch shares, w = 2b - 1.

        Args:
            latent: η, any shape.
            noise: source of uniform numbers.
        """
        return Site(latent, NoiseLaw.registry["logistic"](), Site.threshold, noise, shared=True)

    def pseudo_mean(self, latent: Tensor) -> Tensor:
        """Function whose derivative training takes for that of the weights: here η itself.

        Args:
            latent: η, any shape.

        Returns:
            Of the shape of `latent`.
        """
        return latent

    def scale_of(self, latent: Tensor) -> Tensor | float:
        """Scale of the weights of a layer, a number or [outputs, 1, …].

        Args:
            latent: η, [outputs, inputs, …].
        """
        if self.scale == "mean":
            return latent.abs().mean(dim=list(range(1, latent.dim())), keepdim=True)
        return 1 / math.sqrt(latent[0].numel()) if self.scale == "fan_in" else 1.0

    @torch.no_grad()
    def by_sign(self, latent: Tensor) -> Tensor:
        """Weights in evaluation, scale · sign η; of the shape of `latent`.

        Args:
            latent: η, [outputs, inputs, …].
        """
        found: Tensor = self.scale_of(latent) * (2 * self.site(latent).threshold() - 1)
        return found

    def output(self, layer: BinaryLayer, x: Tensor) -> Tensor:
        draws = weight_draws(layer.training)
        reading = draws.reading or self.reading
        if reading == LRT:
            return self._gaussian(layer, x, draws)
        latent = layer.weight
        site = self.site(latent.detach(), draws.noise)
        bits = draws.bits(layer, site) if reading == SAMPLED else site.threshold()
        weight = replace_gradient(2 * bits - 1, self.pseudo_mean(latent))
        return layer.operation(x, self.scale_of(latent) * weight, layer.bias)

    def _gaussian(self, layer: BinaryLayer, x: Tensor, draws: WeightDraws) -> Tensor:
        """Local reparameterisation: z = m + √v ε with m = x ⋆ μ + bias, v = x² ⋆ (1 - μ²)."""
        latent, scale = layer.weight, self.scale_of(layer.weight)
        mu = replace_gradient(self.means(latent), self.pseudo_mean(latent))
        mean = layer.operation(x, scale * mu, layer.bias)
        variance = layer.operation(x.square(), scale**2 * (1 - mu.square()), None)
        like = mean.detach()
        if like.dtype.itemsize < 4:
            like = like.float()
        found = replication()
        replicas = found.replicas() if found is not None else 1
        # replicas of a sample have its noise in common
        uniform = draws.uniform(layer, like[: len(like) // replicas])
        if replicas > 1:
            uniform = torch.cat([uniform] * replicas)
        return mean + (variance + FLOOR).sqrt() * _normal(uniform)


@dataclass(kw_only=True)
class LatentWeights(BinaryWeights):
    """Rule whose latent weights an optimizer trains, by their gradient through the weights.

    The identity straight-through gradient, ∂f/∂w in place of ∂f/∂η, makes a gradient step on η the
    mirror step on the probabilities θ = F(η) with the KL divergence, linear in the loss; with decay
    λ and step size ε

        η ← (η - ε ∂f/∂w) / (1 + ε λ)

    minimises ⟨g, θ⟩ + KL(θ ‖ θ_t) / ε + λ KL(θ ‖ 1/2) with g = 2 ∂f/∂w (Shekhovtsov & Yanush 2021,
    for the logistic law).

    Args:
        layers: `hidden`, `all`, or names of layers.
        scale: `fan_in`, `mean` or `none`.
        law: noise law F, or its name.
        step: `mirror` (identity straight-through), or `gradient` (of η: with the law's density).
        init: initial latent weights are uniform in [-init, init].
        lr: peak learning rate of the latent weights.
        decay: λ, strength of the pull towards the uniform distribution.
        momentum: of the latent weights; None: that of the optimizer.
        clip: clip the latent weights to [-1, 1]; for the uniform law.
    """

    law: NoiseLaw | str = "logistic"
    step: str = "mirror"
    init: float = 0.9
    lr: float = 0.05
    decay: float = 0.0
    momentum: float | None = None
    clip: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.law, str):
            self.law = NoiseLaw.registry[self.law]()
        super().__post_init__()

    def check(self) -> None:
        super().check()
        if self.step not in STEPS:
            raise ConfigError(
                f"weights.step: expected one of {', '.join(STEPS)}; got {self.step!r}"
            )
        law = type(self.law).__name__.lower()
        if self.clip and law != "uniform":
            raise ConfigError(
                f"weights.clip=true with weights.law={law}: the clip is the projection of the "
                "uniform law, whose probabilities end at ±1; write weights.clip=false (decay "
                "bounds the latent weights) or weights.law=uniform"
            )
        if not self.init > 0 or (self.clip and self.init > 1):
            most = " and at most 1 with weights.clip=true" if self.clip else ""
            raise ConfigError(f"weights.init: expected a positive number{most}, got {self.init}")
        if not self.lr > 0:
            raise ConfigError(f"weights.lr: expected a positive number, got {self.lr}")
        if not self.decay >= 0:
            raise ConfigError(f"weights.decay: expected a number >= 0, got {self.decay}")
        if self.momentum is not None and not 0 <= self.momentum < 1:
            raise ConfigError(
                f"weights.momentum: expected a number in [0, 1), or null; got {self.momentum}"
            )

    def initialise(self, weight: Tensor) -> None:
        nn.init.uniform_(weight, -self.init, self.init)

    def site(self, latent: Tensor, noise: Noise = torch.rand_like) -> Site:
        assert isinstance(self.law, NoiseLaw)
        return Site(latent, self.law, Site.sample, noise, shared=True)

    def pseudo_mean(self, latent: Tensor) -> Tensor:
        return latent if self.step == "mirror" else 2 * self.site(latent).probs

    def group_settings(self) -> dict[str, Any]:
        return {"lr": self.lr} | ({} if self.momentum is None else {"momentum": self.momentum})

    @torch.no_grad()
    def finish_step(self, latent: Tensor, lr: float | Tensor) -> None:
        if self.decay:
            latent.div_(1 + lr * self.decay)
        if self.clip:
            latent.clamp_(-1, 1)

    @torch.no_grad()
    def means(self, latent: Tensor) -> Tensor:
        return 2 * self.site(latent).probs - 1

    @torch.no_grad()
    def statistics(self, latent: Tensor) -> dict[str, Tensor]:
        probs = self.site(latent).probs
        found = {
            "mean_abs": (2 * probs - 1).abs().mean(),
            "entropy": entropy(probs).mean(),
        }
        return found | ({"clipped": (latent.abs() >= 1).float().mean()} if self.clip else {})


def _normal(uniform: Tensor) -> Tensor:
    """Standard normal numbers from uniform ones; erfinv takes a third of the time of ndtri."""
    end = 1 - torch.finfo(uniform.dtype).eps
    normal: Tensor = math.sqrt(2) * torch.erfinv((2 * uniform - 1).clamp(-end, end))
    return normal


def entropy(probs: Tensor) -> Tensor:
    """Entropy of Bernoulli variables in nats, of the shape of `probs`."""
    found: Tensor = torch.special.entr(probs) + torch.special.entr(1 - probs)
    return found


@WeightRule.registry.add("sign")
@dataclass(kw_only=True)
class SignWeights(LatentWeights):
    """Sign of the latent weights, w = sign η, trained by the identity straight-through gradient.

    With `law=uniform clip=true` this is BinaryConnect's deterministic rule (Courbariaux, Bengio &
    David 2015).
    """

    reading = SIGN


@WeightRule.registry.add("sample")
@dataclass(kw_only=True)
class SampledWeights(LatentWeights):
    """Sampled weights, w = 1 with P = F(η), else -1; one draw for each training step.

    With `law=uniform clip=true` this is BinaryConnect's stochastic rule (Courbariaux, Bengio &
    David 2015).
    """

    reading = SAMPLED


@WeightRule.registry.add("lrt")
@dataclass(kw_only=True)
class LocalReparameterisation(LatentWeights):
    """Local reparameterisation: the pre-activation is drawn from a Gaussian for each sample.

    z = m + √v ε has the mean m = x ⋆ μ and the variance v = x² ⋆ (1 - μ²) that drawn weights give
    (Shayer, Levi & Fetaya 2018; Peters & Welling 2018). It takes two convolutions.
    """

    reading = LRT
    lr: float = 0.15


@WeightRule.registry.add("bop")
@dataclass(kw_only=True)
class BopWeights(BinaryWeights):
    """Binary weights without latent weights, flipped by Bop (Helwegen et al. 2019).

    m ← (1 - γ) m + γ g, and w flips where w m > τ.

    Args:
        layers: `hidden`, `all`, or names of layers.
        scale: `fan_in`, `mean` or `none`.
        gamma: γ, weight of the newest gradient in the running mean.
        threshold: τ, smallest running mean that flips a weight; 0 follows its sign.
    """

    gamma: float = 1e-3
    threshold: float = 1e-8

    def check(self) -> None:
        super().check()
        if not 0 < self.gamma <= 1:
            raise ConfigError(f"weights.gamma: expected a number in (0, 1], got {self.gamma}")
        if not self.threshold >= 0:
            raise ConfigError(f"weights.threshold: expected a number >= 0, got {self.threshold}")

    def initialise(self, weight: Tensor) -> None:
        with torch.no_grad():
            weight.copy_(2 * torch.randint_like(weight, 2) - 1)

    def scale_of(self, latent: Tensor) -> Tensor | float:
        return super().scale_of(latent.detach())  # of weights ±1, which a gradient does not change

    def optimizer(self, latents: list[nn.Parameter]) -> torch.optim.Optimizer:
        return Bop(latents, self.gamma, self.threshold)
