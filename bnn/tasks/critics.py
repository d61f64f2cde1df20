"""Critics of generated images, and their losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.nn.sites import Noise

SLOPE = 0.2
"""Slope of the leaky rectifiers below 0."""
CLIP = 0.01
"""Largest size of a weight of the critic under `wgan`."""
PENALTY = 10.0
"""Coefficient of the gradient penalty under `wgan_gp`."""


def mlp_critic(shape: tuple[int, int, int]) -> nn.Module:
    """Critic of two hidden layers, pixels - 512 - 256 - 1 (Dong & Yang 2018).

    Args:
        shape: channels, height and width of the images.
    """
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 512),
        nn.LeakyReLU(SLOPE),
        nn.Linear(512, 256),
        nn.LeakyReLU(SLOPE),
        nn.Linear(256, 1),
    )


def cnn_critic(shape: tuple[int, int, int]) -> nn.Module:
    """Critic of two convolutions of stride 2, 32 and 64 maps, and a hidden layer of 128 units.

    Args:
        shape: channels, height and width of the images.
    """
    channels, height, width = shape
    flat = 64 * math.ceil(math.ceil(height / 2) / 2) * math.ceil(math.ceil(width / 2) / 2)
    return nn.Sequential(
        nn.Unflatten(1, shape),
        nn.Conv2d(channels, 32, 5, 2, 2),
        nn.LeakyReLU(SLOPE),
        nn.Conv2d(32, 64, 5, 2, 2),
        nn.LeakyReLU(SLOPE),
        nn.Flatten(),
        nn.Linear(flat, 128),
        nn.LeakyReLU(SLOPE),
        nn.Linear(128, 1),
    )


CRITICS: Mapping[str, Callable[[tuple[int, int, int]], nn.Module]] = {
    "mlp": mlp_critic,
    "cnn": cnn_critic,
}
"""Critics by name: `(shape of the images) -> module`, which maps [n, pixels] to [n, 1]. None has
batch statistics: the value of an image does not depend on its neighbours in the batch."""
OBJECTIVES = ("gan", "wgan", "wgan_gp")


def generator_loss(objective: str, values: Tensor) -> Tensor:
    """Loss of the generator for each sample.

        gan:            log(1 + exp(-D))     (Goodfellow et al. 2014, the non-saturating form)
        wgan, wgan_gp:  -D                   (Arjovsky et al. 2017, Gulrajani et al. 2017)

    Args:
        objective: one of OBJECTIVES.
        values: values D of the critic, [n].

    Returns:
        [n].
    """
    return F.softplus(-values) if objective == "gan" else -values


def critic_loss(
    objective: str, critic: nn.Module, real: Tensor, fake: Tensor, noise: Noise
) -> Tensor:
    """Mean loss of the critic on a batch.

        gan:      E log(1 + exp(-D(real))) + E log(1 + exp(D(fake)))
        wgan:     E D(fake) - E D(real), under weights within ±0.01
        wgan_gp:  E D(fake) - E D(real) + 10 E (|dD/dx| - 1)²,  x = u · real + (1 - u) · fake

    Args:
        objective: one of OBJECTIVES.
        critic: critic.
        real: pixels of images, [n, pixels].
        fake: pixels of samples, [n, pixels].
        noise: source of the uniform numbers u.

    Returns:
        A scalar.
    """
    of_real, of_fake = critic(real), critic(fake)
    if objective == "gan":
        return F.softplus(-of_real).mean() + F.softplus(of_fake).mean()
    loss: Tensor = of_fake.mean() - of_real.mean()
    if objective == "wgan":
        return loss
    share = noise(real[:, :1])
    between = (share * real + (1 - share) * fake).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    slopes = (gradient.square().flatten(1).sum(1) + 1e-8).sqrt()
    return loss + PENALTY * (slopes - 1).square().mean()


@torch.no_grad()
def clip_weights(critic: nn.Module) -> None:
    """Clip the weights of a critic to ±0.01."""
    for parameter in critic.parameters():
        parameter.clamp_(-CLIP, CLIP)
