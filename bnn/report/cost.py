"""Accuracy against what it cost: passes over the training split, and seconds of training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from bnn.plots.style import COLOURS
from bnn.report.configurations import Configuration, rank
from bnn.report.dot_plot import REAL
from bnn.report.headline import headline
from bnn.report.display_names import plain, short
from bnn.report.rows import Row

FILLS = ("full", "none", "left")
"""How a marker is filled: with six colours, eighteen looks."""
MARKERS = {"none": "*", "first": "v", "last": "^", "both": "o"}
OTHER = "D"
"""The marker of a placement by number."""
LOOK = {"ls": "none", "ms": 7, "markerfacecoloralt": "white"}
"""What all markers have in common."""


def passes(row: Row) -> float:
    """Passes over the training split: the losses a sample in one step, each forward and back, times the epochs."""
    return row.evaluations * row.epochs


def seconds(row: Row) -> float:
    """Seconds in updates alone."""
    return row.seconds_train


COSTS = {
    "passes over the training split (a step × epochs)": passes,
    "seconds of training": seconds,
}


@dataclass(frozen=True)
class Extent:
    """A mean over seeds, the lowest and the highest."""

    mean: float
    low: float
    high: float


def extent(values: Sequence[float]) -> Extent:
    low, high = min(values), max(values)
    return Extent(
        min(max(sum(values) / len(values), low), high), low, high
    )  # the mean of equal values can round past them


def points(found: Sequence[Configuration], name: str) -> dict[Configuration, tuple[Extent, Extent]]:
    """For each configuration its cost by the name in COSTS, and its test error in % or its loss, both over its seeds."""
    cost, metric = COSTS[name], headline(row for c in found for row in c.rows)
    return {
        c: (extent([cost(row) for row in c.rows]), extent([metric.error(row) for row in c.rows]))
        for c in found
    }


def looks(found: Sequence[Configuration]) -> dict[Configuration, dict[str, object]]:
    """How each configuration is drawn: its placement is the marker, what `short` calls it the colour and how it is filled;
    real-valued networks are grey."""
    names = dict(zip(found, short(found), strict=True))
    ranked = sorted(
        (c for c in found if c.first.neuron != "real"), key=lambda c: rank(c.first, "estimator")
    )
    pairs = [(colour, fill) for fill, colour in product(FILLS, COLOURS)]
    inks = {
        name: pairs[k % len(pairs)]
        for k, name in enumerate(dict.fromkeys(names[c] for c in ranked))
    }
    made = {}
    for c in found:
        colour, fill = inks[names[c]] if c.first.neuron != "real" else (REAL, "full")
        made[c] = {
            "marker": MARKERS.get(c.first.placement, OTHER),
            "color": colour,
            "fillstyle": fill,
            **LOOK,
        }
    return made


def figure(found: Sequence[Configuration], neuron: str, name: str) -> Figure:
    """Test error over the cost `name` for the configurations of one neuron, and the real-valued ones beside them: a point at
    the mean over seeds, bars from the lowest to the highest. The axes are those of all of `found`."""
    every, look = points(found, name), looks(found)
    metric = headline(row for c in found for row in c.rows)
    shown = {
        c: label
        for c, label in zip(found, short(found), strict=True)
        if c.first.neuron in (neuron, "real")
    }
    marks = _marks({c: plain(label) for c, label in shown.items()}, look)
    columns = 2 if max(map(len, shown.values())) < 30 else 1
    drawn = Figure(
        figsize=(5.4, 3.6 + 0.19 * math.ceil(len(marks) / columns)), layout="constrained"
    )
    axis = drawn.subplots()
    for c in shown:
        x, y = every[c]
        bars = {
            "xerr": [[x.mean - x.low], [x.high - x.mean]],
            "yerr": [[y.mean - y.low], [y.high - y.mean]],
        }
        axis.errorbar(x.mean, y.mean, **bars, elinewidth=1, capsize=2, **look[c])  # type: ignore[arg-type]
    _axes(axis, [x for x, _ in every.values()], [y for _, y in every.values()], name, metric.drawn)
    drawn.legend(
        handles=marks, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )
    return drawn


def _marks(
    shown: Mapping[Configuration, str], look: Mapping[Configuration, Mapping[str, object]]
) -> list[Line2D]:
    """Of a legend: a square for a name that stands at several placements, and then what the markers mean."""
    placements = dict.fromkeys(c.first.placement for c in shown if c.first.neuron != "real")
    several = {} if len(placements) < 2 else {"marker": "s"}
    named = {
        label: {**look[c], **(several if c.first.neuron != "real" else {})}
        for c, label in shown.items()
    }
    marks = [Line2D([], [], label=label, **one) for label, one in named.items()]  # type: ignore[arg-type]
    black = {"color": "black", "fillstyle": "none", **LOOK}
    return marks + [
        Line2D([], [], marker=MARKERS.get(one, OTHER), label=plain(f"placement {one}"), **black)  # type: ignore[arg-type]
        for one in (placements if several else ())
    ]


def _axes(
    axis: Axes, costs: Sequence[Extent], errors: Sequence[Extent], name: str, drawn: str
) -> None:
    wide = max(x.high for x in costs) > 4 * min(x.low for x in costs) > 0
    for which, values, label, log in (
        ("x", costs, name, wide),
        ("y", errors, drawn, min(y.low for y in errors) > 0),
    ):
        low, high = min(v.low for v in values), max(v.high for v in values)
        room = 0.08 * ((high - low) or high or 1.0)
        ends = (low / 1.12, high * 1.12) if log else (low - room, high + room)
        axis.set(
            **{
                f"{which}label": f"{label}, log scale" if log else label,
                f"{which}scale": "log" if log else "linear",
            }
        )
        axis.set(**{f"{which}lim": ends})
        if log:
            ticks = axis.xaxis if which == "x" else axis.yaxis
            ticks.set_major_locator(
                LogLocator(subs=(1, 2, 5) if high > 8 * low else (1, 1.5, 2, 3, 4, 5, 6, 8))
            )
            ticks.set_minor_locator(NullLocator())
            ticks.set_major_formatter("{x:g}")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
