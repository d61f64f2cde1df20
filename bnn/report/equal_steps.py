"""Estimators at equal steps beside the same ones at equal cost, from two experiments of one task.

At equal cost an estimator of several evaluations of the loss a step takes fewer steps. Those of one
evaluation have the same runs in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn.report.configurations import (
    CONTROLS,
    EVALUATIONS,
    Configuration,
    group_by_configuration,
)
from bnn.report.differences import INTERVALS, compare
from bnn.report.headline import Headline, headline
from bnn.report.numbers import format_interval, format_spread, spread
from bnn.report.rows import ReportError, Row
from bnn.tables import BLANK, markdown

REFERENCE = "st"
"""Estimator that the others are compared with, of one evaluation a step."""


@dataclass(frozen=True)
class Comparison:
    """Configurations of one task by estimator, at equal cost and at equal steps.

    Args:
        at_cost: title of an estimator -> its configuration at equal cost.
        at_steps: title -> its configuration at equal steps; of one evaluation a step, the same.
        metric: metric that the runs are compared by.
    """

    at_cost: Mapping[str, Configuration]
    at_steps: Mapping[str, Configuration]
    metric: Headline

    @staticmethod
    def of(cost: Iterable[Row], steps: Iterable[Row]) -> Comparison:
        """Comparison of two experiments.

        Args:
            cost: runs at equal cost.
            steps: runs at equal steps, of the estimators of several evaluations a step.

        Raises:
            ReportError: for an estimator in several configurations, without a counterpart, or with
                other epochs than those of one evaluation a step.
        """
        cost, steps = list(cost), list(steps)
        at_cost, further = _by_title(cost), _by_title(steps)
        single = {title: c for title, c in at_cost.items() if c.first.evaluations == 1}
        epochs = {c.first.epochs for c in (*single.values(), *further.values())}
        if len(epochs) != 1:
            raise ReportError(f"expected equal epochs, hence equal steps; got {sorted(epochs)}")
        if unknown := sorted(set(further) - set(at_cost)):
            raise ReportError(f"{', '.join(unknown)}: expected runs at equal cost too")
        at_steps = {title: further.get(title, single.get(title)) for title in at_cost}
        found = {title: c for title, c in at_steps.items() if c is not None}
        return Comparison(at_cost, found, headline([*cost, *steps]))

    @property
    def reference(self) -> Configuration:
        """Straight-through.

        Raises:
            ReportError: where there is none.
        """
        for c in self.at_steps.values():
            if c.first.estimator == REFERENCE:
                return c
        raise ReportError(f"no runs of {REFERENCE} to compare with")

    def ranks(self, configurations: Mapping[str, Configuration]) -> dict[str, int]:
        """Rank of each estimator by the mean of the metric, from 1; controls have none."""
        return self.metric.ranks(
            {
                title: c.rows
                for title, c in configurations.items()
                if title in self.at_steps and not _is_control(c)
            }
        )


def _is_control(c: Configuration) -> bool:
    return c.first.estimator in CONTROLS or c.real_valued


def _by_title(rows: Sequence[Row]) -> dict[str, Configuration]:
    found: dict[str, Configuration] = {}
    for c in group_by_configuration(rows):
        title = c.first.estimator_title
        if title in found:
            raise ReportError(f"{title}: expected one configuration in {c.first.experiment}")
        found[title] = c
    return found


def table(cost: Iterable[Row], steps: Iterable[Row]) -> str:
    """Markdown table: an estimator a row, the best at equal steps first.

    Args:
        cost: runs at equal cost.
        steps: runs at equal steps, of the estimators of several evaluations a step.

    Raises:
        ReportError: as `Comparison.of`.
    """
    both = Comparison.of(cost, steps)
    metric, ranks = both.metric, both.ranks(both.at_steps)
    earlier = both.ranks(both.at_cost)
    lines = []
    for title in sorted(ranks, key=ranks.__getitem__):
        at_cost, at_steps = both.at_cost[title], both.at_steps[title]
        same = at_steps is at_cost
        beside = compare(at_steps, both.reference, 0.0)
        lines.append([
            title,
            str(at_steps.first.evaluations),
            _mean(at_cost, metric),
            BLANK if same else _mean(at_steps, metric),
            BLANK if same else format_interval(compare(at_steps, at_cost, 0.0).interval, "+",
                                               metric.digits),
            "reference" if beside.is_reference
            else format_interval(beside.interval, "+", metric.digits),
            f"{earlier[title]}, {ranks[title]}",
        ])  # fmt: skip
    head = [
        "estimator", EVALUATIONS, f"equal cost: {metric.title}", "equal steps",
        f"gain by further steps ({metric.gain_title})",
        f"equal steps: gain over straight-through ({metric.gain_title})", "ranks",
    ]  # fmt: skip
    return f"{markdown(head, lines)}\n\n{NOTE}"


def _mean(c: Configuration, metric: Headline) -> str:
    return format_spread(spread([metric.value(row) for row in c.rows]), metric.digits)


NOTE = (
    "A dash: of one evaluation of the loss a step, with the same runs at equal cost and at equal "
    f"steps. Differences are paired by seed, with {INTERVALS}. Ranks are at equal cost and at "
    "equal steps, by the mean, among the estimators of this table."
)
"""Sentences below the table."""
