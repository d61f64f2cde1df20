"""Encoder and decoder of a variational autoencoder with binary latent variables."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.base import MODELS

SLOPE = 0.3
"""Slope of the leaky rectifiers below 0 (Titsias & Shi 2022)."""


@MODELS.add("vae")
class VAE(nn.Module):
    """Variational autoencoder with one layer of binary latent variables.

    The encoder's last layer has one unit for each latent variable, whose activation module fires
    it; the decoder mirrors the encoder and sees 2b - 1. Without hidden layers both are linear.
    Hidden units are leaky rectifiers of slope 0.3.

    Args:
        shape: channels, height and width of the inputs.
        outputs: number of outputs.
        activations: the activation module of the latent variables.
        latents: number of latent variables.
        hidden: numbers of units of the encoder's hidden layers, from the input.

    Raises:
        ConfigError: for a layer without units.
    """

    depth = 1

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        activations: Sequence[nn.Module],
        *,
        latents: int = 200,
        hidden: list[int] = [200, 200],  # noqa: B006  (never changed)
    ) -> None:
        super().__init__()
        if latents < 1:
            raise ConfigError(f"model.latents: expected at least 1 latent variable, got {latents}")
        if hidden and min(hidden) < 1:
            raise ConfigError(
                f"model.hidden: expected layers of at least 1 unit each, or []; got {hidden}"
            )
        self.encoder = _layers([math.prod(shape), *hidden, latents])
        (self.act,) = activations
        self.decoder = _layers([latents, *reversed(hidden), outputs])

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, outputs] of inputs [n, c, h, w]."""
        return self.decode(self.act(self.encoder(x.flatten(1))))

    def decode(self, bits: Tensor) -> Tensor:
        """Outputs of latent variables.

        Args:
            bits: [n, latents].

        Returns:
            [n, outputs].
        """
        output: Tensor = self.decoder(2 * bits - 1)
        return output


def _layers(sizes: Sequence[int]) -> nn.Sequential:
    """Linear layers with leaky rectifiers between them."""
    modules: list[nn.Module] = []
    for below, above in itertools.pairwise(sizes):
        modules += [nn.Linear(below, above), nn.LeakyReLU(SLOPE)]
    return nn.Sequential(*modules[:-1])
