"""The model that a run leaves behind: a network with its normalisation and its own way of drawing bits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnn.neurons import Noisy, Site


def own_rule(layer: Site | Noisy) -> Tensor:
    """What the layer's neuron does by itself."""
    return layer.fire()


class Predictor(nn.Module):
    """Images [n, c, h, w] with pixels in [0, 1] -> class probabilities [n, classes], units by each neuron's own rule."""

    def __init__(self, model: nn.Module, mean: float, std: float) -> None:
        super().__init__()
        self.model, self.mean, self.std = model, mean, std

    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.model((images - self.mean) / self.std, own_rule), dim=1)
