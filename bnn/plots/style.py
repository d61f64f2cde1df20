"""Style of every figure: colours, markers, line styles, axes, and logarithmic scales.

Figures of runs, of reports and of the lab take these from here, so that the estimator with the
number k looks the same everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

# Okabe & Ito's palette, distinguishable to colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
NEUTRAL = "#444444"
"""Colour of networks without binary layers, beside those that have an estimator."""
MARKERS = "osv^D*P"
ESTIMATORS = (
    "st", "reinforce", "reinmax", "rebar", "concrete", "frozen",
    "arm", "nvil", "muprop", "relax", "disarm", "st_gumbel",
    "arms", "local_expectation", "enumeration", "double_cv", "gumbel_rao", "mve",
    "reinmax_rao", "vimco", "disarm_bound", "rodeo",
)  # fmt: skip
"""Order in which estimators take colours; a row uses each colour once."""
LINE_STYLES = ("-", "--", "-.", ":")
LABEL_ROOM = {"x": 35, "y": 20}
"""Points along an axis that the label of a tick takes, with a gap to the next one."""
SUBDIVISIONS = (
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
    (1, 1.5, 2, 3, 5, 7),
    (1, 2, 5),
    (1, 3),
    (1,),
)
"""Ticks in a decade of a logarithmic axis, from the densest to the sparsest."""


def style(number: int) -> dict[str, Any]:
    """Colour and marker of the curve with this number; pairs repeat only after all of both."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "ms": 4,
        "lw": 1.3,
    }


def line_style(number: int) -> dict[str, Any]:
    """Colour and line style of the curve with this number, for curves without markers."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "ls": LINE_STYLES[number % len(LINE_STYLES)],
    }


def estimator_styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each estimator, the same in every figure.

    The marker parts the estimators that share a colour. Estimators of plug-ins follow those of
    ESTIMATORS by alphabet; pairs repeat only after all of both are used.

    Args:
        names: estimators of a figure, by the names in the registry.
    """
    known = dict.fromkeys(names)
    others = sorted(name for name in known if name not in ESTIMATORS)
    order = {name: number for number, name in enumerate((*ESTIMATORS, *others))}
    return {
        name: (
            COLOURS[order[name] % len(COLOURS)],
            MARKERS[order[name] // len(COLOURS) % len(MARKERS)],
        )
        for name in known
    }


def estimator_curves(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Style of the curve of each name, in the estimator's colour and marker.

    Curves of one estimator differ by their line style.

    Args:
        names: display names, which begin with the estimator's name in the registry.
    """
    estimators = [name.partition(" ")[0] for name in names]
    styles, curves = estimator_styles(estimators), {}
    for number, (name, estimator) in enumerate(zip(names, estimators, strict=True)):
        colour, marker = styles[estimator]
        earlier = estimators[:number].count(estimator)
        line = LINE_STYLES[earlier % len(LINE_STYLES)]
        curves[name] = {"color": colour, "marker": marker, "ls": line, "ms": 4, "lw": 1.3}
    return curves


def epoch_axis(axis: Axes) -> None:
    """Put the horizontal ticks of an axis at whole epochs, five at most."""
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))


def tidy(axis: Axes, x: str, y: str) -> Axes:
    """The axis, with labels and a faint grid, and without the frame above and on the right.

    Args:
        axis: axis to change.
        x: label of its horizontal scale.
        y: label of its vertical scale.
    """
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    return axis


def bare(axis: Axes) -> Axes:
    """The axis of an image, without ticks and frame."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_visible(False)
    return axis


def log_axis(axis: Axes, which: Literal["x", "y"]) -> None:
    """Make a scale of an axis logarithmic, with plain numbers as labels and as many as fit.

    The ticks follow the limits and the size that the axis has when it is drawn.

    Args:
        axis: axis to change.
        which: scale of it.
    """
    axis.set(**{f"{which}scale": "log"})
    scale = axis.xaxis if which == "x" else axis.yaxis
    scale.set_major_locator(FittedLogLocator(axis, which))
    scale.set_minor_locator(NullLocator())
    scale.set_major_formatter("{x:g}")


class FittedLogLocator(LogLocator):
    """Ticks of a logarithmic axis: the densest of SUBDIVISIONS whose labels have room.

    Args:
        axes: axes that the ticks are on.
        which: scale of these axes.
    """

    def __init__(self, axes: Axes, which: Literal["x", "y"]) -> None:
        super().__init__(subs=SUBDIVISIONS[-1])
        self._axes, self._which = axes, which

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = sorted((vmin, vmax))
        if not 0 < low < high:
            return super().tick_values(vmin, vmax)
        decades, room = math.log10(high / low), LABEL_ROOM[self._which]
        length = self._length()
        for steps in SUBDIVISIONS:
            gap = min(math.log10(b / a) for a, b in pairwise((*steps, 10)))
            if gap * length / decades >= room:
                ticks = _decade_ticks(steps, low, high)
                if len(ticks) < 2 and decades < 1:
                    break
                return ticks
        if decades < 1:  # a short axis, or a range between two steps
            linear = MaxNLocator(max(1, int(length / room)), steps=[1, 2, 2.5, 5, 10])
            return linear.tick_values(low, high)
        return super().tick_values(vmin, vmax)

    def _length(self) -> float:
        """Points of the axis."""
        box, dpi = self._axes.get_window_extent(), self._axes.figure.dpi
        return (box.width if self._which == "x" else box.height) * 72 / dpi


def _decade_ticks(steps: Sequence[float], low: float, high: float) -> list[float]:
    """Multiples of powers of 10 between two positive limits."""
    exponents = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    ticks = (step * 10.0**exponent for exponent in exponents for step in steps)
    return [tick for tick in ticks if low <= tick <= high]
