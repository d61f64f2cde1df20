"""Activation maximisation: the image that excites a channel most, by gradient ascent on its pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.analysis.responses import excitation, through
from bnn.data import DatasetSpec
from bnn.errors import ConfigError
from bnn.nn.handlers import sampled
from bnn.nn.readings import seeded_noise

GREY, AMPLITUDE = 0.5, 0.02
"""Where ascent begins: uniform noise of this amplitude around the middle of the pixels' range, from which black and white
are equally far; what moves no unit stays grey."""


@dataclass(frozen=True)
class Ascent:
    """Images that excite channels of a layer, one each."""

    layer: str
    channels: tuple[int, ...]
    pixels: Tensor
    """[channels, c, h, w] from 0 (black) to 1 (white)."""
    values: Tensor
    """[steps + 1, channels]: what was maximised, before each step and after the last."""


def maximised(
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
) -> Ascent:
    """For each of `channels` of an activation layer, or of SCORES, the image to which gradient ascent on its mean
    pre-activation, or its score, leads (Erhan, Bengio, Courville & Vincent 2009).

    place: row and column of one unit, which is then ascended alone. Steps are Adam's, of about `rate` of the pixels' range,
    and end within it. Bits below are drawn by the net's own rule, `draws` times a step, and passed straight through. Images
    enter the network normalised, as `spec` says.
    Errors: ConfigError for a layer, a channel or a place that the network lacks.
    """
    parameter = next(model.parameters())
    noise = seeded_noise(seed, parameter.device)
    reading = through(sampled(noise))
    start = torch.empty(len(channels), *spec.shape, device=parameter.device, dtype=parameter.dtype)

    def objective(pixels: Tensor) -> Tensor:
        images = ((pixels - spec.mean) / spec.std).repeat(draws, 1, 1, 1)
        a = excitation(model, layer, images, reading)
        return _of_channels(a.view(draws, len(channels), *a.shape[1:]).mean(0), channels, place)

    pixels, values = _ascend(objective, GREY + AMPLITUDE * (2 * noise(start) - 1), steps, rate)
    return Ascent(layer, tuple(channels), pixels.cpu(), values.cpu())


def _ascend(
    objective: Callable[[Tensor], Tensor], start: Tensor, steps: int, rate: float
) -> tuple[Tensor, Tensor]:
    """Where ascent on one value a picture leads from `start`, and the values [steps + 1, pictures] on the way."""
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
    """Of image i, [i, channels, h, w], the mean of channel `channels[i]`, or its unit in `place`."""
    count, (h, w) = a.shape[1], a.shape[2:]
    if not all(0 <= channel < count for channel in channels):
        raise ConfigError(f"channels: expected numbers in [0, {count - 1}], got {list(channels)}")
    if place is not None and not (0 <= place[0] < h and 0 <= place[1] < w):
        raise ConfigError(
            f"place: expected a row in [0, {h - 1}] and a column in [0, {w - 1}], got {place}"
        )
    own = a[torch.arange(len(channels)), list(channels)]
    return own.mean((1, 2)) if place is None else own[:, place[0], place[1]]
