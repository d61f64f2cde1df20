"""Pictures of the lab. Each function answers a figure and touches no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bnn.lab.intervals import Figure as Number
from bnn.lab.measure import Measured
from bnn.plots.style import style, tidy

BUDGET = 4096
"""Passes to which the curves of error against cost reach."""


def error_against_cost(found: Mapping[str, Measured], layer: str) -> Figure:
    """Relative root-mean-square error of the mean of n estimates of a layer's gradient, over the passes and over the seconds
    that they take: a curve for each estimator, which falls with √n down to its bias. In the legend the worst stands first;
    one without an error is not drawn."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    noisy = {name: one for name, one in found.items() if one.error(layer, 1) > 0}
    worst_first = sorted(
        noisy.items(), key=lambda item: -item[1].error(layer, BUDGET / item[1].passes)
    )
    for number, (name, one) in enumerate(worst_first):
        counts = [n for n in (4**k for k in range(8)) if n * one.passes <= max(BUDGET, one.passes)]
        errors = [one.error(layer, n) for n in counts]
        left.plot([n * one.passes for n in counts], errors, label=name, **style(number))  # type: ignore[arg-type]
        right.plot([n * one.seconds for n in counts], errors, **style(number))  # type: ignore[arg-type]
    for axis, x in ((left, "passes"), (right, "seconds")):
        tidy(axis, x, "")
        axis.set_xscale("log")
        axis.set_yscale("log")
    left.set_ylabel("relative error of the gradient")
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def lines(
    curves: Sequence[Mapping[str, Sequence[tuple[float, Number]]]],
    titles: Sequence[str],
    x: str,
    y: Sequence[str],
    log: bool = False,
) -> Figure:
    """A panel for each of `curves`: named series of (x, number), with bars for their 95 % intervals; log: both axes
    logarithmic."""
    figure = Figure(figsize=(4.6 * len(curves), 3.8), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)[0]
    for axis, series, title, label in zip(axes, curves, titles, y, strict=True):
        tidy(axis, x, label)
        axis.set_title(title, fontsize=11)
        for number, (name, points) in enumerate(series.items()):
            bars = [
                [max(n.value - n.low, 0) for _, n in points],
                [max(n.high - n.value, 0) for _, n in points],
            ]
            axis.errorbar(
                [x for x, _ in points],
                [n.value for _, n in points],
                bars,
                label=name,
                capsize=2,
                **style(number),
            )
        if log:
            axis.set_xscale("log")
            axis.set_yscale("log")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
    return figure
