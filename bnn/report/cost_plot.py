"""Figure of test error against cost: a marker for each configuration, with bars over its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bnn.plots.style import COLOURS, MARKERS, NEUTRAL, estimator_styles, log_axis, tidy
from bnn.report.configurations import Configuration, rank
from bnn.report.cost import cost_and_error
from bnn.report.display_names import plot_text, short_names
from bnn.report.headline import headline
from bnn.report.numbers import Range
from bnn.report.rows import Row

FILLS = ("full", "none", "left")
"""Fill styles of a marker: with six colours, eighteen marker styles."""
PLACEMENT_MARKERS = {"none": "*", "first": "v", "last": "^", "both": "o"}
OTHER_PLACEMENT = "D"
"""Marker of a placement by number."""
MARKER = {"ls": "none", "ms": 7, "markerfacecoloralt": "white"}
"""Properties of all markers."""

MarkerStyle = Mapping[str, Any]


def marker_styles(configurations: Sequence[Configuration]) -> dict[Configuration, MarkerStyle]:
    """Properties of each configuration's marker.

    Its shape is the placement, its colour and its fill are the short name; real-valued networks
    are grey.
    """
    names = dict(zip(configurations, short_names(configurations), strict=True))
    ranked = [c for c in configurations if not c.real_valued]
    ranked.sort(key=lambda c: rank(c.first, "estimator"))
    inks = _inks({names[c]: c.first.estimator for c in ranked})
    styles: dict[Configuration, MarkerStyle] = {}
    for c in configurations:
        colour, fill = (NEUTRAL, "full") if c.real_valued else inks[names[c]]
        marker = PLACEMENT_MARKERS.get(c.first.placement, OTHER_PLACEMENT)
        styles[c] = {"marker": marker, "color": colour, "fillstyle": fill, **MARKER}
    return styles


def _inks(estimators: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Colour and fill of each short name.

    The first name of an estimator has the pair that the estimator has in every figure. Further
    names have free fills of its colour, or other free pairs where it stands alone or the fills are
    used up; pairs repeat only after all are used.

    Args:
        estimators: estimator of each short name.
    """
    styles = estimator_styles(estimators.values())
    own = {
        name: (colour, FILLS[MARKERS.index(marker) % len(FILLS)])
        for name, (colour, marker) in styles.items()
    }
    first = {estimator: name for name, estimator in reversed(list(estimators.items()))}
    inks = {name: own[estimator] for estimator, name in first.items()}
    every = [(colour, fill) for fill, colour in product(FILLS, COLOURS)]
    for number, (name, estimator) in enumerate(estimators.items()):
        if name not in inks:
            fills = [(own[estimator][0], fill) for fill in FILLS] if len(own) > 1 else []
            free = [pair for pair in (*fills, *every) if pair not in inks.values()]
            inks[name] = free[0] if free else every[number % len(every)]
    return inks


def cost_plot(configurations: Sequence[Configuration], neuron: str, cost: str) -> Figure:
    """Test error over cost for configurations of one neuron, and the real-valued ones beside them.

    A point is a mean over seeds, its bars reach from the lowest seed to the highest.

    Args:
        configurations: configurations of the experiment, whose ranges set the axes.
        neuron: neuron of the configurations that are drawn.
        cost: key of `bnn.report.cost.COSTS`.
    """
    points, styles = cost_and_error(configurations, cost), marker_styles(configurations)
    names = {
        c: plot_text(name)
        for c, name in zip(configurations, short_names(configurations), strict=True)
        if c.first.neuron in (neuron, "real")
    }
    handles = _legend_handles(names, styles)
    columns = 2 if max(map(len, names.values())) < 30 else 1
    height = 3.6 + 0.19 * math.ceil(len(handles) / columns)
    figure = Figure(figsize=(5.4, height), layout="constrained")
    axis = figure.subplots()
    for c in names:
        x, y = points[c]
        bars: dict[str, Any] = {"xerr": _bars(x), "yerr": _bars(y), "elinewidth": 1, "capsize": 2}
        axis.errorbar(x.mean, y.mean, **bars, **styles[c])
    _set_axes(axis, list(points.values()), cost, headline(_rows(configurations)).plot_label)
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
    return figure


def _rows(configurations: Sequence[Configuration]) -> list[Row]:
    return [row for c in configurations for row in c.rows]


def _bars(value: Range) -> list[list[float]]:
    return [[value.mean - value.low], [value.high - value.mean]]


def _legend_handles(
    names: Mapping[Configuration, str], styles: Mapping[Configuration, MarkerStyle]
) -> list[Line2D]:
    """A handle for each name, a square where it stands at several placements; then the markers."""
    placements = dict.fromkeys(c.first.placement for c in names if not c.real_valued)
    several = len(placements) > 1
    named = {
        name: {**styles[c], **({"marker": "s"} if several and not c.real_valued else {})}
        for c, name in names.items()
    }
    handles = [Line2D([], [], label=name, **style) for name, style in named.items()]
    if several:
        handles += [_placement_handle(placement) for placement in placements]
    return handles


def _placement_handle(placement: str) -> Line2D:
    appearance: dict[str, Any] = {"color": "black", "fillstyle": "none", **MARKER}
    marker = PLACEMENT_MARKERS.get(placement, OTHER_PLACEMENT)
    return Line2D([], [], marker=marker, label=plot_text(f"placement {placement}"), **appearance)


def _set_axes(
    axis: Axes, points: Sequence[tuple[Range, Range]], cost: str, error_label: str
) -> None:
    costs, errors = ([pair[k] for pair in points] for k in (0, 1))
    wide = max(x.high for x in costs) > 4 * min(x.low for x in costs) > 0
    tidy(axis, cost, error_label)
    _set_scale(axis, "x", costs, log=wide)
    _set_scale(axis, "y", errors, log=min(y.low for y in errors) > 0)


def _set_scale(axis: Axes, which: Literal["x", "y"], values: Sequence[Range], *, log: bool) -> None:
    """Limits with a little room, on a linear or a logarithmic scale, which its label then names."""
    low, high = min(v.low for v in values), max(v.high for v in values)
    room = 0.08 * ((high - low) or high or 1.0)
    if log:
        label = axis.get_xlabel() if which == "x" else axis.get_ylabel()
        axis.set(**{f"{which}label": f"{label}, log scale"})
        log_axis(axis, which)
        axis.set(**{f"{which}lim": (low / 1.12, high * 1.12)})
    else:
        axis.set(**{f"{which}lim": (low - room, high + room)})
