"""Sampled gradients of the objects that train: reference, warm-up, and the layers that count."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bnn.config.compose import compose
from bnn.estimators import Estimator
from bnn.fitted import fit_network
from bnn.lab.accuracy import Accuracy
from bnn.lab.gradient_sampler import BELOW, GradientSampler, validation_sampler
from bnn.lab.measure import measure
from bnn.lab.reference import ReferenceGradient, reference_estimator, reference_gradient
from bnn.nn.neurons import Stochastic
from bnn.specify import setup

TOY = ["data=digits", "model=mlp", "model.hidden=4", "model.norm=none"]
LEAVE_ONE_OUT = {"name": "reinforce", "baseline": {"name": "leave_one_out", "samples": 4}}


def toy_sampler(*overrides: str, samples: int = 16) -> GradientSampler:
    """Sampler of the network TOY in float64, on random images and labels."""
    model = setup(compose([*TOY, *overrides])).model.double()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(samples, 1, 8, 8, generator=generator, dtype=torch.float64)
    return GradientSampler(model, images, torch.randint(10, (samples,), generator=generator))


def built(name: str, **keys: object) -> Estimator:
    return Estimator.registry.build({"name": name, **keys})


def below(
    sampler: GradientSampler, estimator: Estimator, exact: ReferenceGradient, draws: int
) -> Accuracy:
    return measure(sampler, estimator, exact, draws).layers[BELOW]


@pytest.mark.numerical
def test_enumeration_has_no_error_and_an_unbiased_estimator_none_beyond_its_noise() -> None:
    """Control: the identity's bias is far above 0."""
    sampler = toy_sampler()
    exact = reference_gradient(sampler, 2)
    assert exact.exact
    enumeration = measure(sampler, sampler.warm_up(built("enumeration"), 0), exact, 3)
    assert enumeration.error(BELOW, 1) < 1e-12
    assert enumeration.layers[BELOW].cosine.value == pytest.approx(1)
    for config in (LEAVE_ONE_OUT, {"name": "arms", "samples": 4}):
        estimator = sampler.warm_up(Estimator.registry.build(config), 5)
        bias = below(sampler, estimator, exact, 300).squared_bias
        assert abs(bias.value) < bias.high - bias.low, config
    identity = sampler.warm_up(built("st", pseudo_derivative="identity"), 0)
    bias = below(sampler, identity, exact, 300).squared_bias
    assert bias.value > 3 * (bias.high - bias.low)


@pytest.mark.numerical
def test_the_mean_of_many_unbiased_estimates_is_the_exact_gradient() -> None:
    """Reference of networks that cannot be enumerated, on one that can."""
    sampler = toy_sampler()
    exact = reference_gradient(sampler, 2)
    groups = sampler.group_means(sampler.warm_up(reference_estimator(2), 0), 20, 20)
    found = ReferenceGradient(groups, "", False)
    assert found.squared_norm(BELOW) == pytest.approx(exact.squared_norm(BELOW), rel=0.2)
    (true,) = exact.groups[BELOW]
    error = (groups[BELOW].mean(0) - true).norm() / true.norm()
    assert float(error) < 2 * found.relative_error(BELOW) < 0.6


@pytest.mark.parametrize(
    "placement, layers", [("both", {"linear1", "linear2"}), ("first", {"linear1"})]
)
def test_below_are_the_parameters_below_the_highest_binary_layer(
    placement: str, layers: set[str]
) -> None:
    sampler = toy_sampler(f"placement={placement}")
    assert {name.split(".")[0] for name in sampler.below} == layers


class SilentNet(nn.Module):
    """Network with zero gradients in places that are not below its binary layer.

    The binary layer seldom fires, and is the only input of a read-out without an offset; beside it
    stand a rectifier that is dead, and a weight of an input that is always 0.
    """

    def __init__(self) -> None:
        super().__init__()
        self.low, self.dead = nn.Linear(2, 2), nn.Linear(2, 2)
        self.neuron = Stochastic()
        self.readout, self.beside, self.unlit = (nn.Linear(2, 3, bias=False) for _ in range(3))
        with torch.no_grad():
            self.low.bias.fill_(-1.5)
            self.dead.bias.fill_(-100)

    def forward(self, x: Tensor) -> Tensor:
        binary = self.readout(self.neuron(self.low(x)))
        rectified = self.beside(torch.relu(self.dead(x)))
        return binary + rectified + self.unlit(0 * x)


