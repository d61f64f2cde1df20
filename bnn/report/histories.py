"""Metrics by epoch over the seeds of a configuration, as means with the range of the seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn.report.configurations import Configuration
from bnn.report.numbers import Spread, spread
from bnn.tracking.query import History

Histories = Mapping[str, History]
"""History of each run, by its id."""


@dataclass(frozen=True)
class Band:
    """One metric by epoch over seeds.

    Args:
        epochs: epochs at which every run has a finite value.
        mean: mean over the runs, for each epoch.
        low: lowest value of a run, for each epoch.
        high: highest value of a run, for each epoch.
        runs: ids of the runs that have the metric.
    """

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    runs: tuple[str, ...]


def error_percent(accuracy: float) -> float:
    """Error in % of an accuracy in [0, 1]."""
    return 100 * (1 - accuracy)


def percent(share: float) -> float:
    """Percentage of a share in [0, 1]."""
    return 100 * share


def identity(value: float) -> float:
    """The value itself."""
    return value


def band(
    c: Configuration,
    histories: Histories,
    key: str,
    transform: Callable[[float], float] = identity,
) -> Band | None:
    """Band of a metric over the seeds that have it; None where no run has a finite value.

    Its epochs are those at which all these seeds have a finite value, so that each mean is of the
    same runs.

    Args:
        c: configuration.
        histories: metrics of its runs by epoch.
        key: metric.
        transform: function of the metric that is averaged.
    """
    finite = {
        row.run_id: _finite(history, transform)
        for row in c.rows
        if (history := histories.get(row.run_id, {}).get(key))
    }
    values = {run: by_epoch for run, by_epoch in finite.items() if by_epoch}
    if not values:
        return None
    epochs = sorted(set.intersection(*(set(by_epoch) for by_epoch in values.values())))
    columns = [[by_epoch[epoch] for by_epoch in values.values()] for epoch in epochs]
    return Band(
        epochs=tuple(epochs),
        mean=tuple(map(statistics.fmean, columns)),
        low=tuple(map(min, columns)),
        high=tuple(map(max, columns)),
        runs=tuple(values),
    )


def _finite(history: Mapping[int, float], transform: Callable[[float], float]) -> dict[int, float]:
    return {epoch: transform(value) for epoch, value in history.items() if math.isfinite(value)}


def last_spread(
    c: Configuration, histories: Histories, key: str, transform: Callable[[float], float]
) -> Spread | None:
    """Mean and deviation over seeds at the last epoch of a band; None where it has no epoch.

    Args:
        c: configuration.
        histories: metrics of its runs by epoch.
        key: metric.
        transform: function of the metric that is averaged.
    """
    found = band(c, histories, key, transform)
    if found is None or not found.epochs:
        return None
    return spread([transform(histories[run][key][found.epochs[-1]]) for run in found.runs])


def layer_names(c: Configuration, histories: Histories, prefix: str) -> list[str]:
    """Layers of which a run has metrics `PREFIX/LAYER/…`, by alphabet."""
    keys: Iterable[str] = (key for row in c.rows for key in histories.get(row.run_id, {}))
    return sorted(
        {key.split("/")[1] for key in keys if key.startswith(f"{prefix}/") and key.count("/") == 2}
    )


def without_metrics(
    configurations: Sequence[Configuration], histories: Histories, prefix: str
) -> list[Configuration]:
    """Configurations of which no run has a metric `PREFIX/…`."""

    def has_any(c: Configuration) -> bool:
        keys = (key for row in c.rows for key in histories.get(row.run_id, {}))
        return any(key.startswith(f"{prefix}/") for key in keys)

    return [c for c in configurations if not has_any(c)]
