"""Pictures of a run: heatmaps, curves and unit health. Each function answers a figure and touches no file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from torch import Tensor

from bnn.training.units import LayerView

# Okabe & Ito's palette, distinguishable to colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


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
    figure = Figure(figsize=(7, 1.4 * len(rows)))  # placed by hand: a layout engine takes most of the drawing time
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
    bar = figure.colorbar(drawn, cax=figure.add_axes((0.89, bottom, 0.02, axes[1][0].get_position().y1 - bottom)))
    bar.ax.tick_params(labelsize=12)
    bar.set_label("channel mean", fontsize=12)
    return figure


def mosaic(bits: Tensor) -> Tensor:
    """The units of a layer on one image as one picture: channels [c, h, w] side by side in near-square rows, with a line of
    NaN between them, or units [units] folded to near-square rows."""
    if bits.dim() == 1:
        return channel_mean(bits)
    count, height, width = bits.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    sheet = bits.new_full((rows * (height + 1) - 1, columns * (width + 1) - 1), math.nan)
    for number, channel in enumerate(bits):
        top, left = (number // columns) * (height + 1), (number % columns) * (width + 1)
        sheet[top : top + height, left : left + width] = channel
    return sheet


def prediction(pixels: Tensor, bits: Mapping[str, Tensor], p: Tensor) -> Figure:
    """An image [c, h, w], the bits of every binary layer in one draw ([units...] by name), and the class probabilities p."""
    figure = Figure(figsize=(3 * (2 + len(bits)), 3.2), layout="constrained")
    image, *layers, bars = figure.subplots(1, 2 + len(bits), squeeze=False)[0]
    image.imshow(pixels.mean(0), cmap="gray", vmin=0, vmax=1)
    image.set_title("input")
    for axis, (name, values) in zip(layers, bits.items(), strict=True):
        axis.imshow(mosaic(values.float()), cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"bits of {name}: {100 * float(values.float().mean()):.0f} % fire")
    for axis in (image, *layers):
        axis.set_xticks([])
        axis.set_yticks([])
    colours = [COLOURS[1] if number == int(p.argmax()) else COLOURS[0] for number in range(len(p))]
    bars.barh(range(len(p)), 100 * p, color=colours)
    bars.set_yticks(range(len(p)))
    bars.invert_yaxis()
    bars.set_xlim(0, 100)
    bars.set_xlabel("probability (%)")
    bars.set_ylabel("class")
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def _axes(figure: Figure, count: int) -> Sequence:
    axes = figure.subplots(1, count, squeeze=False)[0]
    for axis in axes:
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return axes


def curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Loss in nats (log scale) and error in % by epoch, training and validation."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, error = _axes(figure, 2)
    epochs = range(1, len(history) + 1)
    for colour, part, label in ((COLOURS[0], "train", "training"), (COLOURS[1], "val", "validation")):
        loss.plot(epochs, [h[f"{part}/loss"] for h in history], color=colour, marker="o", ms=3, label=label)
        error.plot(epochs, [100 * (1 - h[f"{part}/accuracy"]) for h in history], color=colour, marker="o", ms=3)
    loss.set_yscale("log")
    loss.set_ylabel("loss (nats)")
    error.set_ylabel("error (%)")
    loss.legend(frameon=False)
    return figure


def unit_health(history: Sequence[Mapping[str, float]]) -> Figure:
    """Firing rate, dead share and saturated share by epoch, a line per binary layer."""
    figure = Figure(figsize=(10, 3.4), layout="constrained")
    titles = {"firing_rate": "mean firing rate", "dead": "never fire (%)", "saturated": "always fire (%)"}
    layers = sorted({key.split("/")[1] for key in history[-1] if key.startswith("units/")})
    for axis, (key, label) in zip(_axes(figure, 3), titles.items(), strict=True):
        scale = 1 if key == "firing_rate" else 100
        for colour, layer in zip(COLOURS, layers, strict=False):
            values = [scale * epoch[f"units/{layer}/{key}"] for epoch in history]
            axis.plot(range(1, len(history) + 1), values, color=colour, marker="o", ms=3, label=layer)
        axis.set_ylabel(label)
        axis.set_ylim(0, 1 if key == "firing_rate" else None)
    axis.legend(frameon=False)
    return figure
