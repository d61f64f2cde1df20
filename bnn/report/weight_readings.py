"""Table of the readings of binary weights that training draws."""

from __future__ import annotations

from collections.abc import Sequence

from bnn import schema
from bnn.report.configurations import Configuration, group_by_configuration
from bnn.report.display_names import full_names
from bnn.report.numbers import format_spread
from bnn.report.rows import ReportError, Row
from bnn.tables import markdown

READINGS = {
    "signs": "",
    "one drawn network": f"_{schema.DRAWN_WEIGHTS}",
    "mean of drawn networks": f"_{schema.ENSEMBLE}",
    "Gaussian pre-activations": f"_{schema.LRT}",
}
"""Columns of the table, and the endings of their fields."""
ANEW, KEPT = "statistics anew", "of the training"


def weight_readings(rows: Sequence[Row]) -> str:
    """Markdown table of test accuracies under each reading, with statistics of either kind.

    Args:
        rows: runs of a table; those without drawn weights are left out.

    Raises:
        ReportError: where none has drawn weights.
    """
    found = group_by_configuration(rows)
    names = dict(zip(found, full_names(found), strict=True))
    drawn = [c for c in found if c.first.test_accuracy_drawn_weights is not None]
    if not drawn:
        raise ReportError("expected runs with drawn weights (weights=sample, lrt); got none")
    lines = [
        [
            c.first.neuron,
            names[c],
            statistics,
            *(_cell(c, ending, statistics == KEPT) for ending in READINGS.values()),
        ]
        for c in drawn
        for statistics in (ANEW, KEPT)
    ]
    heads = [f"{name} (%)" for name in READINGS]
    return markdown(["neuron", "run", "running statistics", *heads], lines)


def _cell(c: Configuration, ending: str, kept: bool) -> str:
    field = f"test_accuracy{ending}"
    if kept:
        field += ("" if ending else f"_{schema.SIGN_WEIGHTS}") + schema.TRAINING_STATISTICS
    return format_spread(c.spread(field), 2, 100)
