"""Registry of the networks: `forward(inputs) -> output`, one activation module for each place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from bnn.errors import ConfigError
from bnn.registry import Registry


class Models(Registry[nn.Module]):
    """Registry of networks; `init_from` is a key of every one, and none of its parameters."""

    common: ClassVar = {"init_from": None}

    def depth(self, node: Mapping[str, Any]) -> int:
        """Number of activations of a network.

        Args:
            node: group `model`.

        Raises:
            ConfigError: for an unknown network, or a value of another type where the depth follows
                from one.
        """
        depth = self.attribute(str(node.get("name")), "depth")
        if isinstance(depth, int):
            return depth
        key = next(iter(inspect.signature(depth).parameters))
        value = node.get(key, self.defaults(node["name"])[key])
        try:
            return int(depth(value))
        except TypeError as error:
            raise ConfigError(f"model.{key}: expected a list, got {value!r}") from error


MODELS = Models("model.name")
"""Constructors `(shape, outputs, activations, *, …)` with an attribute `depth`: the number of
activations, or a static method that computes it from the key of its parameter's name."""


def pooled_size(height: int, width: int) -> int:
    """Number of positions of an activation map after two max-poolings by 2.

    Args:
        height: height of the images.
        width: width of the images.

    Raises:
        ConfigError: for images of which none is left.
    """
    if min(height, width) < 4:
        raise ConfigError(
            "model: expected images of at least 4×4 pixels for two max-poolings, got "
            f"{height}×{width}; write model=mlp"
        )
    return (height // 4) * (width // 4)
