"""Generation of binary images against a critic."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from bnn.data import DatasetSpec, Split
from bnn.errors import ConfigError
from bnn.nn.readings import BATCH, Reading, evaluated
from bnn.nn.sites import Latents, Noise, host_noise
from bnn.seeds import stream
from bnn.tasks.base import Metric, Pictures, Scores, Task, TrainingStep
from bnn.tasks.binary_images import BinaryImages
from bnn.tasks.critics import (
    CRITICS,
    OBJECTIVES,
    clip_weights,
    critic_loss,
    generator_loss,
)
from bnn.tasks.sample_quality import FeatureNetwork, components, coverage, kernel_distance

BETAS = (0.5, 0.9)
"""Decays of the critic's Adam (Gulrajani et al. 2017)."""
FIRST_BATCHES, EVERY = 25, 500
"""Batches with `early_critic_steps`: the first ones, and each further one after so many."""
NEAR = 0.1
"""Distance of a unit's probability from ½ within which it is near the threshold."""
SMALLEST_SPLIT = 4
"""Images of a split that its samples can be compared with."""
SMALLEST = 1e-6
"""Smallest uniform number that is turned into a normal one."""
ROWS, COLUMNS = 8, 10
"""Samples that a run shows."""


@Task.registry.add("gan")
class GenerativeAdversarial(BinaryImages):
    """Generator of binary images, trained through a critic D (BinaryGAN, Dong & Yang 2018).

        generator:  E loss(D(G(z))),    z ~ N(0, I)
        critic:     `critic_steps` steps on each batch before the generator's

    Inputs are latent variables z, outputs pixels: those of a binary output layer, or values in
    [0, 1] of a real-valued one (`placement=none`). Bits of the latter are drawn for the reading
    `sampled` and thresholded for `threshold`.

    Metrics of as many samples as a split has images: the kernel distance to these images in the
    features of a classifier of the task's own, its standard error, classes covered, entropy of the
    classes, connected components of a sample beyond those of an image, and the share of output
    units whose probability is within 0.1 of ½.

    Args:
        objective: `gan`, `wgan` or `wgan_gp`.
        critic: `mlp` or `cnn`.
        critic_steps: steps of the critic on each batch.
        early_critic_steps: steps on each of the first 25 batches and on every 500th.
        critic_lr: learning rate of the critic's Adam.
        latents: number of latent variables.
        binarize: `nonzero`, `threshold` or `dynamic`, see `BinaryImages`.

    Raises:
        ConfigError: for another choice, or less than one step or latent variable.
    """

    metrics = {  # noqa: RUF012
        "distance": Metric("minimize", ""),
        "loss": Metric("minimize", ""),
        "distance_error": Metric("minimize", ""),
        "classes": Metric("maximize", "", digits=0),
        "entropy": Metric("maximize", "nats", digits=3),
        "fragments": Metric("minimize", "", digits=2),
        "near_threshold": Metric("minimize", "%", scale=100, digits=2),
    }
    selection = "distance"
    image_title = "another image"
    draws_probabilities = True
    fractional_bits = True
    same_operations = False
    scores_samples = False
    needs_generator = True
    features: FeatureNetwork
    trained_batches: Tensor

    def __init__(
        self,
        *,
        objective: str = "wgan_gp",
        critic: str = "mlp",
        critic_steps: int = 5,
        early_critic_steps: int = 100,
        critic_lr: float = 1e-4,
        latents: int = 128,
        binarize: str = "nonzero",
    ) -> None:
        super().__init__(binarize)
        for key, value, known in (
            ("objective", objective, OBJECTIVES),
            ("critic", critic, tuple(CRITICS)),
        ):
            if value not in known:
                raise ConfigError(f"task.{key}: expected one of {', '.join(known)}; got {value!r}")
        for key, number in (
            ("critic_steps", critic_steps),
            ("early_critic_steps", early_critic_steps),
            ("latents", latents),
        ):
            if number < 1:
                raise ConfigError(f"task.{key}: expected at least 1, got {number}")
        self.objective, self.critic, self.latents = objective, critic, latents
        self.critic_steps, self.early_critic_steps = critic_steps, early_critic_steps
        self.critic_lr = critic_lr

    def init(self, data: DatasetSpec) -> None:
        super().init(data)
        if data.classes is None:
            raise ConfigError(
                f"task=gan with data={data.name}: expected class labels, by which the samples are "
                "judged; got real-valued targets"
            )
        self.shape, self.class_count = data.shape, data.classes
        if data.test_size < SMALLEST_SPLIT:
            raise ConfigError(
                f"task=gan with data={data.name}: expected at least {SMALLEST_SPLIT} test images "
                f"to compare samples with; got {data.test_size}"
            )
        self.network = CRITICS[self.critic](data.shape)
        self.critic_optimizer = torch.optim.Adam(self.network.parameters(), self.critic_lr, BETAS)
        self.features = FeatureNetwork(data.shape, data.classes).requires_grad_(False)
        self.register_buffer("trained_batches", torch.zeros((), dtype=torch.int64))

    def measure(self, train: Split) -> None:
        super().measure(train)
        self.features.fit(
            lambda index: self.targets(train.images[index], train.labels[index]), train.labels
        )

    def input_shape(self, data: DatasetSpec) -> tuple[int, int, int]:
        return self.latents, 1, 1

    def output_size(self, data: DatasetSpec) -> int:
        return math.prod(data.shape)

    def batch(
        self, images: Tensor, labels: Tensor, noise: Noise = torch.rand_like
    ) -> tuple[Tensor, Tensor]:
        return self._latents(images, noise), self.binary(images, noise).flatten(1)

    def inputs(self, images: Tensor) -> Tensor:
        """Latent variables, the same for every run: as many as there are images."""
        generator = torch.Generator().manual_seed(stream(0, "targets"))
        return self._latents(images, host_noise(generator))

    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Expected pixels; `batch` draws them."""
        return self.expected(self.pixels(images)).flatten(1)

    def _latents(self, images: Tensor, noise: Noise) -> Tensor:
        """Normal latent variables, [n, latents, 1, 1], from uniform numbers."""
        like = images.new_empty(len(images), self.latents, 1, 1)
        normal: Tensor = torch.special.ndtri(noise(like).clamp(SMALLEST, 1 - SMALLEST))
        return normal

    def loss(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
        return generator_loss(self.objective, self.network(output)[:, 0].float())

    def score(self, outputs: Tensor, targets: Tensor, latents: Latents) -> dict[str, Tensor]:
        """Loss of each sample alone; `evaluate` has the metrics of all samples together."""
        return {"loss": generator_loss(self.objective, self.network(outputs[0])[:, 0])}

    def step(self, train: TrainingStep, inputs: Tensor, targets: Tensor) -> Tensor:
        done = int(self.trained_batches)
        early = done < FIRST_BATCHES or done % EVERY == 0
        self.trained_batches += 1
        count = self.early_critic_steps if early else self.critic_steps
        return self._steps(count, train, inputs, targets, first=done == 0)

    def typical_step(self, train: TrainingStep, inputs: Tensor, targets: Tensor) -> Tensor:
        """Step on a batch that is none of those with `early_critic_steps`."""
        return self._steps(self.critic_steps, train, inputs, targets)

    def _steps(
        self,
        count: int,
        train: TrainingStep,
        inputs: Tensor,
        targets: Tensor,
        *,
        first: bool = False,
    ) -> Tensor:
        """So many steps of the critic, then one of the generator; the first one is checked."""
        for number in range(count):
            fake = train.outputs(inputs)
            if first and number == 0:
                self._refuse_other_outputs(fake)
            self._critic_step(targets, fake, train.noise)
        self.network.requires_grad_(False)
        loss = train(inputs, targets)
        self.network.requires_grad_(True)
        return loss

    def _refuse_other_outputs(self, outputs: Tensor) -> None:
        """Check that a generator makes pixels."""
        low, high = float(outputs.min()), float(outputs.max())
        if not (low >= 0 and high <= 1):
            raise ConfigError(
                "task=gan: expected a network whose outputs are pixels in [0, 1], got values from "
                f"{low:.3g} to {high:.3g}; write model=mlp_generator, and neurons whose output is "
                "a bit or a probability"
            )

    def _critic_step(self, real: Tensor, fake: Tensor, noise: Noise) -> None:
        self.critic_optimizer.zero_grad(set_to_none=True)
        critic_loss(self.objective, self.network, real, fake, noise).backward()
        self.critic_optimizer.step()
        if self.objective == "wgan":
            clip_weights(self.network)

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"critic": self.critic_optimizer}

    def readings(self, model: nn.Module, draws: int, seed: int) -> tuple[Reading, ...]:
        """`sampled` and `threshold`; a mean over draws is no image."""
        return Reading.sampled(seed), Reading.threshold()

    @torch.no_grad()
    def evaluate(self, model: nn.Module, split: Split, reading: Reading) -> Scores:
        inputs, targets = self.fixed_batch(split)
        drawn, p = self.samples(model, inputs, reading)
        distance, error = kernel_distance(
            self.features.features(drawn), self.features.features(targets)
        )
        classes, entropy = coverage(self.features.classes(drawn), self.class_count)
        return {
            "distance": distance,
            "loss": float(generator_loss(self.objective, self.network(drawn)[:, 0]).mean()),
            "distance_error": error,
            "classes": classes,
            "entropy": entropy,
            "fragments": self._components(drawn) - self._components(targets),
            "near_threshold": float(((p - 0.5).abs() < NEAR).double().mean()),
        }

    @torch.no_grad()
    def samples(self, model: nn.Module, inputs: Tensor, reading: Reading) -> tuple[Tensor, Tensor]:
        """Binary images of latent variables, and the probabilities of their pixels.

        Args:
            model: generator.
            inputs: latent variables, [n, latents, 1, 1].
            reading: reading of its random units; a real-valued output is drawn or thresholded.

        Returns:
            [n, pixels] each.
        """
        handler, seed = reading.handler(inputs.device), reading.seed
        pixels = None if seed is None else torch.Generator().manual_seed(stream(seed, "pixels"))
        noise = None if pixels is None else host_noise(pixels)
        bits, probabilities = [], []
        for part in inputs.split(BATCH):
            outputs, layers = evaluated(model, part, handler)
            output, p = outputs[0], outputs[0]
            if len(layers) and torch.equal(layers[-1].bits.flatten(1), output):
                p = layers[-1].site.probs.flatten(1)
            else:
                output = (p > (0.5 if noise is None else noise(p))).to(p)
            bits.append(output)
            probabilities.append(p)
        return torch.cat(bits), torch.cat(probabilities)

    def _components(self, pixels: Tensor) -> float:
        """Mean number of connected components of images, over their channels."""
        channels, height, width = self.shape
        return float(components(pixels.view(-1, height, width)).double().mean()) * channels

    def pictures(self, model: nn.Module, images: Tensor, seed: int) -> dict[str, Pictures]:
        like = images[:1].expand(ROWS * COLUMNS, -1, -1, -1)
        inputs = self.inputs(like)
        rows: dict[str, Tensor] = {}
        for reading in self.readings(model, 1, seed):
            bits, _ = self.samples(model, inputs, reading)
            grid = bits.view(ROWS, COLUMNS, *self.shape).cpu()
            rows |= {f"{reading.name} {k}": row for k, row in enumerate(grid, 1)}
        return {"samples": Pictures(rows)}
