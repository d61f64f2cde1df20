"""Seconds to an accuracy: configurations of one table beside the same cells of an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from bnn.report.configurations import Configuration, group_by_configuration
from bnn.report.numbers import format_spread
from bnn.report.rows import ReportError, Row
from bnn.tables import markdown

CELL = ("neuron", "estimator", "placement")
"""Fields that make the same cell of two tables."""


def cell(row: Row) -> tuple[str, ...]:
    """Neuron, estimator and placement of a run."""
    return tuple(getattr(row, field) for field in CELL)


def pairs(rows: Sequence[Row], earlier: Sequence[Row]) -> list[tuple[Configuration, Configuration]]:
    """Configurations of `rows`, each with that of `earlier` in the same cell.

    Raises:
        ReportError: where `earlier` has none or several of them.
    """
    found = []
    before = group_by_configuration(earlier)
    for one in group_by_configuration(rows):
        same = [other for other in before if cell(other.first) == cell(one.first)]
        if len(same) != 1:
            raise ReportError(
                f"{', '.join(cell(one.first))}: expected one configuration in the earlier table, "
                f"got {len(same)}"
            )
        found.append((one, same[0]))
    return found


def seconds_table(rows: Sequence[Row], earlier: Sequence[Row]) -> str:
    """Markdown table of test accuracy and seconds of training, before and now.

    Seeds that the earlier table lacks are left out.

    Args:
        rows: runs of the table.
        earlier: runs of the table that it is compared with, on the same machine.
    """
    lines, seeds = [], {row.seed for row in earlier}
    for one, other in pairs([row for row in rows if row.seed in seeds], earlier):
        now, before = (c.spread("seconds_train") for c in (one, other))
        assert now is not None and before is not None
        lines.append(
            [
                one.first.neuron,
                one.first.estimator,
                one.first.placement,
                format_spread(other.spread("test_accuracy"), 2, 100),
                str(other.first.epochs),
                format_spread(before, 0),
                format_spread(one.spread("test_accuracy"), 2, 100),
                str(one.first.epochs),
                format_spread(now, 0),
                f"{now.mean * one.first.threads / (before.mean * other.first.threads):.2f}",
            ]
        )
    head = ["test accuracy (%)", "epochs", "s to train"]
    return markdown([*CELL, *(f"{h}, before" for h in head), *head, "share of core-seconds"], lines)
