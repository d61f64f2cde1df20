"""Figures of metrics by epoch: charts side by side, on scales that a whole section shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnn.plots.style import epoch_axis, line_style, log_axis, tidy
from bnn.report.display_names import plot_text
from bnn.report.histories import Band

WIDTH, HEIGHT = 5.4, 1.55
"""Inches of a figure, and of an axis in it; text has 10 points."""
LEFT, RIGHT, BELOW, LEGEND_ROW = 0.66, 0.08, 0.5, 0.2
"""Inches beside and below an axis, and of a row in the legend above it."""
LEGEND_COLUMNS = 4


@dataclass(frozen=True)
class Scale:
    """Vertical scale of a measure.

    Args:
        label: name of the measure with its unit.
        low: lower limit.
        high: upper limit.
        log: whether it is logarithmic.
    """

    label: str
    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Chart:
    """One axis.

    Args:
        scale: vertical scale.
        bands: name of a line -> its band.
        others: bands of other configurations, whose means are drawn in grey.
    """

    scale: Scale
    bands: Mapping[str, Band]
    others: Sequence[Band] = ()


def shared_scale(
    label: str, bands: Iterable[Band], *, log: bool = False, least: float | None = None
) -> Scale:
    """A scale that holds every band, with a little room.

    Args:
        label: name of the measure with its unit.
        bands: all bands on the scale.
        log: logarithmic, where all values are positive.
        least: where a linear scale begins, unless values lie below.
    """
    values = [value for band in bands for value in (*band.low, *band.high)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log and low > 0:
        return Scale(label, low / 1.15, high * 1.15, True)
    high = high if high > low else low + (abs(low) or 1.0)
    room = 0.05 * (high - low)
    return Scale(label, low - room if least is None else min(least, low - room), high + room)


def panel_figure(charts: Sequence[Chart], names: Sequence[str], epochs: int) -> Figure:
    """Charts of one configuration side by side.

    A line is a mean over seeds, its band reaches from the lowest seed to the highest.

    Args:
        charts: charts from left to right.
        names: names of all bands of the section, so that one looks the same in every figure.
        epochs: end of the horizontal axes.
    """
    styles = {name: line_style(number) for number, name in enumerate(names)}
    figure, axes = _empty_figure(len(charts), math.ceil(len(names) / LEGEND_COLUMNS))
    for axis, chart in zip(axes, charts, strict=True):
        for other in chart.others:
            axis.plot(other.epochs, other.mean, color="0.82", lw=0.8, zorder=1)
        for name, band in chart.bands.items():
            _draw_band(axis, band, styles[name])
        _set_axes(axis, chart.scale, epochs)
    drawn = dict.fromkeys(name for chart in charts for name in chart.bands)
    handles = [Line2D([], [], lw=1.6, label=plot_text(name), **styles[name]) for name in drawn]
    figure.legend(
        handles=handles,
        loc="upper center",
        ncols=LEGEND_COLUMNS,
        frameon=False,
        fontsize=9,
        borderpad=0,
    )
    return figure


def _empty_figure(count: int, legend_rows: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` axes, placed by hand: a layout engine takes a third of the time."""
    width, height = WIDTH / count, BELOW + HEIGHT + LEGEND_ROW * (legend_rows + 0.5)
    figure = Figure(figsize=(WIDTH, height))
    axes = []
    for k in range(count):
        left, inner = (k * width + LEFT) / WIDTH, (width - LEFT - RIGHT) / WIDTH
        axes.append(figure.add_axes((left, BELOW / height, inner, HEIGHT / height)))
    return figure, axes


def _draw_band(axis: Axes, band: Band, style: Mapping[str, Any]) -> None:
    axis.fill_between(
        band.epochs, band.low, band.high, color=style["color"], alpha=0.25, lw=0, zorder=2
    )
    marker = "o" if len(band.epochs) < 3 else ""
    axis.plot(band.epochs, band.mean, marker=marker, ms=3.5, lw=1.6, zorder=3, **style)


def _set_axes(axis: Axes, scale: Scale, epochs: int) -> None:
    tidy(axis, "epoch", scale.label)
    if scale.log:
        log_axis(axis, "y")
    axis.set(xlim=(0.5, epochs + 0.5), ylim=(scale.low, scale.high))
    epoch_axis(axis)
