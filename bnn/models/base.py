"""Networks of this package by name: `forward(inputs) -> output`, with one activation module per place."""

from __future__ import annotations

from torch import nn

from bnn.registry import Registry

MODELS: Registry[nn.Module] = Registry("model.name")
"""Constructors `(shape, outputs, activations, *, …)` with an attribute `depth`, the number of activations."""
