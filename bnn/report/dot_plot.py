"""Rows -> the picture beside the table: test error by configuration, every seed shown."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from bnn.plots.style import COLOURS
from bnn.report.configurations import Configuration, configurations, rank
from bnn.report.headline import Headline, headline
from bnn.report.display_names import place, plain, short
from bnn.report.reference import misnamed, reported
from bnn.report.rows import Row

REAL = "#444444"


def colours(found: Sequence[Configuration]) -> dict[str, str]:
    """A colour for each estimator, by its title; they come again after six."""
    titles = dict.fromkeys(c.first.estimator_title for c in found if c.first.neuron != "real")
    return {title: COLOURS[i % len(COLOURS)] for i, title in enumerate(titles)}


def _dots(axis: Axes, y: float, c: Configuration, colour: str, shown: Headline) -> None:
    errors = [shown.error(row) for row in c.rows]
    if not c.preliminary:
        axis.scatter(
            sum(errors) / len(errors),
            y,
            s=95,
            facecolor=to_rgba(colour, 0.3),
            edgecolor=colour,
            zorder=3,
        )
    axis.scatter(
        errors,
        [y] * len(errors),
        s=30 if c.preliminary else 14,
        color=colour,
        linewidth=0,
        zorder=4,
    )
    theirs = reported(c.first)
    if theirs is not None and not misnamed(c.first):
        axis.scatter(
            100 - theirs.accuracy,
            y,
            s=48,
            marker="D",
            facecolor="none",
            edgecolor="black",
            zorder=5,
        )


def _legend(figure: Figure, found: Sequence[Configuration]) -> None:
    def mark(marker: str, size: float, label: str, **looks: Any) -> Line2D:
        return Line2D(
            [], [], linestyle="none", marker=marker, markersize=size, label=label, **looks
        )  # type: ignore[arg-type]

    marks = [mark("o", 3.5, "one seed", color="0.4")]
    if any(not c.preliminary for c in found):
        marks.append(mark("o", 9.5, "mean over seeds", markerfacecolor="0.8", color="0.4"))
    if any(reported(c.first) and not misnamed(c.first) for c in found):
        marks.append(
            mark(
                "D", 6.5, "reported by the sources (one run)", markerfacecolor="none", color="black"
            )
        )
    figure.legend(
        handles=marks, loc="outside upper center", ncols=len(marks), frameon=False, fontsize=10
    )


def figure(rows: Iterable[Row]) -> Figure:
    """Test error in %, or the loss, of the net's own rule (log scale unless a run makes no error), grouped by neuron and
    placement, coloured by estimator. Errors: ReportError as `configurations`."""
    found = sorted(
        configurations(rows), key=lambda c: rank(c.first, "neuron", "placement", "estimator")
    )
    paint, metric = colours(found), headline(row for c in found for row in c.rows)
    ticks: list[tuple[float, str, str]] = []
    group, y = ("", ""), 0.0
    drawn = Figure(layout="constrained")
    axis = drawn.subplots()
    for c, label in zip(found, short(found), strict=True):
        row = c.first
        colour = paint.get(row.estimator_title, REAL) if row.neuron != "real" else REAL
        if (row.neuron, row.placement) != group and row.neuron != "real":
            y += 0.45
            ticks.append((y, plain(place(c)), "black"))
            y += 1
        group = (row.neuron, row.placement)
        axis.axhline(y, color="0.9", linewidth=0.8, zorder=1)
        _dots(axis, y, c, colour, metric)
        ticks.append((y, plain(f"{label} †" if c.preliminary else label), colour))
        y += 1
    _dress(
        axis,
        ticks,
        y,
        metric.drawn,
        log=all(metric.error(row) > 0 for c in found for row in c.rows),
    )
    drawn.set_size_inches(8, 1.1 + 0.235 * y)
    _legend(drawn, found)
    return drawn


def _dress(
    axis: Axes, ticks: Sequence[tuple[float, str, str]], bottom: float, label: str, *, log: bool
) -> None:
    axis.set_ylim(bottom - 0.3, ticks[0][0] - 0.7)
    axis.set_yticks([y for y, _, _ in ticks], [label for _, label, _ in ticks], fontsize=10)
    for text, (_, _, colour) in zip(axis.get_yticklabels(), ticks, strict=True):
        text.set_color(colour)
        text.set_fontweight("bold" if colour == "black" else "normal")
    axis.tick_params(axis="y", length=0)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.grid(axis="x", alpha=0.3)
    axis.set_xlabel(label.replace(")", ", log scale)") if log else label, fontsize=11)
    if log:
        axis.set_xscale("log")
        low, high = axis.get_xlim()
        axis.xaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if high > 5 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8))
        )
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter("{x:g}")


def fingerprint(source: bytes) -> str:
    """What a picture says about the file of rows that it was drawn from."""
    return hashlib.sha256(source).hexdigest()


def save(drawn: Figure, path: Path, source: bytes) -> None:
    """Write a PNG of few colours (a third of the bytes) that carries the fingerprint of its source, so that an outdated
    picture can be told without drawing it again."""
    rendered = io.BytesIO()
    drawn.savefig(rendered, format="png", dpi=110)
    text = PngInfo()
    text.add_text("Source", fingerprint(source))
    Image.open(rendered).convert("RGB").quantize(64).save(path, optimize=True, pnginfo=text)
