"""Figures of layers: each network in its panel, all on one scale, and NaN left out."""

from __future__ import annotations

import math

import pytest
import torch
from matplotlib.figure import Figure
from torch import Tensor

from bnn.analysis import SCORES, MaximizedImages, Patches, Separability, unit_response
from bnn.plots import layers


def drawn(figure: Figure, panel: int) -> Tensor:
    """Values that a panel shows, NaN where it shows none."""
    return torch.tensor(figure.axes[panel].images[0].get_array().filled(math.nan))


def scales(figure: Figure, panels: range) -> set[tuple[float, float]]:
    return {figure.axes[panel].images[0].get_clim() for panel in panels}


def test_filters_share_a_scale_that_is_symmetric_about_zero() -> None:
    weights = {"a": torch.rand(4, 1, 5, 5), "b": torch.rand(4, 3, 5, 5) - 0.5}
    weights["a"][2, 0, 1, 1] = -3
    figure = layers.filters(weights)
    assert scales(figure, range(2)) == {(-3, 3)} and [
        axis.get_title() for axis in figure.axes[:2]
    ] == ["a", "b"]
    assert float(drawn(figure, 0)[6 + 1, 1]) == -3, "the third of four stands below the first"
    torch.testing.assert_close(drawn(figure, 1)[:5, :5], weights["b"][0].mean(0))


def test_activation_maps_have_a_row_an_image_a_panel_a_network_and_a_picture_a_channel() -> None:
    images = torch.rand(2, 1, 8, 8)
    maps = {"a": torch.rand(2, 4, 3, 3), "b": torch.rand(2, 9)}
    figure = layers.activation_maps(images, maps)
    assert [axis.get_title() for axis in figure.axes[:6]] == ["input", "a", "b", "", "", ""]
    assert scales(figure, range(1, 3)) == scales(figure, range(4, 6)) == {(0, 1)}
    torch.testing.assert_close(drawn(figure, 3), images[1, 0])
    torch.testing.assert_close(drawn(figure, 4)[4:7, :3], maps["a"][1, 2])
    torch.testing.assert_close(drawn(figure, 5), maps["b"][1].view(3, 3))


def test_activations_beyond_one_or_below_zero_widen_the_scale_of_all() -> None:
    maps = {"a": torch.zeros(1, 4, 3, 3), "b": torch.full((1, 4, 3, 3), 2.5)}
    maps["a"][0, 0, 0, 0] = -1
    assert scales(layers.activation_maps(torch.rand(1, 1, 8, 8), maps), range(1, 3)) == {(-1, 2.5)}


def some_patches(level: float) -> Patches:
    """Three channels of two patches of 2×2."""
    pixels = torch.arange(3 * 2 * 4.0).view(3, 2, 1, 2, 2) + level
    pixels[0, 1, 0, 0] = math.nan
    none = torch.zeros(3, 2, dtype=torch.int64)
    return Patches("act1", pixels, none, none, none)


def test_patches_stand_by_channel_and_end_with_their_mean() -> None:
    found = {"a": some_patches(0), "b": some_patches(100)}
    figure = layers.patches(found, channels=2)
    assert scales(figure, range(2)) == {(0, 123)}
    shown, pixels = drawn(figure, 0), found["a"].pixels[:, :, 0]
    assert shown.shape == (2 * 3 - 1, 3 * 3 - 1)
    torch.testing.assert_close(shown[3:5, 3:5], pixels[1, 1])
    torch.testing.assert_close(shown[3:5, 6:8], pixels[1].mean(0))
    assert shown[0, 3:5].isnan().all() and not shown[1, 3:5].isnan().any(), (
        "beyond the image's edge nothing is drawn"
    )
    torch.testing.assert_close(shown[0, 6:8], pixels[0, 0, 0])
    assert figure.axes[0].get_ylabel() == "channel of act1" and list(
        figure.axes[0].get_yticks()
    ) == [0.5, 3.5]


