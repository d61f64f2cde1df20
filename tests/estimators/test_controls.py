"""Claims of estimators on networks with random units that are no bits."""

from __future__ import annotations

import pytest
import torch
from support.toys import Toy, batch, product
from torch import Tensor, nn

from bnn.estimators import Backpropagation, Reinforce
from bnn.nn.forward import ForwardClosure
from bnn.nn.neurons import Neuron, NoisyRectifier, Real, Stochastic, StochasticSmooth
from bnn.nn.sites import Site

DRAWS = 100_000
"""Uniform numbers in equal steps: the mean over them is the expectation."""


def linear(scores: Tensor, targets: Tensor) -> Tensor:
    return scores[:, 0] - 2 * scores[:, 1]


def forward(model: nn.Module, loss) -> ForwardClosure:
    """One sample, DRAWS times; each with noise of its own."""
    inputs, targets = (one.expand(DRAWS, *one.shape[1:]) for one in batch(1))
    steps = (torch.arange(DRAWS, dtype=torch.float64) + 0.5) / DRAWS
    return ForwardClosure(model, inputs, targets, loss, lambda like: steps[:, None].expand_as(like))


def backpropagated(estimator: Backpropagation, model: Toy, loss) -> float:
    """Mean gradient by the offset of the unit."""
    model.zero_grad()
    estimator.surrogate_loss(forward(model, loss)).backward()
    (gradient,) = model.layers[0].bias.grad
    return float(gradient)


def true(model: Toy, loss, step: float = 0.01) -> float:
    """Central difference of the expected loss, by the same offset."""
    values = []
    with torch.no_grad():
        for way in (step, -2 * step):
            model.layers[0].bias += way
            values.append(float(forward(model, loss)(Site.sample).loss.mean()))
        model.layers[0].bias += step
    return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("loss", [linear, product])
@pytest.mark.parametrize(
    "neuron, unbiased", [(Real, True), (NoisyRectifier, True), (StochasticSmooth, False)]
)
def test_backpropagation_claims_no_bias_where_it_has_none(
    neuron: type[Neuron], unbiased: bool, loss
) -> None:
    model = Toy((1,), neuron=neuron)
    estimator = Backpropagation().init(model, batch(2)[0])
    assert estimator.unbiased is unbiased
    ratio = backpropagated(estimator, model, loss) / true(model, loss)
    assert abs(ratio - 1) < 0.01 if unbiased else abs(ratio - 1) > 0.1, ratio
    if neuron is StochasticSmooth and loss is linear:
        assert ratio == pytest.approx(0.5, abs=0.005), "as in Bengio, Léonard & Courville 2013"


def test_the_claim_is_one_of_the_network() -> None:
    """An estimator that is initialised for another network makes the claims that hold there."""
    estimator, inputs = Backpropagation(), batch(2)[0]
    mixed = nn.Sequential(Toy((2,), neuron=Real), nn.Identity()).double()
    assert estimator.init(mixed, inputs).unbiased
    mixed[1].reparameterised = False
    assert not estimator.init(mixed, inputs).unbiased
    assert estimator.init(Toy((2,), neuron=NoisyRectifier), inputs).unbiased
    assert Backpropagation.unbiased


class Mixed(nn.Module):
    """A unit that is no bit, and above it one that is."""

    def __init__(self, neuron: type[Neuron]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList([nn.Linear(3, 1)])
        self.lower, self.upper, self.readout = neuron(), Stochastic(), nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.readout(self.upper(self.lower(self.layers[0](x))))


@pytest.mark.parametrize("neuron, unbiased", [(NoisyRectifier, True), (StochasticSmooth, False)])
def test_a_score_function_estimator_claims_what_holds_below_its_bits(
    neuron: type[Neuron], unbiased: bool
) -> None:
    """Its gradient below the bits goes through their probability, and so through the unit below."""
    model = Mixed(neuron).double()
    estimator = Reinforce(baseline="none").init(model, batch(2)[0])
    assert estimator.unbiased is unbiased
    generator = torch.Generator().manual_seed(0)

    def passes(draws: int = 400_000) -> ForwardClosure:
        inputs, targets = (one.expand(draws, *one.shape[1:]) for one in batch(1))
        return ForwardClosure(
            model,
            inputs,
            targets,
            product,
            lambda like: torch.rand(like.shape, generator=generator).to(like),
        )

    model.zero_grad()
    estimator.surrogate_loss(passes()).backward()
    found, values = float(model.layers[0].bias.grad[0]), []
    with torch.no_grad():
        for way in (0.5, -1.0):
            model.layers[0].bias += way
            generator.manual_seed(1)
            values.append(float(passes(2_000_000)(Site.sample).loss.mean()))
    ratio = found / (values[0] - values[1])
    assert abs(ratio - 1) < 0.15 if unbiased else abs(ratio - 1) > 0.3, ratio
