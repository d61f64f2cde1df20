"""Images in memory as they are stored, one byte a value, and normalised where they are indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnn.data.spec import DatasetSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class StoredImages:
    """8-bit images in a quarter of the memory of the normalised float32 that an index returns.

    `images[index]` is `(pixel / max_value - mean) / std`, to the last bit as if all of them had
    been normalised at once; `images[:]` is the whole tensor.

    Args:
        pixels: uint8 [n, c, h, w], on the CPU.
        spec: facts of the data set.
    """

    def __init__(self, pixels: Tensor, spec: DatasetSpec) -> None:
        self.pixels, self.spec = pixels, spec

    def __getitem__(self, index: Tensor | slice | int | list[int]) -> Tensor:
        pixels = self.pixels[index].float()
        return pixels.div_(self.spec.max_value).sub_(self.spec.mean).div_(self.spec.std)

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def shape(self) -> torch.Size:
        """Shape, [n, c, h, w]."""
        return self.pixels.shape

    @property
    def device(self) -> torch.device:
        """Device of the tensors that an index returns."""
        return self.pixels.device

    def head(self, size: int) -> StoredImages:
        """The first `size` images, which share the memory of these."""
        return StoredImages(self.pixels[:size], self.spec)

    def to(self, device: torch.device | str) -> StoredImages | Tensor:
        """These images on the CPU, or a normalised tensor on another device.

        Args:
            device: the device.
        """
        import torch

        return self if torch.device(device).type == "cpu" else self[:].to(device)
