"""Receptive fields, found from the network itself: which pixels can move a unit."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.analysis.responses import excitation
from bnn.errors import ConfigError
from bnn.nn.handlers import threshold
from bnn.nn.neurons import Neuron

LOOKS, IMAGES = 32, 4
"""Each place is looked at by LOOKS pairs of a random image and a channel, over IMAGES images or more. A max-pool passes on
one of its inputs alone, so that a look misses a row at the rim of a field with a probability of about ½, and all of them
practically never."""


@dataclass(frozen=True)
class Fields:
    """Where in the image the units of one layer look; all channels look from the same places.

    `boxes` is int64 [h, w, 4], for each place of the layer (one place for a layer of units without): first row, first
    column, and the row and column behind the last, cut off at the edge of the image.
    """

    boxes: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the largest field."""
        extent = (self.boxes[..., 2:] - self.boxes[..., :2]).flatten(0, 1).amax(0)
        return int(extent[0]), int(extent[1])

    @property
    def centre(self) -> tuple[int, int]:
        """The place in the middle of the layer."""
        return self.boxes.shape[0] // 2, self.boxes.shape[1] // 2

    @property
    def corners(self) -> Tensor:
        """First row and column of a window of `size` for each place, [h, w, 2]: a field that the image's edge cuts off goes
        on beyond the edge that it touches."""
        start, stop = self.boxes[..., :2], self.boxes[..., 2:]
        size = torch.tensor(self.size)
        return torch.where((start == 0) & (stop < size), stop - size, start)


def receptive_fields(model: nn.Module, layer: str, shape: tuple[int, int, int]) -> Fields:
    """The fields of all places of `layer` in images of `shape` (channels, height, width): the rows and columns where the
    gradient of a place's pre-activations is not 0 for some random image.

    It is the gradient of the wiring alone: in a copy with weights drawn anew, so that a weight that happens to be 0 hides no
    pixel, and with every activation passed straight through. A norm over the whole image (`model.norm=group`) makes the
    whole image the field.
    Errors: ConfigError for a layer that the network lacks, or whose units no pixel moves.
    """
    generator = torch.Generator().manual_seed(0)
    wiring = _wiring(model, generator)
    with torch.no_grad():
        channels, h, w = excitation(
            wiring, layer, torch.zeros(1, *shape, dtype=torch.float64), threshold
        ).shape[1:]
    reached = torch.zeros(h * w, *shape[1:], dtype=torch.bool)
    for _ in range(max(IMAGES, math.ceil(LOOKS / channels))):
        images = torch.randn(
            h * w, *shape, generator=generator, dtype=torch.float64, requires_grad=True
        )
        # image i is asked about place i alone, so that one backward pass serves all places
        each = excitation(wiring, layer, images, threshold).sum(1).flatten(1).diagonal()
        (gradient,) = torch.autograd.grad(each.sum() + 0 * images.sum(), images)
        reached |= gradient.ne(0).any(1)
    if not reached.any(2).any(1).all():
        raise ConfigError(
            f"layer: expected units that depend on the image, and no pixel moves those of {layer}"
        )
    return Fields(
        torch.stack([*_ends(reached.any(2)), *_ends(reached.any(1))], 1)[:, [0, 2, 1, 3]].view(
            h, w, 4
        )
    )


def _wiring(model: nn.Module, generator: torch.Generator) -> nn.Module:
    wiring = copy.deepcopy(model).cpu().double()
    with torch.no_grad():
        for parameter in wiring.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    for module in wiring.modules():
        if isinstance(module, Neuron):
            module.register_forward_hook(lambda neuron, inputs, _: neuron.preactivation(inputs[0]))
    return wiring


def _ends(marked: Tensor) -> tuple[Tensor, Tensor]:
    """[n, length] of bools -> the first marked position of each, and the one behind the last."""
    return marked.int().argmax(1), marked.shape[1] - marked.flip(1).int().argmax(1)
