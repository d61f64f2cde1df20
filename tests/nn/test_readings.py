"""Readings: draws in evaluation, from a seed, on chains and with paths around random layers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bnn import schema
from bnn.nn import Deterministic, Reading, Stochastic, apply, outputs, sampled
from bnn.nn.readings import readings, seeded_noise
from bnn.testing import Residual

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
CPU = torch.device("cpu")


def chain(neuron: type[nn.Module] = Stochastic) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), neuron(), nn.Linear(4, 4), neuron(), nn.Linear(4, 2))


def residual() -> nn.Module:
    torch.manual_seed(0)
    return Residual()


def test_the_readings_that_apply_are_those_that_differ() -> None:
    names = [reading.name for reading in readings(chain(), draws=3, seed=0)]
    assert names == [schema.SAMPLED, schema.MC_MEAN, schema.THRESHOLD]
    assert readings(chain(Deterministic), draws=3, seed=0) == (Reading.sampled(0),)


@pytest.mark.parametrize("network", [chain, residual])
def test_a_seed_repeats_its_draws_and_another_has_others(network) -> None:
    model = network()
    first, again, other = (Reading.mc_mean(3, seed).outputs(model, X) for seed in (0, 0, 1))
    assert first.shape == (3, 5, 2)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert not torch.equal(first[0], first[1]), "the draws of one reading differ"
    assert not first.requires_grad and model.training


def test_thresholds_need_no_noise() -> None:
    model = chain()
    expected = chain(Deterministic).eval()(X)
    assert torch.equal(Reading.threshold().outputs(model, X)[0], expected)


def test_draws_around_a_path_are_those_of_whole_passes() -> None:
    model, handler = residual().eval(), sampled(seeded_noise(0, CPU))
    expected = torch.stack([apply(model, X, handler) for _ in range(3)])
    assert torch.equal(Reading.mc_mean(3, 0).outputs(model, X), expected)


def test_layers_below_the_first_random_one_are_computed_once() -> None:
    model, rows = chain(), []

    def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows.append(len(inputs[0]))

    model[0].register_forward_pre_hook(count)
    model[2].register_forward_pre_hook(count)
    outputs(model, X, sampled(), draws=4, chain=True)
    assert rows == [5, 20]
