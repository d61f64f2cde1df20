"""Receptive fields: the pixels that can move a unit, found by gradients of the network itself."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.analysis.responses import preactivations
from bnn.errors import ConfigError
from bnn.nn.handlers import threshold
from bnn.nn.neurons import Neuron

PROBES, IMAGES = 32, 4
"""Pairs of a random image and a channel by which each place is probed, and the least number of
images. A max-pool passes on one of its inputs alone, so that a probe misses a row at the rim of a
field with a probability of about ½, and all of them practically never."""


@dataclass(frozen=True)
class ReceptiveFields:
    """Receptive fields of a layer's units by place; all channels have the same.

    Args:
        boxes: int64 [h, w, 4], for each place of the layer (one place for units without): first
            row, first column, and row and column behind the last, cut off at the image's edge.
    """

    boxes: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the largest field."""
        extent = (self.boxes[..., 2:] - self.boxes[..., :2]).flatten(0, 1).amax(0)
        return int(extent[0]), int(extent[1])

    @property
    def centre(self) -> tuple[int, int]:
        """Row and column of the place in the middle of the layer."""
        return self.boxes.shape[0] // 2, self.boxes.shape[1] // 2

    @property
    def corners(self) -> Tensor:
        """First row and column of a window of `size` around each field, [h, w, 2].

        The window of a field that the image's edge cuts off goes on beyond that edge.
        """
        start, stop = self.boxes[..., :2], self.boxes[..., 2:]
        size = torch.tensor(self.size)
        return torch.where((start == 0) & (stop < size), stop - size, start)


def receptive_fields(model: nn.Module, layer: str, shape: tuple[int, int, int]) -> ReceptiveFields:
    """Receptive fields of all places of a layer.

    A field is the rows and columns in which the gradient of a place's pre-activations is not 0 for
    some random image. It is the gradient of the wiring alone: in a copy with random weights, so
    that a weight of 0 hides no pixel, and with every activation passed straight through. Under a
    norm over the whole image (`model.norm=group`) the field is the whole image.

    Args:
        model: network, which is left as it is.
        layer: module name of an activation layer, or SCORES.
        shape: channels, height and width of the images.

    Raises:
        ConfigError: for a layer that the network lacks, or whose units no pixel moves.
    """
    generator = torch.Generator().manual_seed(0)
    wiring = _wiring(model, generator)
    with torch.no_grad():
        image = torch.zeros(1, *shape, dtype=torch.float64)
        channels, h, w = preactivations(wiring, layer, image, threshold).shape[1:]
    reached = torch.zeros(h * w, *shape[1:], dtype=torch.bool)
    for _ in range(max(IMAGES, math.ceil(PROBES / channels))):
        images = torch.randn(h * w, *shape, generator=generator, dtype=torch.float64)
        reached |= _gradient(wiring, layer, images.requires_grad_()).ne(0).any(1)
    if not reached.any(2).any(1).all():
        raise ConfigError(
            f"layer: expected units that depend on the image, and no pixel moves those of {layer}"
        )
    top, bottom = _ends(reached.any(2))
    left, right = _ends(reached.any(1))
    return ReceptiveFields(torch.stack([top, left, bottom, right], 1).view(h, w, 4))


def _gradient(wiring: nn.Module, layer: str, images: Tensor) -> Tensor:
    """Gradient of place i of a layer on image i, summed over channels, for all i: [h·w, c, …].

    One image for each place, so that one backward pass serves all places.
    """
    own = preactivations(wiring, layer, images, threshold).sum(1).flatten(1).diagonal()
    # 0 · images: a layer that no pixel moves has a gradient of 0, and not none
    (gradient,) = torch.autograd.grad(own.sum() + 0 * images.sum(), images)
    return gradient


def _wiring(model: nn.Module, generator: torch.Generator) -> nn.Module:
    """A copy in float64 with random weights, whose neurons pass on their pre-activations."""
    wiring = copy.deepcopy(model).cpu().double()
    with torch.no_grad():
        for parameter in wiring.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    for module in wiring.modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(lambda neuron, inputs, _: neuron.preactivation(inputs[0]))
    return wiring


def _ends(marked: Tensor) -> tuple[Tensor, Tensor]:
    """First marked position of each row of bools [n, length], and the one behind the last."""
    return marked.int().argmax(1), marked.shape[1] - marked.flip(1).int().argmax(1)
