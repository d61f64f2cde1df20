"""Activation maximization: images that excite a channel most, by gradient ascent on pixels.

Source: Erhan, Bengio, Courville & Vincent (2009), Visualizing Higher-Layer Features of a Deep
Network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.analysis.responses import preactivations, straight_through_reading
from bnn.data import DatasetSpec
from bnn.errors import ConfigError
from bnn.nn.handlers import sampled
from bnn.nn.readings import seeded_noise

GREY, AMPLITUDE = 0.5, 0.02
"""Start of an ascent: uniform noise of this amplitude around the middle of the pixels' range, from
which black and white are equally far. A pixel that moves no unit stays grey."""


@dataclass(frozen=True)
class MaximizedImages:
    """Images that excite channels of a layer, one each.

    Args:
        layer: module name, or SCORES.
        channels: indices of the channels.
        pixels: [channels, c, h, w], from 0 (black) to 1 (white).
        values: [steps + 1, channels], maximized value before each step and after the last.
    """

    layer: str
    channels: tuple[int, ...]
    pixels: Tensor
    values: Tensor


def maximize_activation(
    model: nn.Module,
    layer: str,
    spec: DatasetSpec,
    *,
    channels: Sequence[int],
    place: tuple[int, int] | None,
    steps: int,
    rate: float,
    draws: int,
    seed: int,
) -> MaximizedImages:
    """Images to which gradient ascent on a channel's mean pre-activation, or on its score, leads.

    Bits below are drawn by the neurons' own rule, and passed straight through in the backward pass.

    Args:
        model: network.
        layer: module name of an activation layer, or SCORES.
        spec: data set, whose normalisation is applied to the pixels.
        channels: indices of the channels, an image for each.
        place: row and column of a single unit to maximize; None for the channel's mean.
        steps: steps of Adam, after each of which pixels are clamped to [0, 1].
        rate: learning rate, in shares of the pixels' range.
        draws: draws of the bits in each step.
        seed: of the starting noise and the draws.

    Raises:
        ConfigError: for a layer, a channel or a place that the network lacks.
    """
    parameter = next(model.parameters())
    noise = seeded_noise(seed, parameter.device)
    reading = straight_through_reading(sampled(noise))
    start = torch.empty(len(channels), *spec.shape, device=parameter.device, dtype=parameter.dtype)

    def objective(pixels: Tensor) -> Tensor:
        images = ((pixels - spec.mean) / spec.std).repeat(draws, 1, 1, 1)
        a = preactivations(model, layer, images, reading)
        return _of_channels(a.view(draws, len(channels), *a.shape[1:]).mean(0), channels, place)

    pixels, values = _ascend(objective, GREY + AMPLITUDE * (2 * noise(start) - 1), steps, rate)
    return MaximizedImages(layer, tuple(channels), pixels.cpu(), values.cpu())


def _ascend(
    objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, rate: float
) -> tuple[Tensor, Tensor]:
    """Pixels after the ascent, and the values [steps + 1, images] on the way.

    Args:
        objective: pixels [images, c, h, w] -> a value for each image.
        start: pixels before the first step.
        steps: steps of Adam.
        rate: its learning rate.
    """
    pixels = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=rate, maximize=True)
    values = []
    for _ in range(steps):
        value = objective(pixels)
        values.append(value.detach())
        (pixels.grad,) = torch.autograd.grad(value.sum(), pixels)
        optimizer.step()
        pixels.data.clamp_(0, 1)
    with torch.no_grad():
        values.append(objective(pixels))
    return pixels.detach(), torch.stack(values)


def _of_channels(a: Tensor, channels: Sequence[int], place: tuple[int, int] | None) -> Tensor:
    """Mean of channel `channels[i]` of image i, or its unit at a place: [i, channels, h, w] -> [i].

    Raises:
        ConfigError: for a channel or a place that there is not.
    """
    count, (h, w) = a.shape[1], a.shape[2:]
    if not all(0 <= channel < count for channel in channels):
        raise ConfigError(f"channels: expected numbers in [0, {count - 1}], got {list(channels)}")
    if place is not None and not (0 <= place[0] < h and 0 <= place[1] < w):
        raise ConfigError(
            f"place: expected a row in [0, {h - 1}] and a column in [0, {w - 1}], got {place}"
        )
    own = a[torch.arange(len(channels)), list(channels)]
    return own.mean((1, 2)) if place is None else own[:, place[0], place[1]]
