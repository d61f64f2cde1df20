"""Receptive fields: those of the wiring, whatever the weights, neurons and image edges are."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from bnn.analysis import ReceptiveFields, receptive_fields
from bnn.config.compose import compose
from bnn.errors import ConfigError
from bnn.nn.neurons import Deterministic, Real
from bnn.nn.noise import Logistic
from bnn.specify import setup

CNN = [("conv", 5, 1, 2), ("pool", 2, 2, 0)]
"""Of a block of the reference network: kernel, stride, padding."""


def network(*overrides: str) -> nn.Module:
    return setup(compose(["device=cpu", *overrides])).model


def theory(blocks: Sequence[tuple[str, int, int, int]], unit: int) -> range:
    """Pixels that a unit depends on along one axis, before the image's edge cuts them off."""
    low = high = unit
    for _, kernel, stride, padding in reversed(blocks):
        low, high = low * stride - padding, high * stride - padding + kernel - 1
    return range(low, high + 1)


def assert_theoretical(
    fields: ReceptiveFields, blocks: Sequence[tuple[str, int, int, int]], image: int
) -> None:
    units = range(len(fields.boxes))
    spans = [theory(blocks, unit) for unit in units]
    inside = [[p for p in span if 0 <= p < image] for span in spans]
    for row in units:
        for column in units:
            top, left, bottom, right = fields.boxes[row, column].tolist()
            assert (
                list(range(top, bottom)) == inside[row]
                and list(range(left, right)) == inside[column]
            ), (row, column)


@pytest.mark.numerical
@pytest.mark.parametrize(
    "neuron, layer, depth, size",
    [
        ("neuron=stochastic", "act2", 2, 16),
        ("neuron=deterministic", "act1", 1, 6),
        ("placement=none", "act2", 2, 16),
    ],
)
def test_fields_of_the_reference_network_are_those_of_its_kernels(
    neuron: str, layer: str, depth: int, size: int
) -> None:
    """Of every unit, in the middle and at the border."""
    fields = receptive_fields(network("data=mnist", neuron), layer, (1, 28, 28))
    assert_theoretical(fields, CNN * depth, 28)
    assert fields.size == (size, size)
    starts = [theory(CNN * depth, unit).start for unit in range(len(fields.boxes))]
    assert fields.corners[:, 0, 0].tolist() == fields.corners[0, :, 1].tolist() == starts, (
        "windows of one size, also there"
    )
    with pytest.raises(AssertionError):
        assert_theoretical(fields, [("conv", 3, 1, 1), ("pool", 2, 2, 0)] * depth, 28)


def test_a_field_larger_than_the_image_is_the_image() -> None:
    fields = receptive_fields(network("data=digits"), "act2", (1, 8, 8))
    assert_theoretical(fields, CNN * 2, 8)
    assert fields.size == (8, 8) and not fields.corners.any()


class Narrow(nn.Module):
    """A strided convolution with a binary neuron, then a dilated one, pooled, with a real neuron.

    Each has one channel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = (
            nn.Conv2d(3, 1, 3, stride=2, padding=1),
            nn.Conv2d(1, 1, 3, dilation=2),
        )
        self.pool = nn.MaxPool2d(3, stride=1)
        self.first, self.second = Deterministic(law=Logistic()), Real(law=Logistic())

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.lower(x))
        return self.second(self.pool(self.upper(x))).flatten(1)


NARROW = [("conv", 3, 2, 1), ("conv", 5, 1, 0), ("pool", 3, 1, 0)]
"""A dilated kernel of 3 reaches as far as one of 5."""


def test_strides_dilation_and_single_channels_are_seen_through() -> None:
    fields = receptive_fields(Narrow(), "second", (3, 24, 24))
    assert_theoretical(fields, NARROW, 24)
    assert fields.boxes.shape == (6, 6, 4) and fields.centre == (3, 3)


def test_one_probe_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: a pool passes on one pixel of its window alone."""
    module = sys.modules[receptive_fields.__module__]
    monkeypatch.setattr(module, "PROBES", 1)
    monkeypatch.setattr(module, "IMAGES", 1)
    with pytest.raises(AssertionError):
        assert_theoretical(receptive_fields(Narrow(), "second", (3, 24, 24)), NARROW, 24)


def test_weights_that_are_zero_hide_no_pixel_and_nothing_of_the_network_moves() -> None:
    model = network("data=digits", "model.norm=batch").train()
    with torch.no_grad():
        model.conv1.weight.zero_()
    before = copy.deepcopy(model.state_dict())
    assert_theoretical(receptive_fields(model, "act1", (1, 8, 8)), CNN, 8)
    assert (
        all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        and model.training
    )
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("overrides", [["model=mlp", "model.hidden=5"], ["model.norm=group"]])
def test_units_that_depend_on_every_pixel_have_the_image_as_field(overrides: list[str]) -> None:
    fields = receptive_fields(network("data=digits", *overrides), "act1", (1, 8, 8))
    assert (fields.boxes == torch.tensor([0, 0, 8, 8])).all()
    assert fields.boxes.shape[:2] == ((1, 1) if "model=mlp" in overrides else (4, 4))


def test_a_layer_that_is_not_there_or_sees_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of act1, act2, scores; got 'conv1'"):
        receptive_fields(network("data=digits"), "conv1", (1, 8, 8))

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.neuron = Real(law=Logistic())

        def forward(self, x: Tensor) -> Tensor:
            return self.neuron(x.new_zeros(len(x), 3))

    with pytest.raises(ConfigError, match="no pixel moves those of neuron"):
        receptive_fields(Blind(), "neuron", (1, 8, 8))
