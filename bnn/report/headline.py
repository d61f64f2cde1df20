"""Headline of an experiment: the test metric that its tables and figures compare.

Accuracy, where the task is classification and every run has one; the bound of several draws, where
the task is one of likelihoods; else the test loss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bnn import schema
from bnn.report.rows import Row


@dataclass(frozen=True)
class Headline:
    """Test metric of a run, in the unit in which it is shown.

    Args:
        name: `accuracy` or `loss`; fields of a row are `test_NAME`, `test_NAME_mc_mean` and
            `test_NAME_threshold`.
        unit: `%` or `nats`.
        scale: factor between the field and the unit.
        digits: printed behind the point.
        plot_title: quantity that figures draw, which is better when lower, without its unit.
        reading: `sampled`, or `mc_mean` where the metric is one of several draws.
    """

    name: str
    unit: str
    scale: float
    digits: int
    plot_title: str
    reading: str = schema.SAMPLED

    @property
    def field(self) -> str:
        """Field of a row, under the headline's reading."""
        return f"test_{schema.test_metric(self.name, self.reading)}"

    @property
    def title(self) -> str:
        """Head of a column, with the unit."""
        named = f"test {self.name}" if self.reading == schema.SAMPLED else self.plot_title
        return f"{named} ({self.unit})"

    @property
    def plot_label(self) -> str:
        """Label of an axis, with the unit."""
        return f"{self.plot_title} ({self.unit})"

    def value(self, row: Row) -> float:
        """The metric of a run, in its unit; of units that do not draw it is that of one draw."""
        found = getattr(row, self.field)
        return self.scale * float(getattr(row, f"test_{self.name}") if found is None else found)

    def error(self, row: Row) -> float:
        """The quantity that figures draw: the error in %, or the loss."""
        if self.name == "accuracy":
            return 100 * (1 - float(getattr(row, self.field)))
        return self.value(row)

    def gain(self, row: Row, reference: Row) -> float:
        """Difference of two runs, above 0 where the first is better."""
        difference = self.value(row) - self.value(reference)
        return difference if self.name == "accuracy" else -difference


ACCURACY = Headline("accuracy", "%", 100, 2, "test error")
LOSS = Headline("loss", "nats", 1, 2, "test loss")
BOUND = Headline("loss", "nats", 1, 2, "test bound", schema.MC_MEAN)


def headline(rows: Iterable[Row]) -> Headline:
    """The headline of an experiment's runs."""
    rows = list(rows)
    if all(row.test_accuracy is not None for row in rows):
        return ACCURACY
    return BOUND if all(map(_compares_bounds, rows)) else LOSS


def _compares_bounds(row: Row) -> bool:
    from bnn.tasks import Task

    name = row.task["name"]  # that of a plug-in may be missing here
    return name in Task.registry and (
        Task.registry.attribute(name, "compared_reading") == schema.MC_MEAN
    )
