"""Estimators across tasks: a table and a figure of the same estimators in several experiments.

Each experiment is one CSV file of one task, whose protocol it keeps; what is compared across them
is each estimator's difference from straight-through, paired by seed.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bnn.estimators import Estimator
from bnn.plots.style import estimator_styles
from bnn.report.configurations import CONTROLS
from bnn.report.differences import INTERVALS, Difference, Reference, differences
from bnn.report.document import task_of
from bnn.report.headline import ACCURACY, BOUND, Headline, headline
from bnn.report.numbers import format_interval, format_spread, interval, spread
from bnn.report.rows import ReportError, Row
from bnn.tables import BLANK, markdown

REFERENCE = Reference("estimator", "st", 0.0)
"""Straight-through, of which each experiment has one configuration."""


@dataclass(frozen=True)
class TaskResults:
    """Estimators of one experiment beside its straight-through.

    Args:
        name: name of its CSV file.
        rows: its runs.
    """

    name: str
    rows: Sequence[Row]

    @property
    def task(self) -> str:
        """Name of the task that every run has.

        Raises:
            ReportError: where they have several.
        """
        names = sorted({row.task["name"] for row in self.rows})
        if len(names) != 1:
            raise ReportError(f"{self.name}.csv: expected one task, got {', '.join(names)}")
        return names[0]

    @property
    def metric(self) -> Headline:
        """Metric that its runs are compared by."""
        return headline(self.rows)

    def differences(self) -> dict[str, Difference]:
        """Difference of each estimator from straight-through, by its title.

        Raises:
            ReportError: as `differences`, and for an estimator in several configurations.
        """
        found: dict[str, Difference] = {}
        for one in differences(self.rows, REFERENCE):
            title = one.configuration.first.estimator_title
            if title in found:
                raise ReportError(f"{self.name}.csv: expected one configuration of {title}")
            found[title] = one
        return found

    def ranks(self) -> dict[str, int]:
        """Rank of each estimator by the mean of the metric, from 1; controls have none."""
        return self.metric.ranks(
            {
                title: one.configuration.rows
                for title, one in self.differences().items()
                if one.configuration.first.estimator not in CONTROLS
            }
        )


def titles(tables: Sequence[TaskResults]) -> list[tuple[str, str]]:
    """Name and title of each estimator: biased ones, unbiased ones, controls; by mean rank."""
    names: dict[str, str] = {}
    ranks: dict[str, list[int]] = {}
    for one in tables:
        for title, difference in one.differences().items():
            names[title] = difference.configuration.first.estimator
        for title, place in one.ranks().items():
            ranks.setdefault(title, []).append(place)

    def order(title: str) -> tuple[bool, bool, float, str]:
        name = names[title]
        places = ranks.get(title, [0])
        unbiased = bool(Estimator.registry.attribute(name, "unbiased"))
        return name in CONTROLS, unbiased, statistics.fmean(places), title

    return [(names[title], title) for title in sorted(names, key=order)]


def table(tables: Sequence[TaskResults]) -> str:
    """Markdown table: an estimator a row, for each task its result and its difference.

    Args:
        tables: experiments, each of another task.

    Raises:
        ReportError: as `TaskResults`.
    """
    found = [one.differences() for one in tables]
    ranks = [one.ranks() for one in tables]
    head = ["estimator", "unbiased"]
    for one in tables:
        head += [
            f"{one.task}: {one.metric.title}",
            f"gain over straight-through ({one.metric.gain_title})",
        ]
    rows = []
    for name, title in titles(tables):
        cells = [title, Estimator.registry.build(name).unbiasedness]
        for one, difference in zip(tables, (each.get(title) for each in found), strict=True):
            cells += _cells(difference, one.metric)
        rows.append([*cells, ", ".join(str(each.get(title, BLANK)) for each in ranks)])
    return f"{markdown([*head, 'ranks'], rows)}\n\n{_note(tables)}"


def _cells(difference: Difference | None, metric: Headline) -> list[str]:
    """Result over seeds, and difference from straight-through."""
    if difference is None:
        return [BLANK, BLANK]
    values = spread([metric.value(row) for row in difference.configuration.rows])
    gain = format_interval(difference.interval, "+", metric.digits)
    return [
        format_spread(values, metric.digits), "reference" if difference.is_reference else gain
    ]  # fmt: skip


def _note(tables: Sequence[TaskResults]) -> str:
    sources = "; ".join(
        f"{task_of(one.rows)}: [{one.name}]({one.name}.md), "
        f"{len({row.seed for row in one.rows})} seeds on "
        + " and ".join(sorted({row.hardware for row in one.rows}))
        for one in tables
    )
    draws = sorted({r.evaluation_samples for t in tables if t.metric is BOUND for r in t.rows})
    bound = f" A bound is that of {' or '.join(map(str, draws))} draws." if draws else ""
    return (
        f"{sources}.{bound} Gains are positive where the estimator is better than "
        f"straight-through, paired by seed, with {INTERVALS}. ± is the sample standard deviation "
        "over seeds. Ranks are by the mean, in the order of the tasks, among the estimators that "
        "each experiment has."
    )


def figure(tables: Sequence[TaskResults]) -> Figure:
    """Distance of each estimator behind straight-through: a panel for each task, a dot a seed.

    Controls are left out, which are far behind.

    Args:
        tables: experiments, each of another task.
    """
    shown = [(name, title) for name, title in titles(tables) if name not in CONTROLS]
    styles = estimator_styles(name for name, _ in shown)
    biased = sum(not Estimator.registry.attribute(name, "unbiased") for name, _ in shown)
    drawn = Figure(figsize=(10, 0.9 + 0.27 * len(shown)), layout="constrained")
    axes = drawn.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axis, one in zip(axes, tables, strict=True):
        axis.axvline(0, color="0.4", lw=1)
        axis.axhline(biased - 0.5, color="0.7", lw=0.8, ls=":")
        for y, (name, title) in enumerate(shown):
            if difference := one.differences().get(title):
                _draw(axis, y, difference, one.metric, styles[name])
        unit = "points of error" if one.metric is ACCURACY else one.metric.unit or one.metric.name
        axis.set_title(one.task, fontsize=11)
        axis.set_xlabel(f"{unit} behind straight-through")
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(axis="y", length=0)
        axis.grid(axis="x", alpha=0.3)
    axes[0].set_yticks(range(len(shown)), [title for _, title in shown])
    axes[0].set_ylim(len(shown) - 0.5, -0.5)
    for label, (name, _) in zip(axes[0].get_yticklabels(), shown, strict=True):
        label.set_color(styles[name][0])
    for text, place in (("biased", -0.35), ("unbiased", biased - 0.35)):
        axes[-1].annotate(
            text, (1, place), xycoords=("axes fraction", "data"), ha="right", va="top",
            fontsize=9, color="0.4",
        )  # fmt: skip
    return drawn


def _draw(
    axis: Axes, y: int, difference: Difference, metric: Headline, style: tuple[str, str]
) -> None:
    colour, marker = style
    behind = [-metric.gain(row, theirs) for row, theirs in difference.pairs()]
    axis.axhline(y, color="0.93", lw=0.8, zorder=1)
    axis.scatter(behind, [y] * len(behind), s=12, color=colour, marker=marker, lw=0, zorder=3)
    if (ends := interval(behind)) is not None and not difference.is_reference:
        axis.plot([ends.low, ends.high], [y, y], color=colour, lw=1.4, alpha=0.6, zorder=2)
    axis.scatter(
        statistics.fmean(behind), y, s=60, marker=marker, facecolor="none", edgecolor=colour,
        zorder=4,
    )  # fmt: skip


def results_by_task(rows: Mapping[str, Sequence[Row]]) -> list[TaskResults]:
    """Experiments in the order given.

    Args:
        rows: runs by the name of their CSV file.

    Raises:
        ReportError: for a task that comes twice.
    """
    tables = [TaskResults(name, of_file) for name, of_file in rows.items()]
    if len({one.task for one in tables}) < len(tables):
        raise ReportError(f"{', '.join(rows)}: expected a task of its own in each file")
    return tables
