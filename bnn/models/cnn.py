"""Convolutional network of Wizaron/binary-stochastic-neurons: 29,034 parameters on 28×28 images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from bnn.models.base import MODELS, pooled_size
from bnn.nn.norms import NORMS


@MODELS.add("cnn")
class ConvNet(nn.Module):
    """Convolutional network of two hidden layers.

    Conv(16, 5×5) - norm - max-pool 2 - act - Conv(32, 5×5) - norm - max-pool 2 - act - Linear. The
    activation maps are [16, h/2, w/2] and [32, h/4, w/4].

    Args:
        shape: channels, height and width of the images.
        outputs: number of outputs.
        activations: two activation modules, from the input.
        norm: `batch`, `running`, `group` or `none`.

    Raises:
        ConfigError: for images of less than 4×4 pixels.
    """

    depth = 2

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        activations: Sequence[nn.Module],
        *,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        channels, height, width = shape
        positions = pooled_size(height, width)
        self.conv1 = nn.Conv2d(channels, 16, 5, padding=2)
        self.norm1 = NORMS[norm](16)
        self.conv2 = nn.Conv2d(16, 32, 5, padding=2)
        self.norm2 = NORMS[norm](32)
        self.pool = nn.MaxPool2d(2)
        self.act1, self.act2 = activations
        self.linear = nn.Linear(32 * positions, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, outputs] of images [n, c, h, w]."""
        x = self.act1(self.pool(self.norm1(self.conv1(x))))
        x = self.act2(self.pool(self.norm2(self.conv2(x))))
        output: Tensor = self.linear(x.flatten(1))
        return output
