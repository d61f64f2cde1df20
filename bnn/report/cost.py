"""Accuracy against what it cost: passes over the training split, and seconds of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from bnn.figures import COLOURS
from bnn.report.configurations import Configuration, rank
from bnn.report.histories import error
from bnn.report.labels import REAL, short
from bnn.report.rows import Row

FILLS = ("full", "none", "left")
"""How a marker is filled: with six colours, eighteen looks."""
MARKERS = {"none": "*", "first": "v", "last": "^", "both": "o"}
OTHER = "D"
"""The marker of a placement by number."""


def passes(row: Row) -> float:
    """Passes over the training split: the losses a sample in one step, each forward and back, times the epochs."""
    return row.passes * row.epochs


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
    return Extent(sum(values) / len(values), min(values), max(values))


def points(found: Sequence[Configuration], name: str) -> dict[Configuration, tuple[Extent, Extent]]:
    """For each configuration its cost by the name in COSTS, and its test error in %, both over its seeds."""
    cost = COSTS[name]
    return {c: (extent([cost(row) for row in c.rows]), extent([error(row.test_accuracy) for row in c.rows])) for c in found}


def looks(found: Sequence[Configuration]) -> dict[str, tuple[str, str]]:
    """Colour and fill by the names of `short`; real-valued networks are grey."""
    ranked = sorted(zip(found, short(found), strict=True), key=lambda each: rank(each[0].first, "estimator"))
    names = dict.fromkeys(name for c, name in ranked if c.first.neuron != "real")
    pairs = [(colour, fill) for fill, colour in product(FILLS, COLOURS)]
    return {name: pairs[number % len(pairs)] for number, name in enumerate(names)}


def figure(found: Sequence[Configuration], neuron: str, name: str) -> Figure:
    """Test error over the cost `name` for the configurations of one neuron, and the real-valued ones beside them: a point at
    the mean over seeds, bars from the lowest to the highest. The axes are those of all of `found`."""
    every, look = points(found, name), looks(found)
    drawn = Figure(figsize=(5.4, 4.2), layout="constrained")
    axis = drawn.subplots()
    shown: dict[str, None] = {}
    for (c, (x, y)), label in zip(every.items(), short(found), strict=True):
        if c.first.neuron not in (neuron, "real"):
            continue
        colour, fill = look.get(label, (REAL, "full"))
        axis.errorbar(
            x.mean, y.mean, xerr=[[x.mean - x.low], [x.high - x.mean]], yerr=[[y.mean - y.low], [y.high - y.mean]],
            marker=MARKERS.get(c.first.placement, OTHER), ms=7, color=colour, fillstyle=fill, elinewidth=1, capsize=2,
            markerfacecoloralt="white", ls="none",
        )  # fmt: skip
        shown[label] = None
    _axes(axis, [x for x, _ in every.values()], [y for _, y in every.values()], name)
    _legend(drawn, {label: look.get(label, (REAL, "full")) for label in shown},
            {c.first.placement: None for c in every if c.first.neuron == neuron})  # fmt: skip
    return drawn


def _axes(axis: Axes, costs: Sequence[Extent], errors: Sequence[Extent], name: str) -> None:
    wide = max(x.high for x in costs) > 4 * min(x.low for x in costs) > 0
    for which, values, label, log in (
        ("x", costs, name, wide),
        ("y", errors, "test error (%)", min(y.low for y in errors) > 0),
    ):
        low, high = min(v.low for v in values), max(v.high for v in values)
        room = 0.08 * ((high - low) or high or 1.0)
        ends = (low / 1.12, high * 1.12) if log else (low - room, high + room)
        axis.set(**{f"{which}label": f"{label}, log scale" if log else label, f"{which}scale": "log" if log else "linear"})
        axis.set(**{f"{which}lim": ends})
        if log:
            ticks = axis.xaxis if which == "x" else axis.yaxis
            ticks.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 4 * low else (1, 1.5, 2, 3, 4, 5, 6, 8)))
            ticks.set_minor_locator(NullLocator())
            ticks.set_major_formatter("{x:g}")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _legend(drawn: Figure, names: Mapping[str, tuple[str, str]], placements: Mapping[str, None]) -> None:
    def mark(label: str, marker: str, colour: str, fill: str) -> Line2D:
        looks = {"marker": marker, "color": colour, "fillstyle": fill, "markerfacecoloralt": "white"}
        return Line2D([], [], ls="none", ms=7, label=label, **looks)  # type: ignore[arg-type]

    marks = [mark(name, "s", *look) for name, look in names.items()]
    if len(placements) > 1:
        marks += [mark(f"placement {name}", MARKERS.get(name, OTHER), "black", "none") for name in placements]
    drawn.legend(handles=marks, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
