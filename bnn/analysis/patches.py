"""The regions of images that excite the units of a layer most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.analysis.receptive_fields import Fields, receptive_fields
from bnn.analysis.responses import excitation
from bnn.errors import ConfigError
from bnn.nn.handlers import sampled
from bnn.nn.readings import BATCH, seeded_noise


@dataclass(frozen=True)
class Patches:
    """For each channel of a layer the receptive fields that excite it most, the highest first."""

    layer: str
    pixels: Tensor
    """[channels, count, c, rows, columns], of the images as they were given; NaN beyond an image's edge."""
    values: Tensor
    """[channels, count]: pre-activations, averaged over draws."""
    images: Tensor
    """int64 [channels, count]: which image."""
    places: Tensor
    """int64 [channels, count, 2]: row and column of the unit in its layer."""

    @property
    def mean(self) -> Tensor:
        """[channels, c, rows, columns]: the mean patch of each channel, over those that reach the pixel."""
        return self.pixels.nanmean(1)


def most_exciting(
    model: nn.Module, layer: str, images: Tensor, *, count: int, draws: int, seed: int
) -> Patches:
    """The `count` patches of `images` [n, c, h, w] that excite each channel of `layer` most, at most one an image: where its
    pre-activation, averaged over `draws` of the bits below, is highest.

    Errors: ConfigError for a layer that the network lacks, or for more patches than images.
    """
    if not 1 <= count <= len(images):
        raise ConfigError(
            f"count: expected 1 to {len(images)} patches, one an image at most; got {count}"
        )
    fields = receptive_fields(model, layer, (images.shape[1], images.shape[2], images.shape[3]))
    mean = _mean_excitation(model, layer, images, draws, seed)
    highest, where = mean.flatten(2).max(2)
    best, order = highest.sort(dim=0, descending=True, stable=True)
    which = order[:count].T
    place = where.T.gather(1, which)
    places = torch.stack([place // mean.shape[3], place % mean.shape[3]], 2)
    return Patches(layer, cut(images.cpu(), fields, which, places), best[:count].T, which, places)


@torch.no_grad()
def _mean_excitation(model: nn.Module, layer: str, images: Tensor, draws: int, seed: int) -> Tensor:
    """[n, channels, h, w], on the CPU."""
    reading = sampled(seeded_noise(seed, images.device))
    means = [
        torch.stack([excitation(model, layer, batch, reading) for _ in range(draws)]).mean(0)
        for batch in images.split(BATCH)
    ]
    return torch.cat(means).cpu()


def cut(images: Tensor, fields: Fields, which: Tensor, places: Tensor) -> Tensor:
    """Windows of `images` [n, c, h, w] around receptive fields: for `which` image [...] and place [..., 2] in the layer a
    patch of the fields' size, [..., c, rows, columns], NaN beyond the image."""
    rows, columns = fields.size
    padded = F.pad(images, (columns, columns, rows, rows), value=torch.nan)
    corners = fields.corners[places[..., 0], places[..., 1]] + torch.tensor(fields.size)
    patches = [
        padded[image, :, top : top + rows, left : left + columns]
        for image, (top, left) in zip(
            which.flatten().tolist(), corners.view(-1, 2).tolist(), strict=True
        )
    ]
    return torch.stack(patches).view(*which.shape, -1, rows, columns)
