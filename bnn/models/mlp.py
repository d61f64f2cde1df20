"""Multi-layer perceptron of two hidden layers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.base import MODELS
from bnn.nn.norms import NORMS


@MODELS.add("mlp")
class MLP(nn.Module):
    """Multi-layer perceptron, Linear - norm - act - Linear - norm - act - Linear.

    Args:
        shape: channels, height and width of the images.
        outputs: number of outputs.
        activations: two activation modules, from the input.
        hidden: number of units of each hidden layer.
        norm: `batch`, `running`, `group` or `none`.

    Raises:
        ConfigError: for hidden < 1.
    """

    depth = 2

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        activations: Sequence[nn.Module],
        *,
        hidden: int = 256,
        norm: str = "batch",
    ) -> None:
        super().__init__()
        if hidden < 1:
            raise ConfigError(f"model.hidden: expected at least 1 unit, got {hidden}")
        self.linear1 = nn.Linear(math.prod(shape), hidden)
        self.norm1 = NORMS[norm](hidden)
        self.linear2 = nn.Linear(hidden, hidden)
        self.norm2 = NORMS[norm](hidden)
        self.act1, self.act2 = activations
        self.linear3 = nn.Linear(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, outputs] of images [n, c, h, w]."""
        x = self.act1(self.norm1(self.linear1(x.flatten(1))))
        x = self.act2(self.norm2(self.linear2(x)))
        output: Tensor = self.linear3(x)
        return output
