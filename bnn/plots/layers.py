"""Pictures of what layers see, networks side by side on one scale. Each function answers a figure and touches no file."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from bnn.analysis.activation_maximization import Ascent
from bnn.analysis.firing import Unit
from bnn.analysis.patches import Patches
from bnn.analysis.responses import SCORES
from bnn.analysis.separability import Separability
from bnn.plots.runs import channel_mean, mosaic
from bnn.plots.style import COLOURS, style, tidy

WIDTH, MARGIN = 11.0, 1.4
"""Inches: of a figure, and of what stands beside its panels."""
NOTHING = {"gray": "#9ecae1", "RdBu_r": "#d9d9d9", "viridis": "#ffffff"}
"""By colour map, the colour of NaN: the lines between pictures, and what lies beyond an image's edge."""


def _rows(pictures: Tensor, columns: int) -> Tensor:
    """[k, h, w] -> one picture in which they stand in rows of `columns`, with a line of NaN between them."""
    return mosaic([list(row) for row in pictures.split(columns)])[:-1, :-1]


def _folded(pictures: Tensor) -> Tensor:
    """A mosaic as near to a square as whole rows allow."""
    k = len(pictures)
    return _rows(
        pictures,
        next(columns for columns in range(math.ceil(math.sqrt(k)), k + 1) if k % columns == 0),
    )


def _panels(columns: int, rows: int, picture: Tensor) -> tuple[Figure, list[list[Axes]]]:
    """Panels that fit the shape of `picture`."""
    height, width = picture.shape
    panel = (WIDTH - MARGIN) / columns
    figure = Figure(
        figsize=(WIDTH, 0.7 + rows * (panel * height / width + 0.1)), layout="constrained"
    )
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(w_pad=0.1)  # type: ignore[call-arg]
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def _draw(axis: Axes, picture: Tensor, colours: str, scale: tuple[float, float]) -> AxesImage:
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    return axis.imshow(
        picture.cpu(),
        cmap=colormaps[colours].with_extremes(bad=NOTHING[colours]),
        vmin=scale[0],
        vmax=scale[1],
        interpolation="nearest",
    )


def filters(weights: Mapping[str, Tensor]) -> Figure:
    """The filters [filters, c, rows, columns] of each network's first layer, the mean over c, on one scale from minus the
    largest weight of all to it: what excites is red, what inhibits is blue."""
    pictures = {name: _folded(one.mean(1)) for name, one in weights.items()}
    top = max(float(picture.nan_to_num().abs().max()) for picture in pictures.values())
    figure, (axes,) = _panels(len(pictures), 1, next(iter(pictures.values())))
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        drawn = _draw(axis, picture, "RdBu_r", (-top, top))
        axis.set_title(name, fontsize=11)
    figure.colorbar(drawn, ax=axes, label="weight")
    return figure


def activation_maps(images: Tensor, maps: Mapping[str, Tensor]) -> Figure:
    """A row for each of `images` [n, c, h, w]: the input, then under each title what a layer answers to it, a small picture
    a channel of [n, channels, h, w], or [n, units] folded to rows; all on one scale from 0 to 1, or to what lies beyond."""
    values = torch.cat([layer.flatten() for layer in maps.values()])
    scale = min(0.0, float(values.min())), max(1.0, float(values.max()))
    figure, grid = _panels(len(maps) + 1, len(images), images[0, 0])
    for row, (image, axes) in enumerate(zip(images, grid, strict=True)):
        _draw(axes[0], image.mean(0), "gray", (float(images.min()), float(images.max())))
        for axis, (name, layer) in zip(axes[1:], maps.items(), strict=True):
            own, columns = layer[row], math.ceil(math.sqrt(len(layer[row])))
            drawn = _draw(
                axis, channel_mean(own) if own.dim() == 1 else _rows(own, columns), "viridis", scale
            )
            axis.set_title(name if row == 0 else "", fontsize=11)
    grid[0][0].set_title("input", fontsize=11)
    figure.colorbar(drawn, ax=[axis for axes in grid for axis in axes], label="activation")
    return figure


def patches(found: Mapping[str, Patches], channels: int) -> Figure:
    """The patches that excite the first so many channels of a layer most: a row for each channel, the highest first, and
    their mean last; the pixels of all networks on one scale, and in light blue what lies beyond an image's edge."""
    inside = torch.cat([one.pixels.flatten() for one in found.values()])
    inside = inside[~inside.isnan()]
    scale = float(inside.min()), float(inside.max())
    rows = {
        name: torch.cat([one.pixels, one.mean[:, None]], 1)[:channels].mean(2)
        for name, one in found.items()
    }
    pictures = {name: _rows(one.flatten(0, 1), one.shape[1]) for name, one in rows.items()}
    figure, (axes,) = _panels(len(found), 1, next(iter(pictures.values())))
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        drawn = _draw(axis, picture, "gray", scale)
        axis.set_title(name, fontsize=11)
        count, columns, height, width = rows[name].shape
        axis.set_yticks(
            [(height + 1) * row + (height - 1) / 2 for row in range(count)],
            [str(row) for row in range(count)],
        )
        axis.set_xticks(
            [(width + 1) * column + (width - 1) / 2 for column in (0, columns - 1)],
            ["highest", "mean"],
        )
        axis.tick_params(length=0)
    axes[0].set_ylabel(f"channel of {next(iter(found.values())).layer}")
    figure.colorbar(drawn, ax=axes, label="pixel (normalised)")
    return figure


