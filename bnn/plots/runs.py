"""Figures of runs: learning curves, unit health, and heatmaps of one network or of several."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

import torch
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor
from torch.nn.functional import interpolate

from bnn.plots.style import COLOURS, bare, epoch_axis, line_style, log_axis, tidy
from bnn.tasks import Pictures, Task
from bnn.training.activations import PICTURE_DRAWS, LayerView

CELL = 0.6
"""Inches of a picture in `heatmaps`."""
PIXELS = 28
"""Least height or width in pixels of a picture in `heatmap`."""
CHARACTER = 0.085
"""Inches of a character of a name beside it."""


def channel_mean(activation: Tensor) -> Tensor:
    """Activation of one image as a picture.

    Args:
        activation: [c, h, w], or [units].

    Returns:
        Mean over the channels, [h, w]; units folded to near-square rows, NaN beyond the last one.
    """
    if activation.dim() == 3:
        return activation.mean(0)
    width = math.ceil(math.sqrt(len(activation)))
    padded = activation.new_full((math.ceil(len(activation) / width) * width,), math.nan)
    padded[: len(activation)] = activation
    return padded.view(-1, width)


def mosaic(rows: Sequence[Sequence[Tensor | None]], pixels: int = 1) -> Tensor:
    """Pictures in rows and columns on one canvas, with a line of NaN behind each.

    Args:
        rows: pictures [h, w], or None for an empty place. All are enlarged by repeating their
            pixels: to the size of the largest, or a multiple of it.
        pixels: least height or width of an enlarged picture, beside which the lines are thin.

    Returns:
        [rows · (h + 1), columns · (w + 1)] for enlarged pictures [h, w].
    """
    pictures = [one for row in rows for one in row if one is not None]
    height, width = (max(one.shape[k] for one in pictures) for k in (0, 1))
    factor = math.ceil(pixels / max(height, width))
    height, width = factor * height, factor * width
    canvas = torch.full((len(rows) * (height + 1), max(map(len, rows)) * (width + 1)), math.nan)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            if picture is not None:
                batch = picture[None, None].float()
                enlarged = interpolate(batch, size=(height, width), mode="nearest")[0, 0]
                top, left = y * (height + 1), x * (width + 1)
                canvas[top : top + height, left : left + width] = enlarged
    return canvas


def _top(pictures: Sequence[Tensor]) -> float:
    """Upper end of the colour scale: 1, or the largest mean where outputs exceed 1."""
    return max(1.0, *(float(one.nan_to_num().max()) for one in pictures))


def heatmap(images: Tensor, layer: LayerView, columns: int = 4, title: str = "input") -> Figure:
    """One layer on fixed images: the image, the mean of its bits, and its firing probability.

    A real-valued layer has its output alone. Pictures are channel means at the layer's own
    resolution, on one colour scale from 0 to 1, or to the largest mean where outputs exceed 1.

    Args:
        images: [n, c, h, w].
        layer: layer on these images.
        columns: images that are drawn, from the first one.
        title: title of the row of images.
    """
    columns = min(columns, len(images))
    rows = {"mean bits": layer.bits, "P(bit = 1)": layer.p}
    if not layer.binary:
        rows = {"output": layer.bits}
    pictures = [[channel_mean(one) for one in values[:columns]] for values in rows.values()]
    # one axis for all pictures, placed by hand: an axis each takes ten times as long to draw
    figure = Figure(figsize=(7, 1.55 * (1 + len(rows))))
    axis = figure.add_axes((0.06, 0.02, 0.8, 0.96))
    axis.imshow(
        mosaic([[image.mean(0) for image in images[:columns]]], PIXELS),
        cmap="gray",
        extent=(0, columns, 0, -1),
        interpolation="nearest",
    )
    drawn = axis.imshow(
        mosaic(pictures, PIXELS),
        cmap="viridis",
        vmin=0,
        vmax=_top(pictures[0]),
        extent=(0, columns, len(rows), 0),
        interpolation="nearest",
    )
    height, width = pictures[0][0].shape
    axis.set(xlim=(0, columns), ylim=(len(rows), -1), aspect=height / width)
    bare(axis)
    names = [title, *rows]
    axis.set_yticks([row - 0.53 for row in range(len(names))], names, fontsize=13, rotation=90)
    for label in axis.get_yticklabels():
        label.set_verticalalignment("center")
    axis.tick_params(length=0)
    _add_scale(figure, drawn, len(rows) / (1 + len(rows)))
    return figure


def _add_scale(figure: Figure, drawn: AxesImage, share: float) -> None:
    """Add the colour scale of `drawn` beside the lower part of its axis.

    Args:
        figure: figure of one axis.
        drawn: image whose colours are explained.
        share: height of the part, as a share of the axis.
    """
    assert drawn.axes is not None
    drawn.axes.apply_aspect()
    box = drawn.axes.get_position()
    place = (0.89, box.y0, 0.02, share * box.height)
    bar = figure.colorbar(drawn, cax=figure.add_axes(place))
    bar.ax.tick_params(labelsize=12)
    bar.set_label("channel mean", fontsize=12)


def heatmaps(images: Tensor, layers: Sequence[tuple[str, LayerView]], columns: int = 5) -> Figure:
    """One layer of several networks on the same images, a row for each network.

    The means of its bits stand on the left, its firing probabilities on the right; a real-valued
    layer has its output alone. Pictures are channel means on one colour scale from 0 to 1, or to
    the largest mean where outputs exceed 1.

    Args:
        images: [n, c, h, w].
        layers: name of each network, and its layer on these images.
        columns: images that are drawn, from the first one.
    """
    columns = min(columns, len(images))
    rows = [_network_row(view, columns) for _, view in layers]
    pictures = [one for row in rows for one in row if one is not None]
    names = ["input", *(fill(name, 44) for name, _ in layers)]
    across, down = 2 * columns + 1, len(layers)
    height, width = (max(one.shape[k] + 1 for one in pictures) for k in (0, 1))
    beside = CHARACTER * max(len(line) for name in names for line in name.split("\n"))
    size = (beside + CELL * across + 0.9, 0.5 + CELL * (down + 1) * height / width)
    figure = Figure(figsize=size, layout="constrained")
    axis = figure.subplots()
    inputs = [image.mean(0) for image in images[:columns]]
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
        vmax=_top(pictures),
        extent=(0, across, down, 0),
        interpolation="nearest",
    )
    axis.set(xlim=(0, across), ylim=(down, -1), aspect=height / width)
    _label_mosaic(axis, names, columns)
    bar = figure.colorbar(drawn, ax=axis, fraction=0.03, pad=0.01, aspect=30)
    bar.set_label("channel mean", fontsize=11)
    return figure


def _network_row(view: LayerView, columns: int) -> list[Tensor | None]:
    """Pictures of one network: means of bits, a gap, firing probabilities or empty places."""
    empty: list[Tensor | None] = [None] * columns
    p = [channel_mean(one) for one in view.p[:columns]] if view.binary else empty
    return [*map(channel_mean, view.bits[:columns]), None, *p]


def _label_mosaic(axis: Axes, names: Sequence[str], columns: int) -> None:
    """Names beside the rows, the input's row first, and titles above the two halves."""
    titles = (f"output, mean of {PICTURE_DRAWS} draws", "firing probability")
    bare(axis)
    axis.set_yticks([row + 0.47 for row in range(-1, len(names) - 1)], names, fontsize=10)
    axis.set_xticks([columns / 2, columns + 1 + columns / 2], titles, fontsize=11)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)


