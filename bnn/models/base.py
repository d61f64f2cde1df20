"""Registry of the networks: `forward(inputs) -> output`, one activation module for each place."""

from __future__ import annotations

from torch import nn

from bnn.registry import Registry

MODELS: Registry[nn.Module] = Registry("model.name")
"""Constructors `(shape, outputs, activations, *, …)` with an attribute `depth`, the number of
activations."""
