"""Bands by epoch as small charts, one figure for each configuration, on axes that all figures of a section share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from bnn.plots.style import COLOURS
from bnn.report.histories import Band
from bnn.report.display_names import plain

STROKES = ("-", "--", "-.", ":")
WIDTH, HEIGHT = 5.4, 1.55
"""Inches of a figure, and of an axis in it; text has 10 points."""
LEFT, RIGHT, BELOW, ROW = 0.66, 0.08, 0.5, 0.2
"""Inches beside and below an axis, and of a row in the legend above it."""
COLUMNS = 4
"""Names in such a row."""


@dataclass(frozen=True)
class Scale:
    """What the axes of one measure have in common: its name with its unit, its limits, and whether it is logarithmic."""

    label: str
    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Chart:
    """One axis: named bands, and in grey the means of others, to compare with."""

    scale: Scale
    bands: Mapping[str, Band]
    others: Sequence[Band] = ()


def scale(
    label: str, bands: Iterable[Band], *, log: bool = False, least: float | None = None
) -> Scale:
    """Limits that hold every band with a little room; from `least` up where that is given. Logarithmic only where it is
    asked for and all values are positive."""
    values = [value for band in bands for value in (*band.low, *band.high)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log and low > 0:
        return Scale(label, low / 1.15, high * 1.15, True)
    high = high if high > low else low + (abs(low) or 1.0)
    room = 0.05 * (high - low)
    return Scale(label, low - room if least is None else min(least, low - room), high + room)


def figure(charts: Sequence[Chart], names: Sequence[str], epochs: int) -> Figure:
    """The charts of one configuration side by side, up to `epochs`. A line is a mean over seeds, its band reaches from the
    lowest seed to the highest. names: those of all bands of the section, so that a name looks the same in every figure."""
    looks = {
        name: {"color": COLOURS[k % len(COLOURS)], "ls": STROKES[k % len(STROKES)]}
        for k, name in enumerate(names)
    }
    rows, wide = math.ceil(len(names) / COLUMNS), WIDTH / len(charts)
    high = BELOW + HEIGHT + ROW * (rows + 0.5)
    drawn = Figure(
        figsize=(WIDTH, high)
    )  # placed by hand: a layout engine takes a third of the drawing time
    axes = [
        drawn.add_axes(
            ((k * wide + LEFT) / WIDTH, BELOW / high, (wide - LEFT - RIGHT) / WIDTH, HEIGHT / high)
        )
        for k in range(len(charts))
    ]
    for axis, chart in zip(axes, charts, strict=True):
        for other in chart.others:
            axis.plot(other.epochs, other.mean, color="0.82", lw=0.8, zorder=1)
        for name, band in chart.bands.items():
            _draw(axis, band, looks[name])
        _dress(axis, chart.scale, epochs)
    there = {name: None for chart in charts for name in chart.bands}
    marks = [Line2D([], [], lw=1.6, label=plain(name), **looks[name]) for name in there]  # type: ignore[arg-type]
    drawn.legend(
        handles=marks, loc="upper center", ncols=COLUMNS, frameon=False, fontsize=9, borderpad=0
    )
    return drawn


def _draw(axis: Axes, band: Band, look: Mapping[str, str]) -> None:
    axis.fill_between(
        band.epochs, band.low, band.high, color=look["color"], alpha=0.25, lw=0, zorder=2
    )
    mark = "o" if len(band.epochs) < 3 else ""
    axis.plot(band.epochs, band.mean, marker=mark, ms=3.5, lw=1.6, zorder=3, **look)  # type: ignore[arg-type]


def _dress(axis: Axes, scale: Scale, epochs: int) -> None:
    if scale.log:
        decades = math.log10(scale.high / scale.low)
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(
            LogLocator(subs=(1,) if decades > 3 else (1, 3) if decades > 1.5 else (1, 2, 5))
        )
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
    axis.set(
        xlim=(0.5, epochs + 0.5), ylim=(scale.low, scale.high), xlabel="epoch", ylabel=scale.label
    )
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