def pictures(grid: Pictures) -> Figure:
    """Pictures of a task in named rows, in grey from 0 to 1.

    Args:
        grid: the pictures.
    """
    rows = [[one.mean(0) for one in of_row] for of_row in grid.rows.values()]
    canvas = mosaic(rows, PIXELS)
    height, width = canvas.shape
    beside = CHARACTER * max(map(len, grid.rows)) + 0.2
    across = max(map(len, rows)) * CELL
    figure = Figure(figsize=(beside + across, 0.1 + across * height / width))
    share = beside / figure.get_figwidth()
    axis = figure.add_axes((share, 0.01, 1 - share - 0.01, 0.98))
    axis.imshow(canvas, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    bare(axis)
    step = height / len(rows)
    axis.set_yticks([(row + 0.45) * step for row in range(len(rows))], list(grid.rows), fontsize=10)
    axis.tick_params(length=0)
    return figure


def _by_epoch(figure: Figure, count: int) -> list[Axes]:
    return [tidy(axis, "epoch", "") for axis in figure.subplots(1, count, squeeze=False)[0]]


def curves(history: Sequence[Mapping[str, float]], task: Task) -> Figure:
    """Metrics of a task by epoch, in training and in validation: the loss, then the others.

    The loss is on a logarithmic scale where it is positive. Accuracies are drawn as errors, in
    which late progress can be seen.

    Args:
        history: metrics of each epoch, by key.
        task: task whose metrics are drawn.
    """
    names = ["loss", *(name for name in task.metrics if name != "loss")]
    figure = Figure(figsize=(4.5 * len(names), 3.6), layout="constrained")
    for axis, name in zip(_by_epoch(figure, len(names)), names, strict=True):
        metric = task.metrics[name]
        drawn = _draw_curves(axis, history, name, metric.scale)
        label = f"{name} ({metric.unit})" if metric.unit else name
        axis.set_ylabel("error (%)" if name == "accuracy" else label)
        if name == "loss":
            axis.legend(frameon=False)
            if min(drawn) > 0:
                log_axis(axis, "y")
    return figure


def _draw_curves(
    axis: Axes, history: Sequence[Mapping[str, float]], name: str, scale: float
) -> list[float]:
    """Draw a metric in training and in validation, and return the values drawn."""
    drawn = []
    parts = {"train": "training", "val": "validation"}
    for colour, (part, label) in zip(COLOURS, parts.items(), strict=False):
        if f"{part}/{name}" not in history[0]:
            continue
        values = [epoch[f"{part}/{name}"] for epoch in history]
        values = [100 * (1 - v) if name == "accuracy" else scale * v for v in values]
        axis.plot(range(1, len(values) + 1), values, color=colour, marker="o", ms=3, label=label)
        drawn += values
    return drawn


def gates_by_class(rates: Tensor, classes: Sequence[str]) -> Figure:
    """Heatmap of how often each gate is open on the images of each class.

    Args:
        rates: [classes, gates], from 0 to 1; gates are drawn in the order of the class that opens
            them most.
        classes: name of each class.
    """
    order = sorted(range(rates.shape[1]), key=lambda gate: int(rates[:, gate].argmax()))
    figure = Figure(figsize=(7, 0.6 + 0.24 * len(classes)), layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(rates[:, order], vmin=0, vmax=1, cmap="viridis", aspect="auto")
    axis.set(xlabel="gate, by the class that opens it most", ylabel="class", xticks=[])
    axis.set_yticks(range(len(classes)), classes)
    figure.colorbar(drawn, ax=axis, label="share of images")
    return figure


def unit_health(history: Sequence[Mapping[str, float]]) -> Figure:
    """Firing rate, dead and saturated share of units by epoch, a line for each binary layer.

    Args:
        history: metrics of each epoch, by key.
    """
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    titles = {
        "firing_rate": "mean firing rate",
        "dead": "never fire (%)",
        "saturated": "always fire (%)",
    }
    layers = sorted({key.split("/")[1] for key in history[-1] if key.startswith("units/")})
    for axis, (key, title) in zip(_by_epoch(figure, 3), titles.items(), strict=True):
        scale = 1 if key == "firing_rate" else 100
        for number, layer in enumerate(layers):
            values = [scale * epoch[f"units/{layer}/{key}"] for epoch in history]
            epochs = range(1, len(history) + 1)
            axis.plot(epochs, values, **line_style(number), marker="o", ms=3, label=layer)
        axis.set_ylabel(title)
        axis.set_ylim(0, 1 if key == "firing_rate" else None)
    axis.legend(frameon=False)
    return figure


def weight_histograms(shares: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Distribution of the binary weights' means by epoch, a panel for each layer.

    Args:
        shares: shares of the weights in equal bins from -1 to 1, by layer and epoch; the first row
            is of the initial weights.
    """
    return _histograms(shares, (-1, 1), "mean of a weight", "share of the weights")


def unit_histograms(shares: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Distribution of the units' firing probabilities by epoch, a panel for each layer.

    Args:
        shares: shares of the units and images in equal bins from 0 to 1, by layer and epoch; the
            first row is of the initial network.
    """
    return _histograms(shares, (0, 1), "P(bit = 1)", "share of the units")


def _histograms(
    shares: Mapping[str, Sequence[Sequence[float]]],
    ends: tuple[float, float],
    label: str,
    colour_label: str,
) -> Figure:
    """Histograms by epoch as columns of an image, a panel for each layer."""
    figure = Figure(figsize=(1 + 3.2 * len(shares), 3.2), layout="constrained")
    axes = figure.subplots(1, len(shares), squeeze=False)[0]
    top = max(max(row) for rows in shares.values() for row in rows)
    for axis, (layer, rows) in zip(axes, shares.items(), strict=True):
        drawn = axis.imshow(
            torch.tensor(rows).T,
            origin="lower",
            aspect="auto",
            cmap="viridis",
            norm=PowerNorm(0.5, 0, top),
            extent=(-0.5, len(rows) - 0.5, *ends),
            interpolation="nearest",
        )
        epoch_axis(axis)
        axis.set(title=layer, xlabel="epoch (0: initial)", ylabel=label)
    figure.colorbar(drawn, ax=axes, label=colour_label)
    return figure
