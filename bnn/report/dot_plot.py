"""Figure beside the table: test error by configuration, a dot for each seed."""

from __future__ import annotations

import hashlib
import io
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bnn.plots.style import NEUTRAL, estimator_styles, log_axis
from bnn.report.configurations import CONTROLS, Configuration, group_by_configuration, rank
from bnn.report.display_names import placement_name, plot_text, short_names
from bnn.report.headline import Headline, headline
from bnn.report.reference import misnamed, reported
from bnn.report.rows import Row


@dataclass(frozen=True)
class Line:
    """Label on the left of the figure: a configuration, or the title of a group of them."""

    y: float
    label: str
    colour: str
    bold: bool = False


def dot_plot(rows: Iterable[Row]) -> Figure:
    """Headline of each configuration, grouped by neuron and placement, coloured by estimator.

    It is the test error in % or the test loss, on a logarithmic scale unless a run makes no error.

    Raises:
        ReportError: as `group_by_configuration`.
    """
    configurations = group_by_configuration(rows)
    configurations.sort(key=lambda c: rank(c.first, "neuron", "placement", "estimator"))
    metric = headline(row for c in configurations for row in c.rows)
    styles = estimator_styles(c.first.estimator for c in configurations)
    figure = Figure(layout="constrained")
    axis = figure.subplots()
    lines, places, placement, y = [], [], "", 0.0
    for c, name in zip(configurations, short_names(configurations), strict=True):
        colour, marker = (NEUTRAL, "o") if c.real_valued else styles[c.first.estimator]
        if not c.real_valued and placement_name(c) != placement:
            lines.append(Line(y + 0.45, plot_text(placement_name(c)), "black", bold=True))
            y += 1.45
        placement = placement_name(c)
        axis.axhline(y, color="0.9", linewidth=0.8, zorder=1)
        _draw_dots(axis, y, c, (colour, marker), metric)
        places.append((y, colour))
        lines.append(Line(y, plot_text(f"{name} †" if c.preliminary else name), colour))
        y += 1
    log = all(metric.error(row) > 0 for c in configurations for row in c.rows)
    _set_axes(axis, lines, y, metric, log=log)
    beyond = _leave_out_far_controls(axis, configurations, places, metric)
    figure.set_size_inches(8, 1.1 + 0.235 * y)
    _add_legend(figure, configurations, beyond)
    return figure


def _draw_dots(
    axis: Axes, y: float, c: Configuration, style: tuple[str, str], metric: Headline
) -> None:
    colour, marker = style
    errors = [metric.error(row) for row in c.rows]
    if not c.preliminary:
        axis.scatter(
            sum(errors) / len(errors),
            y,
            s=95,
            marker=marker,
            facecolor=to_rgba(colour, 0.3),
            edgecolor=colour,
            zorder=3,
        )
    size = 30 if c.preliminary else 14
    axis.scatter(
        errors, [y] * len(errors), s=size, marker=marker, color=colour, linewidth=0, zorder=4
    )
    published = reported(c.first)
    if published is not None and not misnamed(c.first):
        axis.scatter(
            100 - published.accuracy,
            y,
            s=48,
            marker="D",
            facecolor="none",
            edgecolor="black",
            zorder=5,
        )


def _set_axes(
    axis: Axes, lines: Sequence[Line], bottom: float, metric: Headline, *, log: bool
) -> None:
    axis.set_ylim(bottom - 0.3, lines[0].y - 0.7)
    axis.set_yticks([one.y for one in lines], [one.label for one in lines], fontsize=10)
    for text, one in zip(axis.get_yticklabels(), lines, strict=True):
        text.set_color(one.colour)
        text.set_fontweight("bold" if one.bold else "normal")
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(axis="x", alpha=0.3)
    label = metric.plot_label
    if log:
        label = label.replace(")", ", log scale)") if ")" in label else f"{label}, log scale"
    axis.set_xlabel(label, fontsize=11)
    if log:
        log_axis(axis, "x")


def _leave_out_far_controls(
    axis: Axes,
    configurations: Sequence[Configuration],
    places: Sequence[tuple[float, str]],
    metric: Headline,
) -> bool:
    """Scale the axis by the others where a control lies farther off than they are apart.

    Such a control is an arrow with its mean, unless a published result stands beside it.

    Args:
        axis: axis with all dots.
        configurations: configurations that are drawn.
        places: height and colour of each.
        metric: the headline.

    Returns:
        Whether there is one.
    """
    is_log = axis.get_xscale() == "log"
    errors = [[metric.error(row) for row in c.rows] for c in configurations]
    on_axis = [[math.log(x) if is_log else x for x in of] for of in errors]
    controls = [not c.real_valued and c.first.estimator in CONTROLS for c in configurations]
    others = [of for of, control in zip(on_axis, controls, strict=True) if not control]
    if len(others) < 2:
        return False
    low, high = min(map(min, others)), max(map(max, others))
    far = [
        control and min(of) > high + (high - low) and reported(c.first) is None
        for c, of, control in zip(configurations, on_axis, controls, strict=True)
    ]
    if any(far):
        near = [of for of, is_far in zip(on_axis, far, strict=True) if not is_far]
        low, high = min(map(min, near)), max(map(max, near))
        limits = (low - 0.06 * (high - low), high + 0.18 * (high - low))
        axis.set_xlim(*(map(math.exp, limits) if is_log else limits))
    for of, (y, colour), is_far in zip(errors, places, far, strict=True):
        if is_far:
            mean = f"{statistics.fmean(of):.{metric.digits}f} ⟶"
            across = axis.get_yaxis_transform()
            axis.text(
                1, y, mean, transform=across, color=colour, fontsize=10, ha="right", va="center"
            )
    return any(far)


def _add_legend(figure: Figure, configurations: Sequence[Configuration], beyond: bool) -> None:
    def mark(marker: str, size: float, label: str, **appearance: Any) -> Line2D:
        return Line2D(
            [], [], linestyle="none", marker=marker, markersize=size, label=label, **appearance
        )

    marks = [mark("o", 3.5, "one seed", color="0.4")]
    if any(not c.preliminary for c in configurations):
        marks.append(mark("o", 9.5, "mean over seeds", markerfacecolor="0.8", color="0.4"))
    if any(reported(c.first) and not misnamed(c.first) for c in configurations):
        title = "as published (one run)"
        marks.append(mark("D", 6.5, title, markerfacecolor="none", color="black"))
    if beyond:
        marks.append(mark(r"$\rightarrow$", 12, "mean beyond the axis", color="0.4"))
    figure.legend(
        handles=marks, loc="outside upper center", ncols=len(marks), frameon=False, fontsize=10
    )


def fingerprint(source: bytes) -> str:
    """SHA-256 of a file of rows, by which a figure names the file it was drawn from."""
    return hashlib.sha256(source).hexdigest()


def save(figure: Figure, path: Path, source: bytes) -> None:
    """Write a PNG of 64 colours, a third of the bytes, with the fingerprint of its source.

    By the fingerprint an outdated figure can be told without drawing it again.

    Args:
        figure: figure to write.
        path: file to write it to.
        source: content of the file that the figure was drawn from.
    """
    rendered = io.BytesIO()
    figure.savefig(rendered, format="png", dpi=110)
    text = PngInfo()
    text.add_text("Source", fingerprint(source))
    Image.open(rendered).convert("RGB").quantize(64).save(path, optimize=True, pnginfo=text)
