"""Coupled samples: joint enumeration of a batch's bits, and slopes along directions."""

from __future__ import annotations

import itertools

import pytest
import torch

from bnn.estimators import Estimator
from bnn.lab.gradient_sampler import BELOW, GradientSampler
from bnn.lab.questions import joint_enumeration
from bnn.lab.questions.directional_slopes import directions, slope_along
from bnn.lab.questions.joint_enumeration import (
    ForcedBits,
    exact_gradient,
    expected_estimate,
    small_network,
)


def two_samples() -> tuple[torch.Tensor, torch.Tensor]:
    generator, shape = torch.Generator().manual_seed(1), (2, joint_enumeration.INPUTS)
    return torch.randn(shape, generator=generator, dtype=torch.float64), torch.tensor([0, 1])


@pytest.mark.parametrize("placement", joint_enumeration.PLACEMENTS)
@pytest.mark.parametrize("norm", joint_enumeration.NORMS)
def test_per_sample_credit_is_biased_under_batch_norm_alone(norm: str, placement: str) -> None:
    binary = joint_enumeration.PLACEMENTS[placement]
    sampler = GradientSampler(small_network(norm, binary), *two_samples())
    true = exact_gradient(sampler)[BELOW]
    estimator = Estimator.registry.build({"name": "reinforce", "baseline": "none"})
    sampler.init(estimator)
    mean = expected_estimate(sampler, estimator)[BELOW]
    bias = float((mean - true).norm() / true.norm())
    assert bias > 0.05 if norm == "batch" else bias < 1e-12


def test_the_joint_gradient_agrees_with_finite_differences() -> None:
    def moved(step: float) -> GradientSampler:
        sampler = GradientSampler(small_network("batch", (0,)), *two_samples())
        with torch.no_grad():
            for name, parameter in sampler.parameters.items():
                parameter += step * direction[name]
        return sampler

    def expected_loss(sampler: GradientSampler) -> float:
        total = 0.0
        for bits in itertools.product((False, True), repeat=4):
            force = ForcedBits(torch.tensor(bits))
            sampler.noise = force
            loss = sampler.forward()(lambda site: site.sample()).loss.detach().mean()
            total += force.mass * float(loss)
        return total

    model = small_network("batch", (0,))
    direction = {name: torch.randn_like(p) for name, p in model.named_parameters()}
    sampler = moved(0.0)
    exact, along = exact_gradient(sampler), sampler.by_layer(direction)
    slope = sum(float(exact[layer] @ along[layer]) for layer in along if layer != BELOW)
    difference = (expected_loss(moved(1e-6)) - expected_loss(moved(-1e-6))) / 2e-6
    assert slope == pytest.approx(difference, rel=1e-6)


def test_directions_are_unit_vectors_below_the_highest_binary_layer() -> None:
    inputs = torch.randn(8, 3, dtype=torch.float64)
    sampler = GradientSampler(small_network("none", (0, 1)), inputs, torch.arange(8) % 2)
    for direction in directions(sampler, 3).values():
        assert sum(float(g.square().sum()) for g in direction.values()) == pytest.approx(1)
        assert set(sampler.below) == {name for name, g in direction.items() if g.any()}


@pytest.mark.slow
@pytest.mark.numerical
def test_slopes_along_directions_agree_with_the_exact_gradient() -> None:
    inputs = torch.randn(8, 3, dtype=torch.float64)
    sampler = GradientSampler(small_network("none", (0, 1)), inputs, torch.arange(8) % 2)
    enumeration = sampler.warm_up(Estimator.registry.build("enumeration"), 0)
    for direction in directions(sampler, 3).values():
        gradient = sampler.gradient(enumeration)
        exact = sum(float((g * direction[name]).sum()) for name, g in gradient.items())
        found = slope_along(sampler, direction, 4000)
        assert abs(found.value - exact) < 1.15 * (found.high - found.low), "4.5 standard errors"
