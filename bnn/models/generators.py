"""Generators of images, whose output layer is an activation module: binary, or real-valued."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.base import MODELS
from bnn.nn.norms import NORMS


@MODELS.add("mlp_generator")
class MLPGenerator(nn.Module):
    """Generator of one hidden layer, Linear - norm - ReLU - Linear - norm - act (Dong & Yang 2018).

    Args:
        shape: shape of the inputs; the latent variables are [channels, 1, 1].
        outputs: number of pixels.
        activations: the activation module of the pixels.
        hidden: number of hidden units.
        norm: `batch`, `running`, `group` or `none`.

    Raises:
        ConfigError: for hidden < 1.
    """

    depth = 1
    generates = True

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        activations: Sequence[nn.Module],
        *,
        hidden: int = 1024,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"model.hidden: expected at least 1 unit, got {hidden}")
        self.linear1 = nn.Linear(math.prod(shape), hidden)
        self.norm1 = NORMS[norm](hidden)
        self.linear2 = nn.Linear(hidden, outputs)
        self.norm2 = NORMS[norm](outputs)
        (self.act,) = activations

    def forward(self, z: Tensor) -> Tensor:
        """Pixels [n, outputs] of latent variables [n, c, 1, 1]."""
        hidden = nn.functional.relu(self.norm1(self.linear1(z.flatten(1))))
        output: Tensor = self.act(self.norm2(self.linear2(hidden)))
        return output


@MODELS.add("cnn_generator")
class CNNGenerator(nn.Module):
    """Generator of four transposed convolutions, norm and ReLU after each (Dong & Yang 2018).

    128 maps of 2x2, 64 of 6x6, 32 of 13x13, one of 28x28, whose activation is the last.

    Args:
        shape: shape of the inputs; the latent variables are [channels, 1, 1].
        outputs: number of pixels, 784.
        activations: the activation module of the pixels.
        norm: `batch`, `running` or `none`.

    Raises:
        ConfigError: for other images than 28x28 of one channel, and for norm `group`.
    """

    depth = 1
    generates = True
    LAYERS = ((128, 2, 1), (64, 4, 2), (32, 3, 2), (1, 4, 2))
    """Maps, kernel and stride of each transposed convolution."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        activations: Sequence[nn.Module],
        *,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if outputs != 28 * 28:
            raise ConfigError(
                "model=cnn_generator: expected images of 28x28 pixels in one channel, got "
                f"{outputs} pixels; write model=mlp_generator"
            )
        if norm == "group":
            raise ConfigError(
                "model=cnn_generator with model.norm=group: its last layer has one channel, and a "
                "group has four; write model.norm=batch, running or none"
            )
        modules: list[nn.Module] = []
        below = math.prod(shape)
        for maps, kernel, stride in self.LAYERS:
            convolution = nn.ConvTranspose2d(below, maps, kernel, stride)
            modules += [convolution, NORMS[norm](maps), nn.ReLU()]
            below = maps
        self.layers = nn.Sequential(*modules[:-1])
        (self.act,) = activations

    def forward(self, z: Tensor) -> Tensor:
        """Pixels [n, outputs] of latent variables [n, c, 1, 1]."""
        output: Tensor = self.act(self.layers(z).flatten(1))
        return output
