"""Limits: what exact estimators enumerate and refuse, and noise at the end of its interval."""

from __future__ import annotations

import contextlib

import pytest
import torch
from support.expectation import build, distance, exact, expectation, gradient, initialized
from support.toys import Toy, batch, tangled
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators import Estimator
from bnn.estimators.enumeration import Enumeration
from bnn.nn.forward import ForwardClosure
from bnn.nn.neurons import Stochastic


def test_oracle_agrees_with_finite_differences() -> None:
    model = Toy((2, 2), "uniform", Stochastic)
    forward = ForwardClosure(model, *batch(3), tangled)
    oracle = initialized(Enumeration(), model)
    gradients = gradient(model, oracle, forward)
    for parameter, found in zip(model.parameters(), gradients, strict=True):
        with torch.no_grad():
            flat = parameter.view(-1)
            for i in range(len(flat)):
                values = []
                for step in (1e-6, -2e-6):
                    flat[i] += step
                    values.append(float(oracle.surrogate_loss(forward)))
                flat[i] += 1e-6
                assert float(found.view(-1)[i]) == pytest.approx(
                    (values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8
                )


def test_enumeration_is_layer_by_layer() -> None:
    """16 replicas for three layers, not the 256 of their joint configurations."""
    model = Toy((4, 1, 3))
    oracle = initialized(Enumeration(), model)
    assert oracle.evaluations([4, 1, 3]) == 16
    reinforce = build({"name": "reinforce", "baseline": {"name": "none"}}, model)
    assert distance(expectation(model, reinforce), exact(model)) < 1e-12


@pytest.mark.parametrize("widths, words", [((13,), "at most 12"), ((11, 11), "20 in two")])
def test_enumeration_says_what_it_can_hold(widths: tuple[int, ...], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        initialized(Enumeration(), Toy(widths))


class Around(Toy):
    """Toy whose first layer also reaches the read-out around the other layers."""

    def forward(self, x: Tensor) -> Tensor:
        x = first = self.neurons[0](self.layers[0](x))
        for layer, neuron in zip(self.layers[1:], self.neurons[1:], strict=True):
            x = neuron(layer(x))
        return self.readout(x) + first.sum(1, keepdim=True)


@pytest.mark.parametrize("widths", [(2, 2), (2, 2, 1), (1, 3, 2)], ids=str)
def test_enumeration_refuses_a_path_around_a_binary_layer(widths: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="path around"):
        exact(Around(widths))


@pytest.mark.parametrize("squashed", [False, True])
def test_local_expectation_needs_a_linear_readout(squashed: bool) -> None:
    class Squashed(Toy):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tanh(super().forward(x)) if squashed else super().forward(x)

    model, estimator = Squashed((2, 2)), Estimator.registry.build("local_expectation")
    refused = (
        pytest.raises(ConfigError, match="linear read-out")
        if squashed
        else contextlib.nullcontext()
    )
    with refused:
        estimator.init(model, batch(2)[0])


@pytest.mark.parametrize(
    "name, keys",
    [("rebar", {"decay": 0.5}), ("relax", {"decay": 0.5, "hidden": 3})],
    ids=["rebar", "relax"],
)
@pytest.mark.parametrize("first", [0.0, 0.99, 1 - 2**-24])
def test_noise_of_exactly_zero_gives_finite_gradients(name: str, keys: dict, first: float) -> None:
    """float32 draws 0 once in 2^24: logistic noise is infinite there, as at a certain unit."""
    model = Toy((2, 2)).float()
    with torch.no_grad():
        model.layers[0].bias[0] = 100
    inputs, targets = batch(50)
    estimator = build({"name": name, "tau": 0.5, **keys}, model)
    for control in getattr(estimator, "controls", ()):
        torch.nn.init.normal_(control.last.weight)
    noise = lambda like: torch.full_like(like, first)  # noqa: E731
    estimator(model, inputs.float(), targets.float(), tangled, noise=noise).backward()
    gradients = [p.grad for p in (*estimator.parameters(), *model.parameters())]
    assert all(g is not None and g.isfinite().all() for g in gradients)
