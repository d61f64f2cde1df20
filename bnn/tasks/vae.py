"""Variational autoencoder with binary latent variables."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn import schema
from bnn.data import DatasetSpec
from bnn.errors import ConfigError
from bnn.nn.handlers import apply, evaluating
from bnn.nn.readings import Reading, readings, seeded_handler, seeded_noise
from bnn.nn.replicas import log_mean_exp, split
from bnn.nn.sites import Latent, Latents, Noise, RandomUnits, Site
from bnn.tasks.base import Metric, Pictures, Task
from bnn.tasks.binary_images import BinaryImages, negative_log_likelihood

KL = ("analytic", "sampled")


@Task.registry.add("vae")
class VariationalAutoencoder(BinaryImages):
    """Evidence bound of binary latent variables b with a prior of ½ each (Kingma & Welling 2014).

        -ELBO = E[-log p(x | b)] + KL(q(b | x), p(b))
        -IWAE_m = E[-log 1/m Σ_k p(x | b_k) p(b_k) / q(b_k | x)],   k = 1, …, m

    summed over pixels and latent variables, in nats; -ELBO ≥ -IWAE_m ≥ -log p(x). Training and the
    reading `sampled` take -ELBO by one draw of b a sample; the reading `mc_mean` takes the
    importance-weighted bound (Burda et al. 2016) of m = `trainer.evaluation_samples` draws.

    Args:
        binarize: `threshold` or `dynamic`, see `BinaryImages`.
        kl: `analytic`, the divergence by the probabilities of the latent variables; or `sampled`,
            log q(b | x) - log p(b) by their bits. The logits of log q are constants there: their
            derivative b - p has mean 0, and only adds noise. Under estimators that evaluate the
            loss at bits between 0 and 1 log q is no density, and `sampled` is refused.

    Raises:
        ConfigError: for another choice.
    """

    metrics = {  # noqa: RUF012
        "loss": Metric("minimize", "nats", digits=2),
        "reconstruction": Metric("minimize", "nats", digits=2),
    }
    compared_reading = schema.MC_MEAN
    needs_latents = True

    def __init__(self, *, binarize: str = "dynamic", kl: str = "analytic") -> None:
        super().__init__(binarize)
        if kl not in KL:
            raise ConfigError(f"task.kl: expected one of {', '.join(KL)}; got {kl!r}")
        self.kl = kl
        self.fractional_bits = kl == "analytic"
        self.importance_weights = kl == "sampled"
        self.logits_in_loss = kl == "analytic"

    def output_size(self, data: DatasetSpec) -> int:
        return math.prod(data.shape)

    def batch(
        self, images: Tensor, labels: Tensor, noise: Noise = torch.rand_like
    ) -> tuple[Tensor, Tensor]:
        pixels = self.binary(images, noise)
        return pixels - self.pixel_mean, pixels.flatten(1)

    def inputs(self, images: Tensor) -> Tensor:
        """Expected pixels less their means; `batch` draws them."""
        return self.expected(self.pixels(images)) - self.pixel_mean

    def targets(self, images: Tensor, labels: Tensor) -> Tensor:
        """Expected pixels; `batch` draws them."""
        return self.expected(self.pixels(images)).flatten(1)

    def logits(self, output: Tensor) -> Tensor:
        """Logits of the pixels, [..., pixels]."""
        return output + self.offset(self.pixel_mean.flatten())

    def loss(self, output: Tensor, targets: Tensor, latents: Latents) -> Tensor:
        reconstruction = negative_log_likelihood(self.logits(output), targets)
        return reconstruction + self.divergence(latents)

    def divergence(self, latents: Latents) -> Tensor:
        """KL(q(b | x), p(b)) of each row, by `kl`.

        Args:
            latents: binary layers with their bits, [n, *units].

        Returns:
            [n].
        """
        one = analytic_kl if self.kl == "analytic" else sampled_kl
        return torch.stack([one(latent) for latent in latents]).sum(0)

    def statistics(self, output: Tensor, targets: Tensor) -> dict[str, Tensor]:
        return {"reconstruction": negative_log_likelihood(self.logits(output.float()), targets)}

    def score(self, outputs: Tensor, targets: Tensor, latents: Latents) -> dict[str, Tensor]:
        nll = negative_log_likelihood(self.logits(outputs.double()), targets.double())
        if len(outputs) == 1:
            loss = nll[0] + self.divergence(latents).double()
        else:
            sampled = torch.stack([sampled_kl(latent) for latent in latents]).sum(0).double()
            loss = -log_mean_exp(-nll - split(sampled, len(outputs)))
        return {"loss": loss, "reconstruction": nll.mean(0)}

    def readings(self, model: nn.Module, draws: int, seed: int) -> tuple[Reading, ...]:
        """`sampled` and `mc_mean`; the more probable bits are no draw of q, and bound nothing."""
        return tuple(one for one in readings(model, draws, seed) if one.name != schema.THRESHOLD)

    def predict(self, output: Tensor) -> Tensor:
        return torch.sigmoid(self.logits(output))

    def pictures(self, model: nn.Module, images: Tensor, seed: int) -> dict[str, Pictures]:
        handler, noise = seeded_handler(seed, images.device), seeded_noise(seed, images.device)
        inputs = self.inputs(images)

        def prior(layer: Site | RandomUnits) -> Tensor:
            if isinstance(layer, RandomUnits):  # of the decoder
                return handler(layer)
            half = torch.full_like(layer.preactivation, 0.5)
            return (noise(half) < half).to(half)

        def drawn() -> Tensor:
            return self.predict(apply(model, inputs, handler)).view_as(images).cpu()

        with torch.no_grad(), evaluating(model):
            samples = self.predict(apply(model, inputs, prior)).view_as(images).cpu()
            rows = {
                "image": self.expected(self.pixels(images)).cpu(),
                "reconstruction": drawn(),
                "again": drawn(),
                "sample": samples,
            }
        return {"reconstructions": Pictures(rows)}


def analytic_kl(latent: Latent) -> Tensor:
    """Divergence of independent bits from a prior of ½ each.

        Σ p ℓ - softplus(ℓ) + log 2

    Args:
        latent: binary layer, [n, *units].

    Returns:
        [n].
    """
    site = latent.site
    each: Tensor = site.probs * site.logits - F.softplus(site.logits) + math.log(2)
    return each.flatten(1).sum(1)


def sampled_kl(latent: Latent) -> Tensor:
    """Log-ratio log q(b) - log p(b) of independent bits and a prior of ½ each.

        Σ b ℓ - softplus(ℓ) + log 2

    The logits ℓ of q are detached; the bits keep their path, on which this form is linear, so that
    straight-through is exact for it.

    Args:
        latent: binary layer and its bits, [n, *units].

    Returns:
        [n].
    """
    logits = latent.site.logits.detach()
    each: Tensor = latent.bits * logits - F.softplus(logits) + math.log(2)
    return each.flatten(1).sum(1)
