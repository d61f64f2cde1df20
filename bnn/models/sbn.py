"""Sigmoid belief network: layers of binary units, each of which sees the bits below as ±1."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.models.base import MODELS


@MODELS.add("sbn")
class SigmoidBeliefNetwork(nn.Module):
    """Feedforward sigmoid belief network (Gu et al. 2016; Jang et al. 2017).

    Linear - act - 2b - 1 - Linear - … - act - 2b - 1 - Linear; no norm.

    Args:
        shape: channels, height and width of the inputs.
        outputs: number of outputs.
        activations: an activation module for each hidden layer, from the input.
        hidden: numbers of units of the hidden layers, from the input.

    Raises:
        ConfigError: for no hidden layer, or one without units.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        outputs: int,
        activations: Sequence[nn.Module],
        *,
        hidden: list[int] = [200, 200],  # noqa: B006  (never changed)
    ) -> None:
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise ConfigError(
                f"model.hidden: expected a list of at least one layer, of at least 1 unit each; "
                f"got {hidden}"
            )
        sizes = [math.prod(shape), *hidden, outputs]
        self.layers = nn.ModuleList(nn.Linear(m, n) for m, n in itertools.pairwise(sizes))
        self.activations = nn.ModuleList(activations)

    @staticmethod
    def depth(hidden: list[int]) -> int:
        """Number of activations of a network with these hidden layers."""
        return len(hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, outputs] of inputs [n, c, h, w]."""
        x = x.flatten(1)
        for layer, activation in zip(self.layers, self.activations, strict=False):
            x = 2 * activation(layer(x)) - 1
        output: Tensor = self.layers[-1](x)
        return output
