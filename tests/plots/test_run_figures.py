"""Figures of runs: the values that they draw."""

from __future__ import annotations

import math

import pytest
import torch

from bnn.plots.runs import channel_mean, curves, heatmap, heatmaps, mosaic, unit_health
from bnn.tasks import Classification
from bnn.training.activations import LayerView


def view(binary: bool = True) -> LayerView:
    return LayerView("act1", binary, torch.full((3, 4, 5, 5), 0.25), torch.full((3, 4, 5, 5), 0.75))


def test_channel_mean_keeps_the_layers_own_resolution() -> None:
    activation = torch.stack([torch.zeros(7, 5), torch.ones(7, 5)])
    assert torch.equal(channel_mean(activation), torch.full((7, 5), 0.5))


def test_units_without_a_place_are_folded_in_order_and_padded() -> None:
    folded = channel_mean(torch.arange(7.0))
    assert folded.shape == (3, 3)
    assert folded.flatten()[:7].tolist() == list(range(7)) and all(
        math.isnan(v) for v in folded.flatten()[7:].tolist()
    )


def test_a_heatmap_shows_input_bits_and_probability_on_one_scale() -> None:
    figure = heatmap(torch.rand(3, 1, 9, 9), view())
    axis = figure.axes[0]
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["input", "mean bits", "P(bit = 1)"]
    inputs, drawn = axis.images
    assert drawn.get_clim() == (0, 1) and inputs.get_cmap().name == "gray"
    shown = torch.as_tensor(drawn.get_array().filled(math.nan))
    assert shown.shape == (2 * (30 + 1), 3 * (30 + 1)), "5 pixels a side, each repeated 6 times"
    for row, value in enumerate((0.25, 0.75)):
        for column in range(3):
            picture = shown[31 * row : 31 * row + 30, 31 * column : 31 * column + 30]
            assert picture.eq(value).all()
    assert shown[30].isnan().all() and shown[:, 30].isnan().all()


def test_rows_of_a_heatmap_stand_where_their_labels_do() -> None:
    figure = heatmap(torch.rand(3, 1, 9, 9), view())
    figure.draw_without_rendering()
    axis = figure.axes[0]
    inputs, drawn = axis.images
    assert list(inputs.get_extent()) == [0, 3, 0, -1]
    assert list(drawn.get_extent()) == [0, 3, 2, 0]
    assert [round(y) for y in axis.get_yticks()] == [-1, 0, 1], "near the middle of each row"
    assert axis.get_position().height == pytest.approx(
        1.5 * figure.axes[1].get_position().height, rel=1e-6
    ), "the colour scale stands beside the rows that it explains"


def test_a_real_layer_has_its_output_alone() -> None:
    figure = heatmap(torch.rand(3, 1, 9, 9), view(binary=False))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["input", "output"]


def test_a_mosaic_keeps_every_picture_in_its_place_and_nothing_in_between() -> None:
    a, b = torch.full((2, 3), 1.0), torch.full((2, 3), 2.0)
    canvas = mosaic([[a, None], [None, b]])
    assert canvas.shape == (6, 8)
    assert torch.equal(canvas[0:2, 0:3], a) and torch.equal(canvas[3:5, 4:7], b)
    assert int(canvas.isnan().sum()) == 6 * 8 - 2 * 6


def test_a_smaller_picture_is_enlarged_by_repeating_its_pixels() -> None:
    small = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    canvas = mosaic([[small, torch.zeros(4, 4)]])
    assert torch.equal(canvas[:4, :4], small.repeat_interleave(2, 0).repeat_interleave(2, 1))


def test_networks_beside_each_other_share_images_columns_and_one_colour_scale() -> None:
    faint, loud = (
        view(),
        LayerView("act1", False, torch.full((3, 4, 5, 5), 2.5), torch.full((3, 4, 5, 5), 0.75)),
    )
    axis = heatmaps(torch.rand(3, 1, 9, 9), [("faint", faint), ("loud", loud)]).axes[0]
    inputs, drawn = axis.images
    assert (
        drawn.get_clim() == (0, 2.5)
        and inputs.get_cmap().name == "gray"
        and drawn.get_cmap().name == "viridis"
    )
    shown = torch.as_tensor(
        drawn.get_array().filled(math.nan)
    )  # rows of 5 + 1 pixels; 3 + 1 + 3 columns of them
    assert shown.shape == (12, 42)
    assert shown[:5, 0:5].eq(0.25).all() and shown[:5, 18:24].isnan().all()
    assert (
        shown[:5, 24:29].eq(0.75).all()
        and shown[6:11, 0:5].eq(2.5).all()
        and shown[6:11, 24:].isnan().all()
    )
    assert [label.get_text() for label in axis.get_yticklabels()] == ["input", "faint", "loud"]


def test_bits_and_probabilities_are_on_the_same_scale_of_one_at_least() -> None:
    assert heatmaps(torch.rand(3, 1, 9, 9), [("one", view())]).axes[0].images[1].get_clim() == (
        0,
        1,
    )


HISTORY = [
    {"train/loss": 1.0 / e, "val/loss": 2.0 / e, "train/accuracy": 0.9, "val/accuracy": 0.8,
     "units/act1/firing_rate": 0.4, "units/act1/dead": 0.1, "units/act1/saturated": 0.2}
    for e in (1, 2, 3)
]  # fmt: skip


def test_curves_draw_error_in_percent_and_loss_in_nats() -> None:
    loss, error = curves(HISTORY, Classification()).axes
    assert (
        loss.lines[1].get_ydata().tolist() == pytest.approx([2, 1, 2 / 3])
        and loss.get_ylabel() == "loss (nats)"
    )
    assert (
        error.lines[1].get_ydata().tolist() == pytest.approx([20, 20, 20])
        and error.get_ylabel() == "error (%)"
    )


def test_unit_health_draws_every_layer() -> None:
    keys = ("firing_rate", "dead", "saturated")
    history = [{f"units/act{layer}/{key}": 0.5 for layer in range(8) for key in keys}]
    for axis in unit_health(history).axes:
        looks = {(line.get_color(), line.get_linestyle()) for line in axis.lines}
        assert len(axis.lines) == len(looks) == 8


def test_unit_health_draws_shares_in_percent() -> None:
    rate, dead, saturated = unit_health(HISTORY).axes
    values = [float(axis.lines[0].get_ydata()[0]) for axis in (rate, dead, saturated)]
    assert values == pytest.approx([0.4, 10, 20])