def ascents(found: Mapping[str, Ascent]) -> Figure:
    """The images that ascent came to, a small picture a channel, from black at 0 to white at 1; over each network what was
    ascended, at the start and at the end, in the mean of these channels."""
    pictures = {name: _folded(one.pixels.mean(1)) for name, one in found.items()}
    figure, (axes,) = _panels(len(found), 1, next(iter(pictures.values())))
    for axis, (name, one) in zip(axes, found.items(), strict=True):
        drawn = _draw(axis, pictures[name], "gray", (0, 1))
        what = "score" if one.layer == SCORES else f"pre-activation of {one.layer}"
        start, end = (round(float(one.values[step].mean()), 1) + 0.0 for step in (0, -1))
        axis.set_title(f"{name}\n{what} {start} → {end}", fontsize=11)
    figure.colorbar(drawn, ax=axes, label="pixel")
    return figure


def separability(found: Mapping[str, Mapping[str, Separability]]) -> Figure:
    """Accuracy of the nearest centroid and of the nearest neighbour by layer, a line for each network, with error bars of
    one standard error on the images measured."""
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, classifier in zip(axes, ("centroid", "neighbour"), strict=True):
        for number, (name, layers) in enumerate(found.items()):
            values = [getattr(one, classifier) for one in layers.values()]
            errors = [
                100 * one.error(value) for one, value in zip(layers.values(), values, strict=True)
            ]
            places = [
                place + 0.06 * (number - (len(found) - 1) / 2) for place in range(len(layers))
            ]
            axis.errorbar(
                places,
                [100 * value for value in values],
                errors,
                label=name,
                capsize=2,
                **style(number),
            )
        tidy(axis, "layer", "").set_title(f"nearest {classifier}", fontsize=11)
        axis.set_xticks(range(len(layers)), list(layers))
    axes[0].set_ylabel("validation accuracy (%)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def units(found: Mapping[str, Unit]) -> Figure:
    """Of each unit, over its input: the probability of its law, the bits of one draw and their mean over draws; below, the
    derivative that its estimator pretends, all on one scale."""
    figure = Figure(figsize=(WIDTH, 5), layout="constrained")
    above, below = figure.subplots(2, len(found), sharex=True, sharey="row", squeeze=False)
    for upper, lower, (name, one) in zip(above, below, found.items(), strict=True):
        upper.plot(one.x, one.bits, "|", color="0.6", ms=7, label="bits of one draw")
        upper.plot(one.x[::5], one.mean[::5], "o", color=COLOURS[1], ms=3, label="mean of draws")
        upper.plot(one.x, one.p, color=COLOURS[0], label="F(slope · x)")
        lower.plot(one.x, one.derivative, color=COLOURS[2], label="pretended derivative")
        tidy(upper, "", "").set_title(name, fontsize=11)
        tidy(lower, "input x", "")
    above[0].set_ylabel("output")
    below[0].set_ylabel("derivative by x")
    handles = [*above[0].get_lines(), *below[0].get_lines()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def prediction(pixels: Tensor, bits: Mapping[str, Tensor], p: Tensor) -> Figure:
    """An image [c, h, w], the bits of each binary layer in one draw ([channels, h, w] or [units]), black or white, and the
    class probabilities p [classes]."""
    figure = Figure(figsize=(3 * (2 + len(bits)), 3.2), layout="constrained")
    image, *layers, bars = figure.subplots(1, 2 + len(bits), squeeze=False)[0]
    _draw(image, pixels.mean(0), "gray", (0, 1))
    image.set_title("input", fontsize=11)
    for axis, (name, values) in zip(layers, bits.items(), strict=True):
        _draw(axis, channel_mean(values) if values.dim() == 1 else _folded(values), "gray", (0, 1))
        axis.set_title(
            f"bits of {name}, {100 * float(values.float().mean()):.0f} % fire", fontsize=11
        )
    shown = int(p.argmax())
    bars.barh(range(len(p)), 100 * p, color=[COLOURS[number == shown] for number in range(len(p))])
    tidy(bars, "probability (%)", "class").set_yticks(range(len(p)))
    bars.invert_yaxis()
    bars.set_xlim(0, 100)
    return figure
