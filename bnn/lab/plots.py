"""Plots of the lab's measurements. Each function returns a figure and touches no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn.lab.estimate import Estimate
from bnn.lab.measure import Measurement
from bnn.plots.style import estimator_curves, log_axis, style, tidy

BUDGET = 4096
"""Evaluations of the loss of a sample to which the curves of error against cost reach."""
COUNTS = tuple(4**k for k in range(8))
"""Numbers of estimates that are averaged, of which those within BUDGET are drawn."""
LEGEND_LINE = 0.22
"""Height of a line of the legend, in inches."""

Points = Sequence[tuple[float, Estimate]]
"""(x, y) of one curve."""


def error_against_cost(found: Mapping[str, Measurement], layer: str) -> Figure:
    """Relative error of an average of estimates, over evaluations of f and seconds.

    A curve for each estimator falls with √n down to its bias. The legend begins with the largest
    error; an estimator without any is not drawn.

    Args:
        found: measurement by the estimator's display name.
        layer: layer, or BELOW.
    """
    noisy = {name: one for name, one in found.items() if one.error(layer, 1) > 0}
    height = max(4.6, LEGEND_LINE * (len(noisy) + 1))
    figure = Figure(figsize=(11, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    largest_first = sorted(
        noisy.items(), key=lambda item: -item[1].error(layer, BUDGET / item[1].evaluations)
    )
    styles = estimator_curves(list(found))
    for name, one in largest_first:
        reach = max(BUDGET, one.evaluations)
        counts = [n for n in COUNTS if n * one.evaluations <= reach]
        errors = [one.error(layer, n) for n in counts]
        left.plot([n * one.evaluations for n in counts], errors, label=name, **styles[name])
        right.plot([n * one.seconds for n in counts], errors, **styles[name])
    for axis, x in ((left, "evaluations of f"), (right, "seconds")):
        log_axis(tidy(axis, x, ""), "x")
    log_axis(left, "y")
    left.set_ylabel("relative error of the gradient")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def interval_curves(
    panels: Sequence[Mapping[str, Points]],
    titles: Sequence[str],
    x: str,
    y: Sequence[str],
    log: bool = False,
    estimators: bool = False,
) -> Figure:
    """Curves with 95 % intervals as bars, in panels side by side.

    Args:
        panels: for each panel the points of each curve, by the curve's name.
        titles: title of each panel.
        x: label of the horizontal axes.
        y: label of each vertical axis.
        log: whether both axes are logarithmic.
        estimators: whether names of curves begin with an estimator's, whose style they take.
    """
    width = 4.6 * len(panels) if len(panels) > 1 else 7.0  # beside the legend
    lines = len({name for curves in panels for name in curves})
    height = max(3.8, LEGEND_LINE * (lines + 1))
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, curves, title, label in zip(axes, panels, titles, y, strict=True):
        tidy(axis, x, label)
        axis.set_title(title, fontsize=11)
        own = estimator_curves(list(curves)) if estimators else {}
        for number, (name, points) in enumerate(curves.items()):
            _draw(axis, name, points, own.get(name, style(number)))
        if log:
            log_axis(axis, "x")
            log_axis(axis, "y")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    return figure


def _draw(axis: Axes, name: str, points: Points, curve: Mapping[str, Any]) -> None:
    estimates = [one for _, one in points]
    below = [max(one.value - one.low, 0) for one in estimates]
    above = [max(one.high - one.value, 0) for one in estimates]
    positions, values = [place for place, _ in points], [one.value for one in estimates]
    axis.errorbar(positions, values, [below, above], label=name, capsize=2, **curve)
