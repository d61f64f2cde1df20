"""Registry of the networks: `forward(inputs) -> output`, one activation module for each place."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from bnn.registry import Registry


class Models(Registry[nn.Module]):
    """Registry of networks; `init_from` is a key of every one, and none of its parameters."""

    common: ClassVar = {"init_from": None}


MODELS = Models("model.name")
"""Constructors `(shape, outputs, activations, *, …)` with an attribute `depth`, the number of
activations."""
