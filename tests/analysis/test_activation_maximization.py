"""Activation maximization: known optima are reached, and values rise where none is known."""

from __future__ import annotations

import copy

import pytest
import torch
from support.matrix import one_in
from torch import Tensor, nn

import bnn.analysis.activation_maximization
from bnn.analysis import SCORES, MaximizedImages, maximize_activation, receptive_fields
from bnn.analysis.activation_maximization import AMPLITUDE, GREY
from bnn.analysis.responses import preactivations
from bnn.config.compose import compose
from bnn.data import spec_of
from bnn.errors import ConfigError
from bnn.nn.handlers import sampled
from bnn.nn.neurons import Stochastic
from bnn.nn.noise import Logistic
from bnn.nn.sites import generator_noise
from bnn.specify import setup

SPEC = spec_of({"name": "digits"})
NETS = ["neuron=stochastic", "neuron=deterministic", "placement=none"]
CHANNELS = [
    (neuron, layer, channels)
    for neuron in NETS
    for layer, channels in (("act1", 16), ("act2", 32), (SCORES, 10))
]


def network(*overrides: str) -> nn.Module:
    return setup(compose(["device=cpu", "data=digits", *overrides])).model.double()


class Linear(nn.Module):
    """Two units that are linear in the pixels, some of which they ignore."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.act = nn.Linear(64, 2), Stochastic(law=Logistic())
        with torch.no_grad():
            self.linear.weight.normal_(generator=torch.Generator().manual_seed(0))
            self.linear.weight[:, :9] = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.linear(x.flatten(1)))


def of_linear(model: nn.Module) -> MaximizedImages:
    return maximize_activation(
        model, "act", SPEC, channels=[1, 0], place=None, steps=40, rate=0.05, draws=1, seed=0
    )


def assert_optimal(ascent: MaximizedImages, model: Linear) -> None:
    """Assert white pixels at positive weights, black ones at negative, and the largest value."""
    weight = model.linear.weight.detach()[[1, 0]]
    pixels = ascent.pixels.flatten(1)
    assert torch.equal(pixels[weight != 0], (weight > 0).double()[weight != 0])
    assert (pixels[weight == 0] - GREY).abs().max() <= AMPLITUDE, (
        "what moves nothing stays as it was"
    )
    white, black = (1 - SPEC.mean) / SPEC.std, -SPEC.mean / SPEC.std
    largest = (weight.clamp(min=0) * white + weight.clamp(max=0) * black).sum(
        1
    ) + model.linear.bias.detach()[[1, 0]]
    torch.testing.assert_close(ascent.values[-1], largest)


def test_the_optimum_of_a_linear_unit_is_reached() -> None:
    model = Linear().double()
    assert_optimal(of_linear(model), model)
    opposite = copy.deepcopy(model)
    with torch.no_grad():
        opposite.linear.weight.neg_()
    with pytest.raises(AssertionError):
        assert_optimal(of_linear(opposite), model)  # what a descent would come to


@pytest.mark.numerical
@pytest.mark.parametrize("neuron, layer, channels", one_in(4, CHANNELS))
def test_every_channel_rises_whatever_the_bits_below(
    neuron: str, layer: str, channels: int
) -> None:
    """Over its value on noise, more by its own image than by another's; on draws of its own."""
    model, generator = network(neuron), torch.Generator().manual_seed(1)
    ascent = maximize_activation(
        model,
        layer,
        SPEC,
        channels=range(channels),
        place=None,
        steps=40,
        rate=0.05,
        draws=8,
        seed=0,
    )
    assert ascent.pixels.shape == (channels, 1, 8, 8) and ascent.values.shape == (41, channels)
    assert ascent.pixels.min() >= 0 and ascent.pixels.max() <= 1
    reading = sampled(generator_noise(generator))

    @torch.no_grad()
    def mean(pixels: Tensor) -> Tensor:
        images = ((pixels - SPEC.mean) / SPEC.std).split(channels)
        return torch.stack([preactivations(model, layer, one, reading) for one in images]).mean(
            (0, 3, 4)
        )

    noise = GREY + AMPLITUDE * (
        2 * torch.rand(100 * channels, *SPEC.shape, generator=generator, dtype=torch.float64) - 1
    )
    rise = mean(ascent.pixels.repeat(100, 1, 1, 1)) - mean(noise)
    own = rise.diagonal()
    assert (own > 0).all(), own
    assert float(own.mean()) > 2 * float(rise[~torch.eye(channels, dtype=torch.bool)].mean())


def test_without_straight_through_nothing_above_bits_can_be_ascended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        bnn.analysis.activation_maximization, "straight_through_reading", lambda reading: reading
    )
    words = {"channels": [0], "place": None, "steps": 1, "rate": 0.05, "draws": 1, "seed": 0}
    maximize_activation(network(), "act1", SPEC, **words)
    with pytest.raises(RuntimeError, match="not have been used in the graph"):
        maximize_activation(network(), "act2", SPEC, **words)


def test_a_single_unit_moves_its_receptive_field_alone() -> None:
    model = network("neuron=deterministic")
    words = {"channels": range(16), "steps": 30, "rate": 0.05, "draws": 1, "seed": 0}
    ascent = maximize_activation(model, "act1", SPEC, place=(1, 3), **words)
    top, left, bottom, right = receptive_fields(model, "act1", SPEC.shape).boxes[1, 3].tolist()
    moved = (ascent.pixels - GREY).abs() > AMPLITUDE
    assert moved.any(1).any(0)[top:bottom, left:right].all()
    moved[:, :, top:bottom, left:right] = False
    assert not moved.any()
    assert (
        ascent.values[-1].mean()
        > maximize_activation(model, "act1", SPEC, place=None, **words).values[-1].mean()
    ), "than the mean"


def test_a_seed_repeats_an_ascent_and_nothing_of_the_network_moves() -> None:
    model = network().train()
    before = copy.deepcopy(model.state_dict())
    words = {"channels": [5], "place": None, "steps": 5, "rate": 0.05, "draws": 2}
    first, second, other = (
        maximize_activation(model, "act2", SPEC, seed=seed, **words) for seed in (0, 0, 1)
    )
    assert torch.equal(first.pixels, second.pixels) and not torch.equal(first.pixels, other.pixels)
    assert (
        all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        and model.training
    )
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    "channels, place, told", [([16], None, "numbers in .0, 15."), ([0], (4, 0), "a row in .0, 3.")]
)
def test_a_channel_or_a_place_that_is_not_there_is_refused(
    channels: list[int], place: tuple | None, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        maximize_activation(
            network(),
            "act1",
            SPEC,
            channels=channels,
            place=place,
            steps=1,
            rate=0.05,
            draws=1,
            seed=0,
        )
