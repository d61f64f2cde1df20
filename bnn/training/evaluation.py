"""Evaluation: loss and accuracy of a network under a stated way of drawing its bits.

A net with random units has three: units drawn once (its own rule, the headline), class probabilities averaged over M draws,
and units thresholded (those that are no bits: without their noise). A deterministic one has the threshold only, a
real-valued one no choice at all.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.data import Split
from bnn.neurons import Draw, Neuron, Noise, Noisy, Site
from bnn.passes import forks, replicated
from bnn.seeds import stream

BATCH = 500


@dataclass(frozen=True)
class Score:
    """Mean negative log-likelihood in nats, and the share of correct answers in [0, 1]."""

    loss: float
    accuracy: float


def generator_noise(generator: torch.Generator) -> Noise:
    """Uniform numbers from one generator, in the memory layout of what they are compared with."""
    return lambda like: torch.empty_like(like).uniform_(generator=generator)


def seeded_noise(seed: int, device: torch.device) -> Noise:
    """Uniform numbers that start anew from `seed` on `device`."""
    return generator_noise(torch.Generator(device).manual_seed(stream(seed, "evaluation")))


@torch.no_grad()
def probabilities(model: nn.Module, images: Tensor, draw: Draw, samples: int = 1) -> Tensor:
    """Class probabilities [n, classes] in float64, averaged over `samples` draws."""
    p = F.softmax(model(images, replicated(draw, forks(samples))).double(), dim=1)
    return p.view(-1, len(images), p.shape[1]).mean(0)


def evaluate(model: nn.Module, split: Split, draw: Draw, samples: int = 1) -> Score:
    """Score of `model` in evaluation mode on a split, its bits drawn by `draw`, probabilities averaged over `samples`."""
    training = model.training
    model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=split.labels.device)
    correct = torch.zeros((), dtype=torch.int64, device=split.labels.device)
    for images, labels in zip(split.images.split(BATCH), split.labels.split(BATCH), strict=True):
        p = probabilities(model, images, draw, samples)
        loss -= p.gather(1, labels[:, None]).clamp(min=1e-45).log().sum()
        correct += (p.argmax(1) == labels).sum()
    model.train(training)
    n = len(split.labels)
    return Score(float(loss) / n, float(correct) / n)


def own_rule(noise: Noise) -> Draw:
    """Bits by each neuron's own rule, stochastic ones sampled with `noise`."""
    return lambda site: dataclasses.replace(site, noise=noise).fire()


def thresholded(layer: Site | Noisy) -> Tensor:
    """Binary units thresholded, others without their noise."""
    return layer.threshold()


def is_stochastic(model: nn.Module) -> bool:
    return any(isinstance(module, Neuron) and module.random for module in model.modules())


def evaluate_all(model: nn.Module, split: Split, samples: int, seed: int) -> dict[str, Score]:
    """Every evaluation that applies: "own" is the net's own rule; "mean" and "threshold" are for random nets only."""
    device = split.images.device
    scores = {"own": evaluate(model, split, own_rule(seeded_noise(seed, device)))}
    if is_stochastic(model):
        scores["mean"] = evaluate(model, split, own_rule(seeded_noise(seed, device)), samples)
        scores["threshold"] = evaluate(model, split, thresholded)
    return scores
