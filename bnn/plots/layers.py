"""Figures of what layers respond to, networks side by side on one scale."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from bnn.analysis.activation_maximization import MaximizedImages
from bnn.analysis.firing import UnitResponse
from bnn.analysis.patches import Patches
from bnn.analysis.responses import SCORES
from bnn.analysis.separability import Separability
from bnn.plots.runs import channel_mean, mosaic
from bnn.plots.style import COLOURS, bare, style, tidy

WIDTH, MARGIN = 11.0, 1.4
"""Inches of a figure, and of the scale beside its panels."""
NAN_COLOURS = {"gray": "#9ecae1", "RdBu_r": "#d9d9d9", "viridis": "#ffffff"}
"""By colour map, the colour of NaN: lines between pictures, and what lies beyond an image."""


def _in_rows(pictures: Tensor, columns: int) -> Tensor:
    """Pictures [k, h, w] as one, in rows of `columns` with a line of NaN between them."""
    return mosaic([list(row) for row in pictures.split(columns)])[:-1, :-1]


def _in_square(pictures: Tensor) -> Tensor:
    """Pictures [k, h, w] as one, as near to a square as whole rows allow."""
    k = len(pictures)
    columns = math.ceil(math.sqrt(k))
    while k % columns:
        columns += 1
    return _in_rows(pictures, columns)


def _panels(columns: int, rows: int, picture: Tensor) -> tuple[Figure, list[list[Axes]]]:
    """A figure with a grid of panels that have the shape of a picture [h, w]."""
    height, width = picture.shape
    panel = (WIDTH - MARGIN) / columns
    size = (WIDTH, 0.7 + rows * (panel * height / width + 0.1))
    figure = Figure(figsize=size, layout="constrained")
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=0.1)  # type: ignore[call-arg]
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def _draw(axis: Axes, picture: Tensor, colours: str, scale: tuple[float, float]) -> AxesImage:
    """Draw a picture [h, w] in a colour map, from the lower to the upper end of a scale."""
    return bare(axis).imshow(
        picture.cpu(),
        cmap=colormaps[colours].with_extremes(bad=NAN_COLOURS[colours]),
        vmin=scale[0],
        vmax=scale[1],
        interpolation="nearest",
    )


def filters(weights: Mapping[str, Tensor]) -> Figure:
    """Filters of each network's first layer: red excites, blue inhibits.

    All are on one scale, from minus the largest absolute weight to it.

    Args:
        weights: name of a network -> [filters, c, rows, columns]; the mean over c is drawn.
    """
    pictures = {name: _in_square(one.mean(1)) for name, one in weights.items()}
    top = max(float(picture.nan_to_num().abs().max()) for picture in pictures.values())
    figure, (axes,) = _panels(len(pictures), 1, next(iter(pictures.values())))
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        drawn = _draw(axis, picture, "RdBu_r", (-top, top))
        axis.set_title(name, fontsize=11)
    figure.colorbar(drawn, ax=axes, label="weight")
    return figure


def activation_maps(images: Tensor, maps: Mapping[str, Tensor]) -> Figure:
    """Outputs of a layer for several images: a row an image, a panel a network or a reading.

    All are on one scale from 0 to 1, or to the values beyond.

    Args:
        images: [n, c, h, w], drawn on the left.
        maps: title -> [n, channels, h, w], a small picture a channel, or [n, units] folded to rows.
    """
    values = torch.cat([layer.flatten() for layer in maps.values()])
    scale = min(0.0, float(values.min())), max(1.0, float(values.max()))
    greys = float(images.min()), float(images.max())
    figure, grid = _panels(len(maps) + 1, len(images), images[0, 0])
    for row, (image, axes) in enumerate(zip(images, grid, strict=True)):
        _draw(axes[0], image.mean(0), "gray", greys)
        for axis, layer in zip(axes[1:], maps.values(), strict=True):
            drawn = _draw(axis, _map(layer[row]), "viridis", scale)
    for axis, title in zip(grid[0], ["input", *maps], strict=True):
        axis.set_title(title, fontsize=11)
    figure.colorbar(drawn, ax=[axis for axes in grid for axis in axes], label="activation")
    return figure


def _map(activation: Tensor) -> Tensor:
    """One picture of [channels, h, w] or of [units]."""
    if activation.dim() == 1:
        return channel_mean(activation)
    return _in_rows(activation, math.ceil(math.sqrt(len(activation))))


def patches(by_network: Mapping[str, Patches], channels: int) -> Figure:
    """Patches that excite channels of a layer most: a row a channel, the highest first, their mean.

    The pixels of all networks are on one scale; light blue lies beyond an image's edge.

    Args:
        by_network: name of a network -> patches of one layer.
        channels: channels that are drawn, from the first one.
    """
    pixels = torch.cat([one.pixels.flatten() for one in by_network.values()])
    pixels = pixels[~pixels.isnan()]
    scale = float(pixels.min()), float(pixels.max())
    rows = {
        name: torch.cat([one.pixels, one.mean[:, None]], 1)[:channels].mean(2)
        for name, one in by_network.items()
    }
    pictures = {name: _in_rows(one.flatten(0, 1), one.shape[1]) for name, one in rows.items()}
    figure, (axes,) = _panels(len(by_network), 1, next(iter(pictures.values())))
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        drawn = _draw(axis, picture, "gray", scale)
        axis.set_title(name, fontsize=11)
        _label_patches(axis, rows[name])
    axes[0].set_ylabel(f"channel of {next(iter(by_network.values())).layer}")
    figure.colorbar(drawn, ax=axes, label="pixel (normalised)")
    return figure


def _label_patches(axis: Axes, rows: Tensor) -> None:
    """Channel numbers beside the rows [channels, patches, h, w], titles below their two ends."""
    count, columns, height, width = rows.shape
    middles = [(height + 1) * row + (height - 1) / 2 for row in range(count)]
    ends = [(width + 1) * column + (width - 1) / 2 for column in (0, columns - 1)]
    axis.set_yticks(middles, [str(row) for row in range(count)])
    axis.set_xticks(ends, ["highest", "mean"])
    axis.tick_params(length=0)


def maximized_images(by_network: Mapping[str, MaximizedImages]) -> Figure:
    """Images of activation maximization, from black at 0 to white at 1, one for each channel.

    The title of a network has the maximized value at the start and at the end, in the mean of the
    channels.

    Args:
        by_network: name of a network -> images of one layer.
    """
    pictures = {name: _in_square(one.pixels.mean(1)) for name, one in by_network.items()}
    figure, (axes,) = _panels(len(by_network), 1, next(iter(pictures.values())))
    for axis, (name, one) in zip(axes, by_network.items(), strict=True):
        drawn = _draw(axis, pictures[name], "gray", (0, 1))
        value = "score" if one.layer == SCORES else f"pre-activation of {one.layer}"
        start, end = (round(float(one.values[step].mean()), 1) + 0.0 for step in (0, -1))
        axis.set_title(f"{name}\n{value} {start} → {end}", fontsize=11)
    figure.colorbar(drawn, ax=axes, label="pixel")
    return figure


def separability(by_network: Mapping[str, Mapping[str, Separability]]) -> Figure:
    """Accuracy of the nearest centroid and of the nearest neighbour by layer, a line a network.

    Error bars are one standard error on the images measured.

    Args:
        by_network: name of a network -> layer -> separability.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    deepest = max(by_network.values(), key=len)
    places = [*dict.fromkeys(name for one in (deepest, *by_network.values()) for name in one)]
    for axis, classifier in zip(axes, ("centroid", "neighbour"), strict=True):
        for number, (name, layers) in enumerate(by_network.items()):
            offset = 0.06 * (number - (len(by_network) - 1) / 2)
            values = [getattr(one, classifier) for one in layers.values()]
            pairs = zip(layers.values(), values, strict=True)
            axis.errorbar(
                [places.index(layer) + offset for layer in layers],
                [100 * value for value in values],
                [100 * one.standard_error(value) for one, value in pairs],
                label=name,
                capsize=2,
                **style(number),
            )
        tidy(axis, "layer", "").set_title(f"nearest {classifier}", fontsize=11)
        axis.set_xticks(range(len(places)), places)
    axes[0].set_ylabel("validation accuracy (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def unit_responses(units: Mapping[str, UnitResponse]) -> Figure:
    """Units over their input: firing probability, bits and their mean; pseudo-derivatives below.

    All are on one scale.

    Args:
        units: title -> response.
    """
    figure = Figure(figsize=(WIDTH, 5), layout="constrained")
    above, below = figure.subplots(2, len(units), sharex=True, sharey="row", squeeze=False)
    for upper, lower, (name, one) in zip(above, below, units.items(), strict=True):
        upper.plot(one.x, one.bits, "|", color="0.6", ms=7, label="bits of one draw")
        upper.plot(one.x[::5], one.mean[::5], "o", color=COLOURS[1], ms=3, label="mean of draws")
        upper.plot(one.x, one.p, color=COLOURS[0], label="F(slope · x)")
        lower.plot(one.x, one.derivative, color=COLOURS[2], label="pseudo-derivative")
        tidy(upper, "", "").set_title(name, fontsize=11)
        tidy(lower, "input x", "")
    above[0].set_ylabel("output")
    below[0].set_ylabel("derivative by x")
    handles = [*above[0].get_lines(), *below[0].get_lines()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def prediction(pixels: Tensor, bits: Mapping[str, Tensor], p: Tensor) -> Figure:
    """An image, the bits of each binary layer in black and white, and the class probabilities.

    Args:
        pixels: [c, h, w], from 0 to 1.
        bits: layer -> bits of one draw, [channels, h, w] or [units].
        p: [classes].
    """
    figure = Figure(figsize=(3 * (2 + len(bits)), 3.2), layout="constrained")
    image, *layers, bars = figure.subplots(1, 2 + len(bits), squeeze=False)[0]
    _draw(image, pixels.mean(0), "gray", (0, 1))
    image.set_title("input", fontsize=11)
    for axis, (name, values) in zip(layers, bits.items(), strict=True):
        picture = channel_mean(values) if values.dim() == 1 else _in_square(values)
        _draw(axis, picture, "gray", (0, 1))
        fired = 100 * float(values.float().mean())
        axis.set_title(f"bits of {name}, {fired:.0f} % fire", fontsize=11)
    predicted = int(p.argmax())
    colours = [COLOURS[number == predicted] for number in range(len(p))]
    bars.barh(range(len(p)), 100 * p, color=colours)
    tidy(bars, "probability (%)", "class").set_yticks(range(len(p)))
    bars.invert_yaxis()
    bars.set_xlim(0, 100)
    return figure
