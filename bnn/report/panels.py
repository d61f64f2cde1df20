"""Bands by epoch as small charts, one figure for each configuration, on axes that all figures of a section share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from bnn.figures import COLOURS
from bnn.report.histories import Band
from bnn.report.labels import plain

STROKES = ("-", "--", "-.", ":")
SIZE = (5.4, 2.5)
"""Inches of a figure; text in it has 10 points."""
BACK, MIDDLE, FRONT = 1, 2, 3
"""Where others, bands and lines lie."""


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


def scale(label: str, bands: Iterable[Band], *, log: bool = False, least: float | None = None) -> Scale:
    """Limits that hold every band with a little room; from `least` up where that is given. Logarithmic only where it is
    asked for and all values are positive."""
    values = [value for band in bands for value in (*band.low, *band.high)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if log and low > 0:
        return Scale(label, low / 1.15, high * 1.15, True)
    room = 0.05 * ((high - low) or abs(high) or 1.0)
    return Scale(label, low - room if least is None else min(least, low - room), high + room)


def figure(charts: Sequence[Chart], epochs: int) -> Figure:
    """The charts of one configuration side by side, up to `epochs`. A line is a mean over seeds, its band reaches from the
    lowest seed to the highest."""
    drawn = Figure(figsize=SIZE, layout="constrained")
    axes = drawn.subplots(1, len(charts), squeeze=False)[0]
    for axis, chart in zip(axes, charts, strict=True):
        _draw(axis, chart)
        axis.set_xlim(0.5, epochs + 0.5)
    lines = {line.get_label(): line for axis in axes for line in axis.get_lines() if line.get_zorder() == FRONT}
    if len(lines) > 1:
        drawn.legend(handles=list(lines.values()), loc="outside upper center", ncols=4, frameon=False, fontsize=9)
    return drawn


def _draw(axis: Axes, chart: Chart) -> None:
    for other in chart.others:
        axis.plot(other.epochs, other.mean, color="0.82", lw=0.8, zorder=BACK)
    for number, (name, band) in enumerate(chart.bands.items()):
        colour, stroke = COLOURS[number % len(COLOURS)], STROKES[number % len(STROKES)]
        axis.fill_between(band.epochs, band.low, band.high, color=colour, alpha=0.25, lw=0, zorder=MIDDLE)
        mark = "o" if len(band.epochs) < 3 else ""
        looks = {"color": colour, "ls": stroke, "marker": mark, "ms": 3.5, "lw": 1.6, "zorder": FRONT}
        axis.plot(band.epochs, band.mean, label=plain(name), **looks)  # type: ignore[arg-type]
    if chart.scale.log:
        axis.set_yscale("log")
        wide = chart.scale.high > 30 * chart.scale.low
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 3) if wide else (1, 2, 5)))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
    axis.set_ylim(chart.scale.low, chart.scale.high)
    axis.set_ylabel(chart.scale.label)
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
