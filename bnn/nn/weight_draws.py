"""Draws of binary weights: the reading in force, and its random numbers, drawn once and kept."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from bnn.nn.sites import Noise, Site

SIGN, SAMPLED, LRT = "sign", "sampled", "lrt"
"""Readings of binary weights."""


class BinaryLayer(Protocol):
    """Layer whose output is linear in its weight: a linear or a convolutional layer."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    training: bool

    def operation(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Output of the layer with a given weight."""


@dataclass(eq=False)
class WeightDraws:
    """Random numbers of the binary weights of a network, drawn once for each layer and kept.

    One object serves one training step, whose passes and replicas then have the same weights, or
    one drawn network in evaluation.

    Args:
        noise: source of the uniform numbers.
        reading: `sign`, `sampled` or `lrt`; None: the one that each layer's rule trains by.
        keeps_noise: whether the noise of `lrt` is kept for further passes on the same batch.
    """

    noise: Noise
    reading: str | None = None
    keeps_noise: bool = True
    _kept: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)

    def bits(self, layer: BinaryLayer, site: Site) -> Tensor:
        """Sampled bits of the weights of a layer, of the shape of the weight."""
        return self._once((id(layer),), lambda: site.sample())

    def uniform(self, layer: BinaryLayer, like: Tensor) -> Tensor:
        """Uniform numbers for the pre-activations of a layer, of the shape of `like`."""
        if not self.keeps_noise:
            return self.noise(like)
        return self._once((id(layer), *like.shape), lambda: self.noise(like))

    def _once(self, key: tuple[Any, ...], draw: Callable[[], Tensor]) -> Tensor:
        if key not in self._kept:
            self._kept[key] = draw()
        return self._kept[key]


_in_force: ContextVar[WeightDraws | None] = ContextVar("bnn_weights", default=None)


@contextlib.contextmanager
def drawing_weights(draws: WeightDraws) -> Iterator[None]:
    """Context in which binary weights are read by `draws`; an inner context replaces the outer one.

    Args:
        draws: random numbers and reading.
    """
    token = _in_force.set(draws)
    try:
        yield
    finally:
        _in_force.reset(token)


def weight_draws(training: bool) -> WeightDraws:
    """Draws in force; else new ones of each layer's rule in training, and signs in evaluation.

    Args:
        training: whether the layer that asks is in training.
    """
    found = _in_force.get()
    return found or WeightDraws(torch.rand_like, None if training else SIGN)