def test_below_depends_neither_on_the_bits_nor_on_dead_inputs() -> None:
    """Control: gradients of zeros would count the read-out as below in some draws.

    They would count the weights of the dead rectifier and of the input that is 0 in all.
    """
    zeros = set()
    for seed in range(50):
        torch.manual_seed(seed)
        labels = torch.zeros(2, dtype=torch.int64)
        sampler = GradientSampler(SilentNet(), torch.randn(2, 2), labels, seed)
        assert sampler.below == ["low.weight", "low.bias"]
        gradient = sampler.gradient(sampler.warm_up(built("frozen"), 0))
        silent = {name for name, values in gradient.items() if not values.any()}
        assert {"low.weight", "dead.weight", "unlit.weight"} <= silent
        zeros.add("readout.weight" in silent)
    assert zeros == {True, False}


def test_all_parameters_of_a_network_that_ends_in_bits_are_below() -> None:
    model = nn.Sequential(nn.Linear(2, 3), Stochastic())
    sampler = GradientSampler(model, torch.randn(4, 2), torch.zeros(4, dtype=torch.int64))
    assert sampler.below == ["0.weight", "0.bias"]


@pytest.mark.parametrize("norm", ["batch", "running"])
def test_measuring_changes_neither_weights_nor_statistics_nor_gradients(norm: str) -> None:
    sampler = toy_sampler(f"model.norm={norm}")
    for parameter in sampler.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(sampler.model.state_dict())
    estimator = sampler.warm_up(built("nvil", hidden=3, decay=0.9), 3)
    measure(sampler, estimator, reference_gradient(sampler, 4), 5)
    for key, value in sampler.model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert all((parameter.grad == 1).all() for parameter in sampler.model.parameters())


def variance_after(
    sampler: GradientSampler, hidden: int, steps: int, exact: ReferenceGradient, draws: int
) -> float:
    """Variance of NVIL after a warm-up of so many steps."""
    estimator = sampler.warm_up(built("nvil", hidden=hidden, decay=0.9), steps)
    return below(sampler, estimator, exact, draws).variance.value


def test_a_learned_baseline_has_less_variance_after_a_warm_up() -> None:
    sampler = toy_sampler()
    exact = reference_gradient(sampler, 2)
    cold, warm = (variance_after(sampler, 20, steps, exact, 100) for steps in (0, 200))
    assert warm < cold / 2


@pytest.mark.numerical
def test_a_warm_up_on_training_batches_does_not_fit_the_batch_that_is_measured() -> None:
    """Labels are random, so that a baseline can only memorise them.

    It gains on its own batch, and nothing on another one.
    """
    own, apart = toy_sampler(), toy_sampler()
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(1000, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (1000,), generator=generator)

    def training_batch(generator: torch.Generator) -> tuple[Tensor, Tensor]:
        index = torch.randint(1000, (16,), generator=generator)
        return images[index], labels[index]

    apart.training_batch = training_batch
    before = apart.inputs
    exact = reference_gradient(own, 2)
    memorised, fair = (variance_after(one, 50, 400, exact, 200) for one in (own, apart))
    assert memorised < 0.8 * fair
    assert apart.inputs is before


@pytest.mark.parametrize(
    ("optimizer", "step"),
    [
        (["optimizer=adam", "optimizer.lr=0.25"], 0.25),
        (["optimizer=adam", "optimizer.lr=0.25", "optimizer.groups.estimator.lr=0.125"], 0.125),
        (["optimizer=sgd", "optimizer.groups.estimator.lr=0"], 0.0),
    ],
)
def test_a_warm_up_steps_as_the_optimizer_of_the_training(
    optimizer: list[str], step: float
) -> None:
    """The first step of Adam is as long as its learning rate."""
    network = fit_network(compose([*TOY, "data.limit=64", "estimator=nvil", *optimizer]), 0)
    sampler = validation_sampler(network, 16)
    cold, warm = (sampler.warm_up(network.setup.training.estimator, steps) for steps in (0, 1))
    moved = [
        (after - before).abs().max().item()
        for before, after in zip(cold.parameters(), warm.parameters(), strict=True)
    ]
    assert moved and max(moved) == pytest.approx(step, rel=1e-3)


def test_a_layer_of_a_module_list_keeps_its_name() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList([setup(compose(TOY)).model])

        def forward(self, x: Tensor) -> Tensor:
            return self.parts[0](x)

    labels = torch.zeros(4, dtype=torch.int64)
    sampler = GradientSampler(Net(), torch.randn(4, 1, 8, 8), labels)
    assert "parts.0.linear1" in sampler.by_layer(sampler.parameters)
