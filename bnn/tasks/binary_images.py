"""Images of binary pixels, and the likelihood of such images under logits."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bnn.data import DatasetSpec, Split
from bnn.errors import ConfigError
from bnn.nn.sites import Noise
from bnn.tasks.base import Task

BINARIZE = ("threshold", "dynamic", "nonzero")
FLOAT_LEVELS = 2**20
"""Levels to which floating-point pixels are rounded, so that black ones are 0 again."""
SMALLEST_MEAN = 0.001
"""Distance from 0 and 1 within which the mean of a pixel is kept, whose logit is added to the
outputs."""
MEASURED_AT_ONCE = 5000
"""Number of training images whose pixels are averaged at once."""


class BinaryImages(Task):
    """Task whose images have binary pixels.

    Inputs are pixels minus their mean over the training split; outputs are logits, to which the
    logit of the mean of their pixel is added, so that a network begins at the marginal likelihood.

    Args:
        binarize: `threshold`, a pixel above ½ is 1; `nonzero`, any pixel above 0; or `dynamic`, a
            pixel is 1 with its value as probability, drawn anew for each batch (Salakhutdinov &
            Murray 2008), and once and for all for validation and test.

    Raises:
        ConfigError: for another choice.
    """

    pixel_mean: Tensor

    def __init__(self, binarize: str) -> None:
        super().__init__()
        if binarize not in BINARIZE:
            raise ConfigError(
                f"task.binarize: expected one of {', '.join(BINARIZE)}; got {binarize!r}"
            )
        self.binarize = binarize
        self._mean, self._std, self._levels = 0.0, 1.0, 1

    def init(self, data: DatasetSpec) -> None:
        self._mean, self._std, self._levels = data.mean, data.std, data.max_value
        self.register_buffer("pixel_mean", torch.full(data.shape, 0.5))

    def measure(self, train: Split) -> None:
        total = torch.zeros_like(self.pixel_mean, dtype=torch.float64)
        for start in range(0, len(train.images), MEASURED_AT_ONCE):
            pixels = self.pixels(train.images[start : start + MEASURED_AT_ONCE])
            total += self.expected(pixels).sum(0, dtype=torch.float64)
        self.pixel_mean.copy_(total / len(train.images))

    def pixels(self, images: Tensor) -> Tensor:
        """Pixels in [0, 1] of normalised images, without the rounding of the normalisation.

        Args:
            images: [n, c, h, w].

        Returns:
            [n, c, h, w].

        Raises:
            ConfigError: before `init`.
        """
        if not hasattr(self, "pixel_mean"):
            raise ConfigError(
                f"task: this {type(self).__name__} has seen no training split; pass the object "
                "that bnn.fit was given"
            )
        pixels = (images * self._std + self._mean).clamp(0, 1)
        if pixels.dtype.itemsize < 4:  # which do not hold so many levels
            return pixels
        levels = self._levels if self._levels > 1 else FLOAT_LEVELS
        return (pixels * levels).round() / levels

    def expected(self, pixels: Tensor) -> Tensor:
        """Expectation of the binary pixels, [n, c, h, w]."""
        if self.binarize == "dynamic":
            return pixels
        return (pixels > (0.5 if self.binarize == "threshold" else 0)).to(pixels)

    def binary(self, images: Tensor, noise: Noise) -> Tensor:
        """Binary pixels of normalised images.

        Args:
            images: [n, c, h, w].
            noise: source of uniform numbers.

        Returns:
            0 and 1, [n, c, h, w].
        """
        expected = self.expected(self.pixels(images))
        return (noise(expected) < expected).to(images) if self.binarize == "dynamic" else expected

    def offset(self, mean: Tensor) -> Tensor:
        """Logits of the means of pixels, which are kept off 0 and 1."""
        return torch.logit(mean.clamp(SMALLEST_MEAN, 1 - SMALLEST_MEAN))


def negative_log_likelihood(logits: Tensor, pixels: Tensor) -> Tensor:
    """Negative log-likelihood of binary pixels, summed over them, in nats.

    Args:
        logits: [n, pixels], or [draws, n, pixels].
        pixels: 0 and 1, [n, pixels].

    Returns:
        [n], or [draws, n].
    """
    pixels = pixels.expand_as(logits)
    return F.binary_cross_entropy_with_logits(logits, pixels, reduction="none").sum(-1)
