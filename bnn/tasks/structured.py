"""Structured prediction: the lower half of an image from its upper half."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from bnn import schema
from bnn.data import DatasetSpec
from bnn.errors import ConfigError
from bnn.nn.readings import Reading
from bnn.nn.replicas import log_mean_exp
from bnn.nn.sites import Latents, Noise
from bnn.tasks.base import Metric, Pictures, Task
from bnn.tasks.binary_images import BinaryImages, negative_log_likelihood

PICTURES = 10
"""Draws of the lower half of each image that a run shows."""


@Task.registry.add("structured")
class StructuredPrediction(BinaryImages):
    """Prediction of the lower half of a binary image from its upper half (Raiko et al. 2015).

        training:    -log p(y | b),                 one draw of the bits b a sample
        evaluation:  -log 1/m Σ_k p(y | b_k),       an upper bound of -log p(y | x) in expectation

    summed over the pixels y, in nats. The bound falls with the number m of draws: one of the
    reading `sampled`, `trainer.evaluation_samples` of `mc_mean`. The reading `threshold` is the
    likelihood under the more probable bits.

    Args:
        binarize: `threshold` or `dynamic`, see `BinaryImages`.

    Raises:
        ConfigError: for another choice, or images of a single row.
    """

    metrics = {"loss": Metric("minimize", "nats", digits=2)}  # noqa: RUF012
    compared_reading = schema.MC_MEAN
    importance_weights = True
    fractional_bits = True

    def __init__(self, *, binarize: str = "threshold") -> None:
        super().__init__(binarize)

    def input_shape(self, data: DatasetSpec) -> tuple[int, int, int]:
        channels, height, width = data.shape
        if height < 2:
            raise ConfigError(
                f"task=structured with data={data.name}: expected images of at least 2 rows, got "
                f"{height}"
            )
        return channels, height // 2, width

    def output_size(self, data: DatasetSpec) -> int:
        return math.prod(data.shape) - math.prod(self.input_shape(data))

    def batch(
        self, images: Tensor, labels: Tensor, noise: Noise = torch.rand_like
    ) -> tuple[Tensor, Tensor]:
        pixels = self.binary(images, noise)
        return self._upper(pixels - self.pixel_mean), self._lower(pixels)

    def inputs(self, images: Tensor) -> Tensor:
        """Upper halves of the expected pixels; `batch` draws them."""
        return self._upper(self.expected(self.pixels(images)) - self.pixel_mean)

    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Lower halves of the expected pixels; `batch` draws them."""
        return self._lower(self.expected(self.pixels(images)))

    def logits(self, output: Tensor) -> Tensor:
        """Logits of the pixels of the lower half, [..., pixels]."""
        return output + self.offset(self._lower(self.pixel_mean[None]))

    def loss(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
        return negative_log_likelihood(self.logits(output), targets)

    def score(self, outputs: Tensor, targets: Tensor, latents: Latents) -> dict[str, Tensor]:
        nll = negative_log_likelihood(self.logits(outputs.double()), targets.double())
        return {"loss": -log_mean_exp(-nll)}

    def predict(self, output: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(output))

    def pictures(self, model: nn.Module, images: Tensor, seed: int) -> dict[str, Pictures]:
        pixels, inputs = self.expected(self.pixels(images)), self.inputs(images)
        with torch.no_grad():
            drawn = Reading.mc_mean(PICTURES, seed).outputs(model, inputs)
            lower = self.predict(drawn).view(len(drawn), *pixels[:, :, inputs.shape[2] :].shape)
        upper = self._upper(pixels).expand(len(drawn), -1, -1, -1, -1)
        samples = torch.cat([upper, lower], 3).cpu()
        rows = {"image": pixels.cpu()}
        rows |= {f"draw {number}": one for number, one in enumerate(samples, 1)}
        return {"lower_halves": Pictures(rows)}

    def _upper(self, pixels: Tensor) -> Tensor:
        return pixels[:, :, : pixels.shape[2] // 2]

    def _lower(self, pixels: Tensor) -> Tensor:
        return pixels[:, :, pixels.shape[2] // 2 :].flatten(1)
