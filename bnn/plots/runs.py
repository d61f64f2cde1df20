"""Pictures of runs: heatmaps, of several beside each other too, curves and unit health. Each function answers a figure and
touches no file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate

from bnn.plots.style import COLOURS, tidy
from bnn.tasks import Task
from bnn.training.activations import PICTURE_DRAWS, LayerView


def channel_mean(activation: Tensor) -> Tensor:
    """[units...] of one image as a picture: the mean over channels of [c, h, w], or [units] folded to near-square rows
    (the cells beyond the last unit are NaN)."""
    if activation.dim() == 3:
        return activation.mean(0)
    width = math.ceil(math.sqrt(len(activation)))
    padded = activation.new_full((math.ceil(len(activation) / width) * width,), math.nan)
    padded[: len(activation)] = activation
    return padded.view(-1, width)


def heatmap(images: Tensor, layer: LayerView, columns: int = 5) -> Figure:
    """What a layer makes of fixed images: the input above the mean of its bits above its firing probability (a real layer
    has its output alone), as channel means at the layer's own resolution, all on one colour scale from 0 to 1, or to the
    largest mean where outputs exceed 1."""
    columns = min(columns, len(images))
    top = max(1.0, *(float(channel_mean(one).nan_to_num().max()) for one in layer.bits[:columns]))
    rows: list[tuple[str, Tensor | None]] = [("input", None), ("output", layer.bits)]
    if layer.binary:
        rows = [("input", None), ("mean bits", layer.bits), ("P(bit = 1)", layer.p)]
    figure = Figure(
        figsize=(7, 1.4 * len(rows))
    )  # placed by hand: a layout engine takes most of the drawing time
    axes = figure.subplots(len(rows), columns, squeeze=False)
    figure.subplots_adjust(left=0.05, right=0.87, bottom=0.02, top=0.98, wspace=0.05, hspace=0.08)
    for (label, values), line in zip(rows, axes, strict=True):
        for column, axis in enumerate(line):
            if values is None:
                axis.imshow(images[column].mean(0), cmap="gray")
            else:
                drawn = axis.imshow(channel_mean(values[column]), cmap="viridis", vmin=0, vmax=top)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(label, fontsize=13)
    bottom = axes[-1][0].get_position().y0
    bar = figure.colorbar(
        drawn, cax=figure.add_axes((0.89, bottom, 0.02, axes[1][0].get_position().y1 - bottom))
    )
    bar.ax.tick_params(labelsize=12)
    bar.set_label("channel mean", fontsize=12)
    return figure


def mosaic(rows: Sequence[Sequence[Tensor | None]]) -> Tensor:
    """Pictures [h, w] in rows and columns on one canvas, [rows · (h + 1), columns · (w + 1)]; what is in between, or has no
    picture, is NaN. Smaller pictures are enlarged to the largest by repeating their pixels."""
    height, width = (
        max(one.shape[k] for row in rows for one in row if one is not None) for k in (0, 1)
    )
    canvas = torch.full((len(rows) * (height + 1), max(map(len, rows)) * (width + 1)), math.nan)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            if picture is not None:
                whole = interpolate(
                    picture[None, None].float(), size=(height, width), mode="nearest"
                )[0, 0]
                top, left = y * (height + 1), x * (width + 1)
                canvas[top : top + height, left : left + width] = whole
    return canvas


def heatmaps(images: Tensor, layers: Sequence[tuple[str, LayerView]], columns: int = 5) -> Figure:
    """What one layer of several networks, by their names, makes of the same images: a row for each network, the means of its
    bits on the left and its firing probabilities on the right (of real units the output alone), as channel means on one
    colour scale from 0 to 1, or to the largest mean where outputs exceed 1."""
    columns = min(columns, len(images))
    rows: list[list[Tensor | None]] = []
    for _, view in layers:
        p = map(channel_mean, view.p[:columns]) if view.binary else columns * [None]
        rows.append([*map(channel_mean, view.bits[:columns]), None, *p])
    top = max(
        1.0, *(float(one.nan_to_num().max()) for row in rows for one in row if one is not None)
    )
    across, down, inputs = (
        2 * columns + 1,
        len(layers),
        [image.mean(0) for image in images[:columns]],
    )
    names = ["input", *(fill(name, 44) for name, _ in layers)]
    height, width = (
        max(one.shape[k] + 1 for row in rows for one in row if one is not None) for k in (0, 1)
    )
    beside = 0.085 * max(len(line) for name in names for line in name.split("\n"))
    figure = Figure(
        figsize=(beside + 0.6 * across + 0.9, 0.5 + 0.6 * (down + 1) * height / width),
        layout="constrained",
    )
    axis = figure.subplots()
    axis.imshow(
        mosaic([[*inputs, None, *inputs]]),
        cmap="gray",
        extent=(0, across, 0, -1),
        interpolation="nearest",
    )
    drawn = axis.imshow(
        mosaic(rows),
        cmap="viridis",
        vmin=0,
        vmax=top,
        extent=(0, across, down, 0),
        interpolation="nearest",
    )
    axis.set(xlim=(0, across), ylim=(down, -1), aspect=height / width)
    axis.set_yticks([row + 0.47 for row in range(-1, down)], names, fontsize=10)
    axis.set_xticks(
        [columns / 2, columns + 1 + columns / 2],
        [f"output, mean of {PICTURE_DRAWS} draws", "firing probability"],
        fontsize=11,
    )
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=axis, fraction=0.03, pad=0.01, aspect=30).set_label(
        "channel mean", fontsize=11
    )
    return figure


def _by_epoch(figure: Figure, count: int) -> list[Axes]:
    return [tidy(axis, "epoch", "") for axis in figure.subplots(1, count, squeeze=False)[0]]


def curves(history: Sequence[Mapping[str, float]], task: Task) -> Figure:
    """Metrics of a task by epoch, training and validation: the loss on a log scale where it is positive, then the others.

    Accuracies are drawn as errors, in which late progress can be seen.
    """
    names = ["loss", *(name for name in task.metrics if name != "loss")]
    figure = Figure(figsize=(4.5 * len(names), 3.6), layout="constrained")
    epochs = range(1, len(history) + 1)
    for axis, name in zip(_by_epoch(figure, len(names)), names, strict=True):
        metric, drawn = task.metrics[name], []
        for colour, part, label in (
            (COLOURS[0], "train", "training"),
            (COLOURS[1], "val", "validation"),
        ):
            if f"{part}/{name}" not in history[0]:
                continue
            values = [h[f"{part}/{name}"] for h in history]
            shown = [
                100 * (1 - value) if name == "accuracy" else metric.scale * value
                for value in values
            ]
            axis.plot(epochs, shown, color=colour, marker="o", ms=3, label=label)
            drawn += shown
        if name == "loss" and min(drawn) > 0:
            axis.set_yscale("log")
        axis.set_ylabel("error (%)" if name == "accuracy" else f"{name} ({metric.unit})")
        if name == "loss":
            axis.legend(frameon=False)
    return figure


def unit_health(history: Sequence[Mapping[str, float]]) -> Figure:
    """Firing rate, dead share and saturated share by epoch, a line per binary layer."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    titles = {
        "firing_rate": "mean firing rate",
        "dead": "never fire (%)",
        "saturated": "always fire (%)",
    }
    layers = sorted({key.split("/")[1] for key in history[-1] if key.startswith("units/")})
    for axis, (key, label) in zip(_by_epoch(figure, 3), titles.items(), strict=True):
        scale = 1 if key == "firing_rate" else 100
        for colour, layer in zip(COLOURS, layers, strict=False):
            values = [scale * epoch[f"units/{layer}/{key}"] for epoch in history]
            axis.plot(
                range(1, len(history) + 1), values, color=colour, marker="o", ms=3, label=layer
            )
        axis.set_ylabel(label)
        axis.set_ylim(0, 1 if key == "firing_rate" else None)
    axis.legend(frameon=False)
    return figure
