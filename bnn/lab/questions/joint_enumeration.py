"""Exact gradients of a batch whose samples are coupled, over all joint configurations of its bits.

The estimator `enumeration` treats samples one by one. Under batch norm above a binary layer the
bits of one sample change the losses of the others, and the expectation is a sum over the joint
configurations of the whole batch. The network is small: three samples, two layers of two units.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bnn.config.titles import estimator_title
from bnn.estimators import Estimator
from bnn.estimators.enumeration import configurations
from bnn.lab.gradient_sampler import BELOW, GradientSampler
from bnn.models import MLP
from bnn.nn.neurons import Real, Stochastic
from bnn.nn.noise import Logistic

SAMPLES, HIDDEN, INPUTS = 3, 2, 3
NORMS = ("batch", "running", "none")
PLACEMENTS: dict[str, tuple[int, ...]] = {"first": (0,), "both": (0, 1)}
"""Positions of the binary layers by the name of the placement."""
ESTIMATORS: tuple[dict[str, Any], ...] = (
    {"name": "reinforce", "baseline": "none"},
    {"name": "st", "pseudo_derivative": "density"},
)


def small_network(norm: str, binary: Sequence[int], seed: int = 0) -> nn.Module:
    """Multi-layer perceptron of bnn.models with HIDDEN units in each layer, in float64.

    Args:
        norm: choice of `model.norm`.
        binary: positions of the binary layers.
        seed: seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        law = Logistic()
        activations = [
            Stochastic(law=law) if layer in binary else Real(law=law) for layer in range(MLP.depth)
        ]
        return MLP((1, 1, INPUTS), 2, activations, hidden=HIDDEN, norm=norm).double()


class ForcedBits:
    """Source of uniform numbers under which the units fire given bits.

    Args:
        bits: bits in the order in which the units are asked.

    Attributes:
        mass: probability of the bits that were fired so far.
    """

    def __init__(self, bits: Tensor) -> None:
        self.bits, self.mass = bits, 1.0

    def __call__(self, p: Tensor) -> Tensor:
        taken, self.bits = self.bits[: p.numel()].view_as(p), self.bits[p.numel() :]
        self.mass *= float(p.where(taken, 1 - p).prod())
        return (p / 2).where(taken, (1 + p) / 2)


def expected_estimate(sampler: GradientSampler, estimator: Estimator) -> dict[str, Tensor]:
    """Expectation of an estimate by layer, over every joint configuration of the batch's bits.

    Args:
        sampler: network and batch.
        estimator: initialised, of one evaluation of the loss, a function of the bits.
    """
    count = sum(sampler.units) * len(sampler.inputs)
    total: dict[str, Tensor] = {}
    for bits in itertools.product((False, True), repeat=count):
        force = ForcedBits(torch.tensor(bits))
        sampler.noise = force
        for layer, vector in sampler.by_layer(sampler.gradient(estimator)).items():
            total[layer] = total.get(layer, torch.zeros_like(vector)) + force.mass * vector
    return total


def exact_gradient(sampler: GradientSampler) -> dict[str, Tensor]:
    """Gradient by layer of the batch's expected loss, Σ_b q(b) f(b) over its joint bits."""
    samples = len(sampler.inputs)
    widths = [units * samples for units in sampler.units]
    table = configurations(sum(widths), sampler.inputs)
    blocks = table.split(widths, dim=1)
    latest = sampler.forward()(
        lambda site: blocks[site.index].reshape(site.preactivation.shape), [[0] * len(table)]
    )
    mass = latest.loss.new_ones(len(table))
    for site, bits in zip(latest.sites, latest.bits, strict=True):
        mass = mass * torch.where(bits > 0, site.probs, 1 - site.probs).flatten(1).prod(1)
    return sampler.by_layer(sampler.differentiate((mass * latest.loss.mean(1)).sum()))


def bias_rows() -> tuple[list[str], list[list[str]]]:
    """Table of relative biases below the highest binary layer, by norm, placement and estimator.

    Returns:
        Head and rows.
    """
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, INPUTS, generator=generator, dtype=torch.float64)
    targets = torch.tensor([0, 1, 1])
    titles = [estimator_title({"estimator": dict(config)}) for config in ESTIMATORS]
    rows = []
    for norm, (placement, binary) in itertools.product(NORMS, PLACEMENTS.items()):
        sampler = GradientSampler(small_network(norm, binary), inputs, targets)
        true = exact_gradient(sampler)[BELOW]
        cells = []
        for config in ESTIMATORS:
            estimator = Estimator.registry.build(config)
            sampler.init(estimator)
            mean = expected_estimate(sampler, estimator)[BELOW]
            cells.append(f"{100 * float((mean - true).norm() / true.norm()):.1f}")
        rows.append([norm, placement, *cells])
    return ["norm", "placement", *(f"{title}, bias (%)" for title in titles)], rows
