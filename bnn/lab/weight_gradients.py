"""Gradients of latent weights: exact bias on one small layer, and noise over the batch size.

Gradients are those by the mean w̄ = 2θ - 1 of each weight, by which the mirror step goes; the exact
one is dE f / dw̄ = E[f(w = 1) - f(w = -1)] / 2.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from bnn.lab.estimate import Estimate
from bnn.lab.intervals import estimate_of_mean
from bnn.nn.forward import ForwardClosure
from bnn.nn.sites import Noise, generator_noise
from bnn.nn.weight_draws import LRT, SAMPLED, WeightDraws, drawing_weights
from bnn.nn.weight_layers import BinaryLinear, binary_weight_layers
from bnn.nn.weights import SampledWeights, WeightRule
from bnn.tasks import Task

NODES = 64
"""Nodes of the quadrature over the noise of one pre-activation."""


def given(uniform: Tensor) -> Noise:
    """Source of noise that returns given numbers.

    Args:
        uniform: of the shape that is asked for but for leading axes, or a scalar.
    """
    return lambda like: uniform.expand_as(like)


@dataclass(frozen=True)
class Moments:
    """Mean and total variance of an estimate of the gradient of a layer's weights.

    Args:
        mean: [weights].
        variance: trace of the covariance.
    """

    mean: Tensor
    variance: float


@dataclass(frozen=True)
class LinearProblem:
    """Logistic loss of one linear layer with binary weights on a batch.

    Args:
        inputs: [samples, weights].
        signs: label of each sample, -1 or 1.
        latents: η, [weights].
    """

    inputs: Tensor
    signs: Tensor
    latents: Tensor

    @classmethod
    def random(cls, weights: int, samples: int, seed: int) -> LinearProblem:
        """Problem with standard normal inputs, random labels and latents in [-0.9, 0.9].

        Args:
            weights: number of weights.
            samples: size of the batch.
            seed: seed of all of them.
        """
        generator = torch.Generator().manual_seed(seed)
        inputs = torch.randn(samples, weights, generator=generator, dtype=torch.float64)
        signs = 2.0 * torch.randint(2, (samples,), generator=generator).double() - 1
        latents = 1.8 * torch.rand(weights, generator=generator, dtype=torch.float64) - 0.9
        return cls(inputs, signs, latents)

    def layer(self) -> BinaryLinear:
        """The layer, with the latent weights of the problem and weights of ±1."""
        count = len(self.latents)
        layer = BinaryLinear(
            SampledWeights(scale="none"), count, 1, bias=False, dtype=torch.float64
        )
        with torch.no_grad():
            layer.weight.copy_(self.latents[None])
        return layer

    def loss(self, z: Tensor) -> Tensor:
        """Loss log(1 + e^(-s z)) of each sample.

        Args:
            z: pre-activations, [samples, 1].

        Returns:
            [samples].
        """
        return F.softplus(-self.signs * z[:, 0])

    def gradients(self) -> Iterator[tuple[float, Tensor, Tensor, Tensor]]:
        """Each configuration of the weights: probability, loss, gradient by w, and scores by w̄.

        Yields:
            Probability; mean loss, a scalar; ∂f/∂w and d log q / dw̄, [weights].
        """
        layer, probs = self.layer(), torch.sigmoid(2 * self.latents)
        for bits in itertools.product((0.0, 1.0), repeat=len(probs)):
            b = torch.tensor(bits, dtype=torch.float64)
            layer.zero_grad()
            # a weight is 1 where its uniform number lies below its probability
            uniform = torch.where(b > 0, probs / 2, (1 + probs) / 2)
            with drawing_weights(WeightDraws(given(uniform), SAMPLED)):
                loss = self.loss(layer(self.inputs)).mean()
            loss.backward()
            mass = float(torch.where(b > 0, probs, 1 - probs).prod())
            score = torch.where(b > 0, 1 / probs, -1 / (1 - probs)) / 2
            assert layer.weight.grad is not None
            yield mass, loss.detach(), layer.weight.grad[0].clone(), score

    def exact_moments(self) -> dict[str, Moments]:
        """Moments of each rule's estimate by enumeration, and of local reparameterisation's.

        Returns:
            By name: `exact` (the true gradient, without variance), `sample`, `score function`
            (with the expected loss as its baseline) and `lrt`.
        """
        found = list(self.gradients())
        expected = sum(mass * loss for mass, loss, _, _ in found)
        estimates: dict[str, list[Tensor]] = {
            "sample": [gradient for _, _, gradient, _ in found],
            "score function": [(loss - expected) * score for _, loss, _, score in found],
        }
        masses = torch.tensor([mass for mass, *_ in found], dtype=torch.float64)
        moments = {name: _moments(torch.stack(rows), masses) for name, rows in estimates.items()}
        exact = Moments(moments["score function"].mean, 0.0)
        return {"exact": exact, **moments, "lrt": self._gaussian_moments()}

    def _gaussian_moments(self) -> Moments:
        """Moments of local reparameterisation, whose samples have independent noise."""
        nodes, weights = (torch.tensor(one) for one in hermegauss(NODES))
        masses, layer = weights / weights.sum(), self.layer()
        rows = []
        for node in nodes:
            uniform = torch.special.ndtr(node)
            with drawing_weights(WeightDraws(given(uniform), LRT)):
                losses = self.loss(layer(self.inputs))
            rows.append(
                torch.stack(
                    [
                        torch.autograd.grad(loss, layer.weight, retain_graph=True)[0][0]
                        for loss in losses
                    ]
                )
            )
        of_samples = [_moments(one, masses) for one in torch.stack(rows, 1)]
        count = len(of_samples)
        mean = torch.stack([one.mean for one in of_samples]).mean(0)
        return Moments(mean, sum(one.variance for one in of_samples) / count**2)


def _moments(rows: Tensor, masses: Tensor) -> Moments:
    mean = (masses[:, None] * rows).sum(0)
    return Moments(mean, float((masses * (rows - mean).square().sum(1)).sum()))


def relative_bias(found: Moments, exact: Moments) -> float:
    """Norm of the bias over that of the exact gradient."""
    return float((found.mean - exact.mean).norm() / exact.mean.norm())


def cosine(found: Moments, exact: Moments) -> float:
    """Cosine of the mean estimate with the exact gradient."""
    return float(F.cosine_similarity(found.mean, exact.mean, dim=0))


@contextlib.contextmanager
def ruled(model: nn.Module, rule: WeightRule) -> Iterator[None]:
    """Context in which another rule trains the binary weights of a network.

    Args:
        model: network with binary weights, which keep their latent weights.
        rule: the rule.
    """
    layers = [layer for _, layer in binary_weight_layers(model)]
    before = [layer.rule for layer in layers]
    try:
        for layer in layers:
            layer.rule = rule
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            layer.rule = own


def sampled_gradients(
    model: nn.Module,
    layer: str,
    task: Task,
    batch: Callable[[Generator], tuple[Tensor, Tensor]],
    draws: int,
    seed: int,
) -> Tensor:
    """Gradients of a layer's latent weights by plain backpropagation, each on a fresh batch.

    Args:
        model: network with binary weights and without binary neurons.
        layer: name of the layer.
        task: task of the network.
        batch: function that draws a batch (inputs, targets).
        draws: number of gradients.
        seed: seed of the batches and of the weights' noise.

    Returns:
        [draws, weights].
    """
    model.train()
    latent = model.get_submodule(layer).weight
    assert isinstance(latent, nn.Parameter)
    generator = torch.Generator().manual_seed(seed)
    noise = generator_noise(torch.Generator(latent.device).manual_seed(seed))
    rows = []
    for _ in range(draws):
        forward = ForwardClosure(model, *batch(generator), task.loss, noise, record=False)
        loss = forward(lambda site: site.fire()).loss.mean()
        rows.append(torch.autograd.grad(loss, latent)[0].flatten())
    return torch.stack(rows)


def total_variance(rows: Tensor) -> Estimate:
    """Trace of the covariance of independent rows [n, numbers], with its interval."""
    squares = (rows.double() - rows.double().mean(0)).square().sum(1)
    return estimate_of_mean(squares * len(rows) / (len(rows) - 1))
