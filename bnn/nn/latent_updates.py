"""Steps of latent weights: decay and clip behind the optimizer's step, and the flips they count.

Both follow each `optimizer.step()` by hooks, in any training loop:

    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    LatentUpdates(net, optimizer)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from bnn import schema
from bnn.nn.weight_layers import binary_weight_layers


class LatentUpdates:
    """Hooks of an optimizer that end each step of the latent weights by their rule.

    Args:
        model: network with binary weights.
        optimizer: optimizer that has their latent weights.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        groups = {id(one): group for group in optimizer.param_groups for one in group["params"]}
        self._layers = [
            (name, layer.rule, layer.weight, groups[id(layer.weight)])
            for name, layer in binary_weight_layers(model)
            if id(layer.weight) in groups
        ]
        self._positive: list[Tensor] = []
        self._flips = {
            name: torch.zeros((), device=latent.device) for name, _, latent, _ in self._layers
        }
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self._after)

    def _before(self, *_: Any) -> None:
        self._positive = [latent.detach() > 0 for _, _, latent, _ in self._layers]

    def _after(self, *_: Any) -> None:
        for (name, rule, latent, group), before in zip(self._layers, self._positive, strict=True):
            rule.finish_step(latent, group["lr"])
            self._flips[name] += ((latent.detach() > 0) != before).float().mean()

    def flip_rates(self, steps: int) -> dict[str, float]:
        """Share of the weights of each layer that a step flips, and begin to count anew.

        Args:
            steps: number of steps since the last call.

        Returns:
            Means over the steps, `weights/<layer>/flip_rate`.
        """
        rates = {
            f"{schema.WEIGHTS}{name}/flip_rate": float(flips) / steps
            for name, flips in self._flips.items()
        }
        for flips in self._flips.values():
            flips.zero_()
        return rates


def weight_statistics(model: nn.Module) -> dict[str, float]:
    """Statistics of the binary weights of a network, `weights/<layer>/mean_abs` and others."""
    return {
        f"{schema.WEIGHTS}{name}/{key}": float(value)
        for name, layer in binary_weight_layers(model)
        for key, value in layer.rule.statistics(layer.weight).items()
    }
