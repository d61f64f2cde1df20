"""Style of every figure: colours, markers and axes."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes

# Okabe & Ito's palette, distinguishable to colour-blind readers
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "osv^D*P"


def style(number: int) -> dict[str, Any]:
    """Colour and marker of the curve with this number: pairs repeat only after all of both."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "ms": 4,
        "lw": 1.3,
    }


def tidy(axis: Axes, x: str, y: str) -> Axes:
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    return axis
