"""Metrics by epoch, gathered over the seeds of a configuration: a mean, and how far the seeds lie apart."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn.report.configurations import Configuration, Spread, spread
from bnn.tracking.query import History


@dataclass(frozen=True)
class Band:
    """One metric by epoch over seeds: its mean, its lowest and its highest value, and the runs that these are of."""

    epochs: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    runs: tuple[str, ...]


def error(accuracy: float) -> float:
    """A share of correct answers as an error in %."""
    return 100 * (1 - accuracy)


def percent(share: float) -> float:
    return 100 * share


def itself(value: float) -> float:
    return value


def band(
    c: Configuration,
    histories: Mapping[str, History],
    key: str,
    shown: Callable[[float], float] = itself,
) -> Band | None:
    """`shown(metric)` over the seeds of `c` that have it, at the epochs at which all these have a finite value, so that a
    mean is of the same runs throughout; None where no run has it."""
    finite = {
        row.run_id: {
            epoch: shown(value) for epoch, value in history.items() if math.isfinite(value)
        }
        for row in c.rows
        if (history := histories.get(row.run_id, {}).get(key))
    }
    there = {run: values for run, values in finite.items() if values}
    if not there:
        return None
    epochs = sorted(set.intersection(*(set(values) for values in there.values())))
    columns = [[values[epoch] for values in there.values()] for epoch in epochs]
    means = tuple(map(statistics.fmean, columns))
    return Band(
        tuple(epochs), means, tuple(map(min, columns)), tuple(map(max, columns)), tuple(there)
    )


def last(
    c: Configuration, histories: Mapping[str, History], key: str, shown: Callable[[float], float]
) -> Spread | None:
    """Mean and deviation of the same values at the last epoch of the band; None where it has no epoch."""
    made = band(c, histories, key, shown)
    if made is None or not made.epochs:
        return None
    return spread([shown(histories[run][key][made.epochs[-1]]) for run in made.runs])


def layers(c: Configuration, histories: Mapping[str, History], kind: str) -> list[str]:
    """The layers of which a run of `c` has metrics `kind/LAYER/…`, in the order of their names."""
    keys: Iterable[str] = (key for row in c.rows for key in histories.get(row.run_id, {}))
    return sorted(
        {key.split("/")[1] for key in keys if key.startswith(f"{kind}/") and key.count("/") == 2}
    )


def without(
    found: Sequence[Configuration], histories: Mapping[str, History], kind: str
) -> list[Configuration]:
    """The configurations of which no run has a metric `kind/…`."""
    return [c for c in found if not any(
        key.startswith(f"{kind}/") for row in c.rows for key in histories.get(row.run_id, {}))]  # fmt: skip
