"""Images in memory as they are stored, one byte a value, and normalised where they are indexed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnn.data.spec import DatasetSpec

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class StoredImages:
    """8-bit images in a quarter of the memory of the normalised float32 that an index returns.

    `images[index]` is `(pixel / max_value - mean) / std`, to the last bit as if all of them had
    been normalised at once; `images[:]` is the whole tensor. In place of a tensor, in torch's
    functions, in a `TensorDataset` or by a tensor's methods, they are that whole tensor, which is
    made anew each time.

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

    def size(self, *axis: int) -> Any:
        """Shape, or the size of an axis, as of a tensor."""
        return self.pixels.size(*axis)

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

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("pixels", "spec"):
            raise AttributeError(name)
        return getattr(self[:], name)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        given = {key: _whole(value) for key, value in (keywords or {}).items()}
        return function(*_whole(arguments), **given)


def _whole(value: Any) -> Any:
    """Argument of a function of torch, with tensors in place of stored images."""
    if isinstance(value, StoredImages):
        return value[:]
    if isinstance(value, tuple | list):
        return type(value)(map(_whole, value))
    return value
