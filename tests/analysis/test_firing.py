"""Responses of one unit: the firing rate of its law, and the pseudo-derivative of its estimator."""

from __future__ import annotations

import pytest
import torch

from bnn.analysis.firing import UnitResponse, annealed_unit_responses, unit_response
from bnn.errors import ConfigError
from bnn.nn.noise import NoiseLaw

DRAWS = 400


def from_law(one: UnitResponse) -> float:
    """Largest distance of the firing rate from p in standard errors; 4.5 come once in 700 runs."""
    error = (one.p * (1 - one.p) / DRAWS).sqrt().clamp(min=1 / DRAWS)
    return float(((one.mean - one.p).abs() / error).max())


def from_slope(one: UnitResponse, law: str, slope: float) -> float:
    """Largest distance of the derivative from that of F(slope · x), by finite differences.

    Corners of a law are left out.
    """
    cdf, h = NoiseLaw.registry.build(law).cdf, 1e-6
    left, middle, right = (cdf(slope * (one.x + shift)) for shift in (-h, 0, h))
    smooth = ((right - middle) - (middle - left)).abs() < 1e-9
    return float((one.derivative - (right - left) / (2 * h)).abs()[smooth].max())


@pytest.mark.parametrize("law", ["logistic", "gaussian", "uniform", "triangular"])
@pytest.mark.parametrize("slope", [1.0, 3.0])
def test_it_fires_by_its_law_and_its_pseudo_derivative_is_the_laws_derivative(
    law: str, slope: float
) -> None:
    one = unit_response(f"neuron.law={law}", slope=slope, draws=DRAWS, seed=0)
    assert from_law(one) < 4.5 and set(one.bits.tolist()) == {0.0, 1.0}
    assert from_slope(one, law, slope) < 1e-4
    assert from_slope(one, law, 1.2 * slope) > 0.05, (
        "a control: another slope has another derivative"
    )


def test_a_deterministic_unit_is_a_step_with_the_derivative_of_the_law() -> None:
    one, random = (
        unit_response(f"neuron={name}", draws=DRAWS, seed=0)
        for name in ("deterministic", "stochastic")
    )
    assert torch.equal(one.mean, (one.x > 0).double()) and torch.allclose(
        one.derivative, random.derivative
    )


def test_the_identity_pseudo_derivative_forgets_the_law() -> None:
    assert torch.equal(
        unit_response("estimator.pseudo_derivative=identity", draws=2, seed=0).derivative,
        torch.ones(201, dtype=torch.float64),
    )


def test_annealing_follows_the_schedule() -> None:
    found = annealed_unit_responses(
        "anneal=geometric",
        "anneal.start=1",
        "anneal.rate=2",
        epochs=4,
        at_epochs=(1, 2, 4),
        draws=2,
        seed=0,
    )
    assert list(found) == ["epoch 1, slope 1", "epoch 2, slope 2", "epoch 4, slope 8"]
    for one, slope in zip(found.values(), (1, 2, 8), strict=True):
        torch.testing.assert_close(one.p, torch.sigmoid(2 * slope * one.x))


def test_a_unit_without_a_pathwise_derivative_is_refused() -> None:
    for words in (["estimator=reinforce"], ["neuron=noisy_rectifier"]):
        with pytest.raises(ConfigError, match="differentiates its bits"):
            unit_response(*words, draws=2, seed=0)
