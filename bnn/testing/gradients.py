"""True gradients by exact enumeration, and sampled ones with their standard errors."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator
from bnn.nn.forward import ForwardClosure, Loss
from bnn.nn.layers import binary_layers
from bnn.nn.replicas import SampleTree
from bnn.nn.sites import Noise, Site, generator_noise
from bnn.testing.networks import batch, shares_bits, tangled

LIMIT = 14
"""Largest number of binary units whose joint configurations are enumerated."""
STANDARD_ERRORS = 4.5
"""Deviation at which an unbiased estimator is found to be biased, with a probability of 1e-5 for
each number."""


def exact_loss(model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss = tangled) -> Tensor:
    """Expected loss of a network, a sum over the joint configurations of all its bits.

    Unlike `enumeration` it takes any network, with paths around binary layers and shared weights
    too; batch statistics above a binary layer must not couple the samples.

    Args:
        model: the network.
        inputs: [n, …].
        targets: [n, …].
        loss: loss of each row of the output.

    Returns:
        Scalar, differentiable.

    Raises:
        ConfigError: above LIMIT bits.
    """
    layers = binary_layers(model, inputs)
    if sum(layers.units) > LIMIT:
        raise ConfigError(
            f"expected at most {LIMIT} binary units in all, the network has {sum(layers.units)}"
        )
    configurations = list(itertools.product((0, 1), repeat=sum(layers.units)))
    table = torch.tensor(configurations, dtype=inputs.dtype)
    columns = table.split(list(layers.units), dim=1)
    tree: SampleTree = [[0] * len(table), *[range(len(table))] * (len(layers.units) - 1)]

    def rule(site: Site) -> Tensor:
        bits: Tensor = columns[site.index].view(-1, 1, *site.preactivation.shape[2:])
        return bits.expand_as(site.preactivation)

    drawn = ForwardClosure(model, inputs, targets, loss, layers=layers)(rule, tree)
    weight = torch.ones_like(drawn.loss)
    for site, bits in zip(drawn.sites, drawn.bits, strict=True):
        weight = weight * torch.where(bits > 0, site.probs, 1 - site.probs).flatten(2).prod(2)
    return (weight * drawn.loss).sum(0).mean()


def gradient(model: nn.Module, loss: Tensor) -> list[Tensor]:
    """Gradient of a scalar by the parameters of a network; zeros where it does not depend on one.

    Args:
        model: the network.
        loss: scalar.

    Returns:
        One tensor for each parameter, of its shape.
    """
    parameters = list(model.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def seeded(seed: int) -> Noise:
    """Source of noise from a generator of its own, on the CPU."""
    return generator_noise(torch.Generator().manual_seed(seed))


@dataclass(frozen=True)
class Sampled:
    """Mean of estimates and its standard error.

    Args:
        mean: one tensor for each parameter.
        error: likewise.
    """

    mean: list[Tensor]
    error: list[Tensor]

    def deviation(self, expected: Sequence[Tensor]) -> float:
        """Largest distance from an expectation in standard errors.

        Args:
            expected: one tensor for each parameter.

        Returns:
            Infinite where there is no error and a difference.
        """
        worst = 0.0
        for mean, error, true in zip(self.mean, self.error, expected, strict=True):
            distance = (mean - true).abs()
            exact = distance <= 1e-9 * (1 + true.abs())
            in_errors = torch.where(exact, 0.0, distance / error).nan_to_num(nan=math.inf)
            worst = max(worst, float(in_errors.max()))
        return worst


def sampled_gradient(
    estimator: Estimator,
    model: nn.Module,
    loss: Loss = tangled,
    *,
    estimates: int = 50_000,
    seed: int = 1,
) -> Sampled:
    """Mean and standard error of an estimator's gradient for one sample.

    Args:
        estimator: initialised for the network; each estimate begins with a copy of its state.
        model: the network.
        loss: loss of each row of the output.
        estimates: number of samples in all, in batches of 500 copies; a hundredth of them in
            batches of two where the batch shares weights, since one batch is then one draw of them.
        seed: seed of the noise.
    """
    copies, batches = (2, estimates // 100) if shares_bits(model) else (500, estimates // 500)
    if batches < 2:
        raise ConfigError(f"estimates: expected at least 1,000, got {estimates:,}")
    inputs, targets = (one.repeat(copies, *[1] * (one.dim() - 1)) for one in batch(1))
    noise, found = seeded(seed), []
    for _ in range(batches):
        again = copy.deepcopy(estimator)
        found.append(gradient(model, again(model, inputs, targets, loss, noise=noise)))
    stacked = [torch.stack(of_one) for of_one in zip(*found, strict=True)]
    return Sampled([one.mean(0) for one in stacked], [one.std(0) / batches**0.5 for one in stacked])


def warm_up(
    estimator: Estimator, model: nn.Module, loss: Loss = tangled, *, steps: int = 3
) -> Estimator:
    """Initialised copy of an estimator whose averages have seen some batches.

    Its learned parameters are not at their initial values.

    Args:
        estimator: the estimator, which stays as it is.
        model: the network.
        loss: loss of each row of the output.
        steps: number of batches.
    """
    estimator = copy.deepcopy(estimator)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        estimator.init(model, batch(2)[0])
        for parameter in estimator.parameters():
            nn.init.normal_(parameter)
    noise = seeded(3)
    for _ in range(steps):
        estimator(model, *batch(4), loss, noise=noise)
    return estimator
