"""Training by the exact gradient on two moons, and the accuracy of estimators in its course.

The protocol is that of Shekhovtsov, Yanush & Flach 2020 (Path sample-analytic gradient estimators
for stochastic binary networks, gradient estimation accuracy): a network of 2-5-5-5-1 with three
binary layers on 200 points of two classes. Here the points are scikit-learn's two moons, and the
read-out is real with a logistic loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.config.titles import estimator_title
from bnn.estimators import Estimator
from bnn.lab.gradient_sampler import GradientSampler
from bnn.lab.measure import Measurement, measure
from bnn.lab.reference import reference_gradient
from bnn.nn.neurons import Stochastic
from bnn.nn.noise import Logistic
from bnn.training.initialisation import init_estimator

WIDTHS = (2, 5, 5, 5)
POINTS = 200
STEPS = (0, 20, 100, 300)
"""Steps of Adam at RATE on all points, after which the estimators are measured."""
RATE = 0.02
ESTIMATORS: tuple[dict[str, Any], ...] = (
    {"name": "st", "pseudo_derivative": "density"},
    {"name": "st", "pseudo_derivative": "identity"},
    {"name": "reinmax", "tau": 1.0},
    {"name": "st_gumbel", "tau": 1.0},
    {"name": "concrete", "tau": 0.5},
    {"name": "muprop"},
    {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 4}},
    {"name": "disarm"},
    {"name": "arms", "samples": 4},
    {"name": "local_expectation"},
    {"name": "rebar"},
)
WARM_UP = 100
"""Steps before, for what an estimator averages or learns."""


class MoonsNet(nn.Module):
    """Network of WIDTHS with a binary layer after each linear one, and a real read-out."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(below, above) for below, above in itertools.pairwise(WIDTHS)
        )
        self.neurons = nn.ModuleList(Stochastic(law=Logistic()) for _ in self.layers)
        self.readout = nn.Linear(WIDTHS[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer, neuron in zip(self.layers, self.neurons, strict=True):
            x = neuron(layer(x))
        return self.readout(x)


def network(seed: int) -> nn.Module:
    """Network in float64, initialised from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return MoonsNet().double()


def logistic_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Negative log-likelihood in nats, [n], from scores [n, 1] and classes 0 or 1, [n]."""
    return F.binary_cross_entropy_with_logits(scores[:, 0], targets, reduction="none")


def along_training(
    draws: int, seed: int = 0, steps: Sequence[int] = STEPS
) -> dict[int, tuple[float, dict[str, Measurement]]]:
    """Exact expected loss and the measurement of every estimator, by step of the training.

    Args:
        draws: estimates by each estimator.
        seed: seed of points, weights and noise.
        steps: steps after which the estimators are measured.
    """
    points, classes = make_moons(POINTS, noise=0.1, random_state=seed)
    inputs, targets = torch.from_numpy(points), torch.from_numpy(classes).double()
    model, exact = network(seed), Estimator.registry.build("enumeration")
    init_estimator(exact, model, inputs[:2], seed)
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    found: dict[int, tuple[float, dict[str, Measurement]]] = {}
    for step in range(max(steps) + 1):
        loss = exact(model, inputs, targets, logistic_loss)
        if step in steps:
            sampler = GradientSampler(model, inputs, targets, seed, logistic_loss)
            found[step] = float(loss.detach()), _measured(sampler, draws)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found


def _measured(sampler: GradientSampler, draws: int) -> dict[str, Measurement]:
    """Measurement of each of ESTIMATORS by its display name."""
    reference = reference_gradient(sampler, 1)
    found = {}
    for config in ESTIMATORS:
        estimator = sampler.warm_up(Estimator.registry.build(config), WARM_UP)
        title = estimator_title({"estimator": config})
        found[title] = measure(sampler, estimator, reference, draws)
    return found
