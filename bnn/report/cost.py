"""Cost of training a configuration, and its test error beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bnn.report.configurations import Configuration
from bnn.report.headline import headline
from bnn.report.numbers import Range, value_range
from bnn.report.rows import Row


def passes(row: Row) -> float:
    """Passes over the training split: evaluations of the loss per sample and step, times epochs."""
    return row.evaluations * row.epochs


def seconds(row: Row) -> float:
    """Seconds of optimizer steps, without evaluation."""
    return row.seconds_train


COSTS: Mapping[str, Callable[[Row], float]] = {
    "passes over the training split (a step × epochs)": passes,
    "seconds of training": seconds,
}
"""Label of an axis -> cost of a run."""


def cost_and_error(
    configurations: Sequence[Configuration], cost: str
) -> dict[Configuration, tuple[Range, Range]]:
    """Cost and plotted headline of each configuration, both over its seeds.

    Args:
        configurations: configurations of one experiment, which share a headline.
        cost: key of COSTS.
    """
    cost_of, metric = COSTS[cost], headline(row for c in configurations for row in c.rows)
    return {
        c: (
            value_range([cost_of(row) for row in c.rows]),
            value_range([metric.error(row) for row in c.rows]),
        )
        for c in configurations
    }
