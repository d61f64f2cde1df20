"""Headline of an experiment: the test metric that its tables and figures compare.

Accuracy, where the task is classification and every run has one; the bound of several draws, where
the task is one of likelihoods; the first metric of another task, or else the test loss.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn import schema
from bnn.report.rows import ReportError, Row
from bnn.tables import with_unit


@dataclass(frozen=True)
class Headline:
    """Test metric of a run, in the unit in which it is shown.

    Args:
        name: `accuracy` or `loss`, whose fields of a row are `test_NAME`, `test_NAME_mc_mean` and
            `test_NAME_threshold`; or a name among the further metrics of a row.
        unit: `%` or `nats`, or empty.
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
        return with_unit(named, self.unit)

    @property
    def plot_label(self) -> str:
        """Label of an axis, with the unit."""
        return with_unit(self.plot_title, self.unit)

    def value(self, row: Row) -> float:
        """The metric of a run, in its unit; of units that do not draw it is that of one draw."""
        found = test_value(row, self.field)
        own = test_value(row, f"test_{self.name}") if found is None else found
        if own is None:
            raise ReportError(
                f"run {row.run_id}: expected the test metric {self.name}, by which these runs "
                "are compared; it has none"
            )
        return self.scale * own

    def error(self, row: Row) -> float:
        """The quantity that figures draw: the error in %, or the loss."""
        if self.name == "accuracy":
            return 100 * (1 - float(getattr(row, self.field)))
        return self.value(row)

    def gain(self, row: Row, reference: Row) -> float:
        """Difference of two runs, above 0 where the first is better."""
        difference = self.value(row) - self.value(reference)
        return difference if self.name == "accuracy" else -difference

    def ranks(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        """Rank of each title by the mean of the metric over its runs, from 1."""
        mean = {title: statistics.fmean(map(self.error, of)) for title, of in rows.items()}
        return {title: place for place, title in enumerate(sorted(mean, key=mean.__getitem__), 1)}

    @property
    def gain_title(self) -> str:
        """Unit of a difference that is above 0 where the first is better."""
        return "points" if self.name == "accuracy" else self.unit or self.name


def test_value(row: Row, field: str) -> float | None:
    """Test metric of a row by `test_NAME`, from a field or from its further metrics."""
    if hasattr(row, field):
        found: float | None = getattr(row, field)
        return found
    return row.further_metrics.get(field.removeprefix("test_"))


ACCURACY = Headline("accuracy", "%", 100, 2, "test error")
LOSS = Headline("loss", "nats", 1, 2, "test loss")
BOUND = Headline("loss", "nats", 1, 2, "test bound", schema.MC_MEAN)


def headline(rows: Iterable[Row]) -> Headline:
    """The headline of an experiment's runs."""
    rows = list(rows)
    if all(row.test_accuracy is not None for row in rows):
        return ACCURACY
    if all(map(_compares_bounds, rows)):
        return BOUND
    names = {row.task["name"] for row in rows}
    return _of_task(names.pop()) if len(names) == 1 else LOSS


def _of_task(name: str) -> Headline:
    """First metric of a task, where it is to be minimized and no loss."""
    from bnn.tasks import Task

    if name not in Task.registry:  # that of a plug-in may be missing here
        return LOSS
    key, metric = next(iter(Task.registry.attribute(name, "metrics").items()))
    if key in ("loss", "accuracy") or metric.direction != "minimize":
        return LOSS
    return Headline(key, metric.unit, metric.scale, metric.digits, f"test {key}")


def _compares_bounds(row: Row) -> bool:
    from bnn.tasks import Task

    name = row.task["name"]  # that of a plug-in may be missing here
    return name in Task.registry and (
        Task.registry.attribute(name, "compared_reading") == schema.MC_MEAN
    )
