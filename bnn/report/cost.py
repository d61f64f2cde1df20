"""Cost of training a configuration, and its test error beside it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from bnn.report.configurations import Configuration
from bnn.report.headline import headline
from bnn.report.numbers import Range, value_range
from bnn.report.rows import Row


def evaluations(row: Row) -> float:
    """Evaluations of the loss of a training sample: those of a step times epochs."""
    return row.evaluations * row.epochs


def seconds(row: Row) -> float:
    """Seconds of optimizer steps, without evaluation."""
    return row.seconds_train


def multiply_adds(row: Row) -> float | None:
    """Thousand multiply-adds of a test image, the mean over the split; None where none is known."""
    found = row.further_metrics.get("multiply_adds")
    return None if found is None else found / 1000


def mean_multiply_adds(c: Configuration) -> float:
    """Thousand multiply-adds of a test image, the mean over the seeds that know it."""
    return statistics.fmean(found for row in c.rows if (found := multiply_adds(row)) is not None)


COSTS: Mapping[str, Callable[[Row], float | None]] = {
    "evaluations of f for a sample (a step × epochs)": evaluations,
    "seconds of training": seconds,
    "thousand multiply-adds of an image": multiply_adds,
}
"""Label of an axis -> cost of a run, None where it has none."""


def known_costs(rows: Iterable[Row]) -> list[str]:
    """Keys of COSTS that every row has."""
    rows = list(rows)
    return [key for key, cost in COSTS.items() if all(cost(row) is not None for row in rows)]


def cost_and_error(
    configurations: Sequence[Configuration], cost: str
) -> dict[Configuration, tuple[Range, Range]]:
    """Cost and plotted headline of each configuration, both over its seeds.

    Args:
        configurations: configurations of one experiment, which share a headline.
        cost: key of COSTS that every row has.
    """
    cost_of, metric = COSTS[cost], headline(row for c in configurations for row in c.rows)
    return {
        c: (
            value_range([one for row in c.rows if (one := cost_of(row)) is not None]),
            value_range([metric.error(row) for row in c.rows]),
        )
        for c in configurations
    }