@pytest.mark.parametrize(
    "layer, words", [("act2", "pre-activation of act2 -1.0 → 3.0"), (SCORES, "score -1.0 → 3.0")]
)
def test_maximized_images_have_start_and_end_of_the_value_in_their_title(
    layer: str, words: str
) -> None:
    pixels = torch.rand(4, 1, 6, 6)
    values = torch.tensor([[0.0, -2.0, -1.0, -1.0], [9, 9, 9, 9], [2.0, 4.0, 3.0, 3.0]])
    figure = layers.maximized_images({"a": MaximizedImages(layer, (0, 1, 2, 3), pixels, values)})
    assert figure.axes[0].get_title() == f"a\n{words}" and scales(figure, range(1)) == {(0, 1)}
    torch.testing.assert_close(drawn(figure, 0)[7:, 7:], pixels[3, 0])


def test_separability_has_a_line_a_network_with_errors_of_one_standard_error() -> None:
    by_layer = {"pixels": Separability(0.5, 0.9, 100), "act1": Separability(0.6, 1.0, 100)}
    figure = layers.separability({"a": by_layer, "b": by_layer})
    for axis, values, title in zip(
        figure.axes, ([50, 60], [90, 100]), ("centroid", "neighbour"), strict=True
    ):
        assert axis.get_title() == f"nearest {title}" and len(axis.containers) == 2
        line, _, (bars,) = axis.containers[1]
        assert line.get_ydata().tolist() == pytest.approx(values)
        spans = [abs(end[1] - start[1]) / 2 for start, end in bars.get_segments()]
        assert spans == pytest.approx(
            [100 * math.sqrt(v / 100 * (1 - v / 100) / 100) for v in values]
        )
        assert [label.get_text() for label in axis.get_xticklabels()] == ["pixels", "act1"]


def test_units_show_the_law_the_draws_and_the_derivative() -> None:
    found = {
        name: unit_response(f"neuron={name}", slope=2.0, draws=20, seed=0)
        for name in ("stochastic", "deterministic")
    }
    figure = layers.unit_responses(found)
    for (name, one), upper, lower in zip(
        found.items(), figure.axes[:2], figure.axes[2:], strict=True
    ):
        bits, mean, p = (line.get_ydata() for line in upper.get_lines())
        assert (
            upper.get_title() == name
            and list(p) == one.p.tolist()
            and list(bits) == one.bits.tolist()
        )
        assert (
            list(mean) == one.mean[::5].tolist()
            and list(lower.get_lines()[0].get_ydata()) == one.derivative.tolist()
        )


def test_a_prediction_shows_each_layers_bits_and_marks_the_class() -> None:
    bits = {"act1": (torch.rand(4, 3, 3) < 0.5).float(), "act2": torch.ones(9)}
    figure = layers.prediction(torch.rand(1, 8, 8), bits, torch.tensor([0.1, 0.7, 0.2]))
    assert [axis.get_title() for axis in figure.axes[1:3]][1] == "bits of act2, 100 % fire"
    torch.testing.assert_close(drawn(figure, 1)[4:, 4:].float(), bits["act1"][3])
    colours = [bar.get_facecolor() for bar in figure.axes[3].patches]
    assert colours[0] == colours[2] != colours[1] and [
        bar.get_width() for bar in figure.axes[3].patches
    ][1] == pytest.approx(70)


def test_separability_puts_layers_of_one_name_at_one_place() -> None:
    one = Separability(0.5, 0.9, 100)
    shallow, deep = ("pixels", "act1", "scores"), ("pixels", "act1", "act2", "scores")
    networks = {"shallow": dict.fromkeys(shallow, one), "deep": dict.fromkeys(deep, one)}
    for axis in layers.separability(networks).axes:
        assert [label.get_text() for label in axis.get_xticklabels()] == list(deep)
        for (line, *_), names in zip(axis.containers, (shallow, deep), strict=True):
            assert [deep[round(x)] for x in line.get_xdata()] == list(names)
