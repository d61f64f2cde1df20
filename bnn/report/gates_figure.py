"""Figure of gated networks: test error against multiply-adds and milliseconds of an image."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn.plots.style import NEUTRAL, estimator_styles, log_axis, tidy
from bnn.report.configurations import Configuration
from bnn.report.cost import mean_multiply_adds
from bnn.report.gated_networks import CONTROLS, DENSE, OPEN, RANDOM, UNTRAINED, GatedNetworks
from bnn.report.headline import ACCURACY
from bnn.report.numbers import value_range
from bnn.report.rows import ReportError, Row

CONTROL_STYLES: Mapping[str, Mapping[str, Any]] = {
    DENSE: {"color": NEUTRAL, "marker": "D", "ls": "-"},
    UNTRAINED: {"color": NEUTRAL, "marker": "v", "ls": "--"},
    RANDOM: {"color": NEUTRAL, "marker": "x", "ls": ":"},
    OPEN: {"color": NEUTRAL, "marker": "*", "ls": "none"},
}
"""Appearance of the controls in the figure."""


def milliseconds(text: str, model: str) -> dict[int, dict[str, float]]:
    """Milliseconds of one image from the printed tables of `python -m bnn.benchmark --gates`.

    Args:
        text: what the benchmark printed, one section a model.
        model: `gated_mlp` or `gated_cnn`.

    Returns:
        Open gates in % -> `gated` (by the open blocks alone) and `dense` -> milliseconds.

    Raises:
        ReportError: where the model was not timed, or not at a batch of one.
    """
    sections = [one for one in text.split("# ")[1:] if f"model={model} " in one]
    if len(sections) != 1:
        raise ReportError(f"expected one section of model={model}, got {len(sections)}")
    number = r" *([\d.]+) \|"
    found = re.findall(rf"^\|{number} +1 \|{number}{number}{number}", sections[0], re.MULTILINE)
    if not found:
        raise ReportError(f"model={model}: expected rows of batch 1, got none")
    return {int(opened): {"gated": float(gated), "dense": float(dense)}
            for opened, _, gated, dense in found}  # fmt: skip


def figure(rows: Iterable[Row], times: Mapping[int, Mapping[str, float]]) -> Figure:
    """Test error against multiply-adds of an image, and against its milliseconds.

    Means over seeds are joined; bars reach from the lowest seed to the highest. Random gates have
    no milliseconds, since the benchmark counts a gater's.

    Args:
        rows: runs of one experiment.
        times: milliseconds of an image, from `milliseconds`.

    Raises:
        ReportError: as `GatedNetworks.of`.
    """
    networks = GatedNetworks.of(rows)
    drawn = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = drawn.subplots(1, 2, sharey=True)
    styles = _styles(networks)
    for title in networks.titles():
        at = {share: of[title] for share, of in networks.by_share.items() if title in of}
        _draw(left, [(mean_multiply_adds(c), c) for c in at.values()], title, styles[title])
        if title != RANDOM:
            kind = "dense" if title == DENSE else "gated"
            points = [(_at_share(times, share)[kind], c) for share, c in at.items()]
            _draw(right, points, title, styles[title])
    if (c := networks.all_open) is not None:
        _draw(left, [(mean_multiply_adds(c), c)], OPEN, styles[OPEN])
    tidy(left, "thousand multiply-adds of an image, log scale", f"{ACCURACY.plot_label}, log scale")
    tidy(right, "milliseconds of one image, log scale", "")
    log_axis(left, "x")
    log_axis(right, "x")
    log_axis(left, "y")
    drawn.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False)
    return drawn


def _styles(networks: GatedNetworks) -> dict[str, Mapping[str, Any]]:
    """Colour, marker and line style of each title."""
    estimators = {
        title: c.first.estimator
        for at in networks.by_share.values()
        for title, c in at.items()
        if title not in CONTROLS
    }
    inks = estimator_styles(estimators.values())
    learned = {
        title: {"color": inks[name][0], "marker": inks[name][1], "ls": "-"}
        for title, name in estimators.items()
    }
    return {**learned, **CONTROL_STYLES}


def _draw(
    axis: Axes, points: Sequence[tuple[float, Configuration]], title: str, style: Mapping[str, Any]
) -> None:
    errors = [value_range([ACCURACY.error(row) for row in c.rows]) for _, c in points]
    means = [one.mean for one in errors]
    bars = [[one.mean - one.low for one in errors], [one.high - one.mean for one in errors]]
    axis.errorbar(
        [x for x, _ in points], means, yerr=bars, label=title, lw=1.3, ms=6, capsize=2, **style
    )


def _at_share(times: Mapping[int, Mapping[str, float]], share: float) -> Mapping[str, float]:
    """Times at the open gates that are nearest to a share, which they meet up to chance."""
    return times[min(times, key=lambda opened: abs(opened / 100 - share))]
