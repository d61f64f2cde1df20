"""Image patches that excite the units of a layer most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.analysis.receptive_fields import ReceptiveFields, receptive_fields
from bnn.analysis.responses import preactivations
from bnn.errors import ConfigError
from bnn.nn.handlers import sampled
from bnn.nn.readings import BATCH, seeded_noise


@dataclass(frozen=True)
class Patches:
    """Receptive fields that excite each channel of a layer most, the highest first.

    Args:
        layer: module name.
        pixels: [channels, count, c, rows, columns] of the images; NaN beyond an image's edge.
        values: [channels, count], pre-activations averaged over draws.
        images: int64 [channels, count], index of the image.
        places: int64 [channels, count, 2], row and column of the unit in its layer.
    """

    layer: str
    pixels: Tensor
    values: Tensor
    images: Tensor
    places: Tensor

    @property
    def mean(self) -> Tensor:
        """[channels, c, rows, columns]: mean over the patches that reach a pixel."""
        return self.pixels.nanmean(1)


def top_patches(
    model: nn.Module, layer: str, images: Tensor, *, count: int, draws: int, seed: int
) -> Patches:
    """Patches on which the pre-activation of each channel is highest, at most one an image.

    Args:
        model: network.
        layer: module name of an activation layer, or SCORES.
        images: [n, c, h, w], normalised.
        count: patches of each channel.
        draws: draws of the bits below that the pre-activation is averaged over.
        seed: of the draws.

    Raises:
        ConfigError: for a layer that the network lacks, or for more patches than images.
    """
    if not 1 <= count <= len(images):
        raise ConfigError(
            f"count: expected 1 to {len(images)} patches, one an image at most; got {count}"
        )
    fields = receptive_fields(model, layer, (images.shape[1], images.shape[2], images.shape[3]))
    mean = _mean_preactivations(model, layer, images, draws, seed)
    highest, where = mean.flatten(2).max(2)
    best, order = highest.sort(dim=0, descending=True, stable=True)
    which = order[:count].T
    place = where.T.gather(1, which)
    places = torch.stack([place // mean.shape[3], place % mean.shape[3]], 2)
    pixels = cut_patches(images.cpu(), fields, which, places)
    return Patches(layer, pixels, best[:count].T, which, places)


@torch.no_grad()
def _mean_preactivations(
    model: nn.Module, layer: str, images: Tensor, draws: int, seed: int
) -> Tensor:
    """[n, channels, h, w], on the CPU."""
    reading = sampled(seeded_noise(seed, images.device))
    means = [
        torch.stack([preactivations(model, layer, batch, reading) for _ in range(draws)]).mean(0)
        for batch in images.split(BATCH)
    ]
    return torch.cat(means).cpu()


def cut_patches(images: Tensor, fields: ReceptiveFields, which: Tensor, places: Tensor) -> Tensor:
    """Windows of images around receptive fields, NaN beyond the image.

    Args:
        images: [n, c, h, w].
        fields: receptive fields of the layer.
        which: int64 [...], index of each patch's image.
        places: int64 [..., 2], row and column of its unit in the layer.

    Returns:
        [..., c, rows, columns], of the fields' size.
    """
    rows, columns = fields.size
    padded = F.pad(images, (columns, columns, rows, rows), value=torch.nan)
    corners = fields.corners[places[..., 0], places[..., 1]] + torch.tensor(fields.size)
    pairs = zip(which.flatten().tolist(), corners.view(-1, 2).tolist(), strict=True)
    patches = [
        padded[image, :, top : top + rows, left : left + columns] for image, (top, left) in pairs
    ]
    return torch.stack(patches).view(*which.shape, -1, rows, columns)
