"""Rows grouped over seeds: a configuration is everything but the seed, a result its mean and spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn.report.rows import ReportError, Row

ALIKE = ("model", "neuron", "estimator", "estimator_title", "placement", "law", "anneal", "optimizer", "epochs",
         "precision", "norm", "evaluation_samples")  # fmt: skip
"""Fields, with `settings`, that are equal in every row of a configuration."""
SHOWN_IF_VARYING: Mapping[str, str] = {
    "model": "model",
    "norm": "norm",
    "anneal": "anneal",
    "optimizer": "optimizer",
    "epochs": "epochs",
    "precision": "precision",
    "evaluation_samples": "M",
    "evaluations": "passes",
}
"""Field -> head of the column that a table needs when its configurations differ in it."""
ORDER: Mapping[str, Sequence[str]] = {
    "neuron": ("real", "stochastic", "deterministic"),
    "placement": ("none", "first", "last", "both"),
    "estimator": ("none", "st", "reinforce"),
}
"""Names that come first, in this order; others follow by alphabet, the controls last."""
CONTROLS = ("frozen",)


@dataclass(frozen=True)
class Spread:
    """A mean over seeds and the sample standard deviation (n - 1); one seed has no deviation."""

    mean: float
    sd: float | None


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True)
class Configuration:
    """Rows that differ in nothing but the seed, by seed."""

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        """Any row: for what all have in common."""
        return self.rows[0]

    @property
    def preliminary(self) -> bool:
        return len(self.rows) == 1

    def spread(self, field: str) -> Spread | None:
        """Of a field of Row, over the seeds; None where a row lacks it."""
        values = [getattr(row, field) for row in self.rows]
        return None if None in values else spread(values)

    def settings(self) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in self.first.settings.split("; ") if pair)
        return {key: value for key, _, value in pairs}


def rank(row: Row, *names: str) -> tuple[tuple[int, str], ...]:
    """A sort key by the fields `names`, each in the order of ORDER."""

    def place(field: str) -> tuple[int, str]:
        value, order = getattr(row, field), ORDER[field]
        known = order.index(value) if value in order else len(order)
        return known + (value in CONTROLS), value

    return tuple(place(name) for name in names)


def configurations(rows: Iterable[Row]) -> list[Configuration]:
    """Grouped over seeds, in the order of a table.

    Errors: ReportError for no rows, for rows of several data sets, or for a seed that comes twice.
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(getattr(row, name) for name in (*ALIKE, "settings")), []).append(
            row
        )
    datasets = sorted({row.dataset for group in groups.values() for row in group})
    if len(datasets) != 1:
        raise ReportError(
            f"a table has one data set, so that its rows compare; got {', '.join(datasets) or 'no rows'}"
        )
    for group in groups.values():
        group.sort(key=lambda row: row.seed)
        seeds = [row.seed for row in group]
        if len(set(seeds)) < len(seeds):
            raise ReportError(
                f"expected each seed of a configuration once, got {seeds} in runs {group[0].run_id}, …"
            )
    found = [Configuration(tuple(group)) for group in groups.values()]
    return sorted(found, key=lambda c: (rank(c.first, "neuron", "estimator"), c.first.estimator_title,
                                        rank(c.first, "placement"), c.first.anneal, c.first.law,
                                        c.first.norm, c.first.optimizer, c.first.settings))  # fmt: skip


def varying(found: Sequence[Configuration]) -> dict[str, list[str]]:
    """Columns that tell the configurations apart where neuron, estimator, placement and law do not: head -> values.

    A setting without a field of its own has a column only if two configurations would look alike without it.
    """
    columns = {
        head: [str(getattr(c.first, field)) for c in found]
        for field, head in SHOWN_IF_VARYING.items()
        if len({getattr(c.first, field) for c in found}) > 1
    }
    lookalikes: dict[tuple[object, ...], list[dict[str, str]]] = {}
    for c in found:
        lookalikes.setdefault(tuple(getattr(c.first, name) for name in ALIKE), []).append(
            c.settings()
        )
    keys = {key for group in lookalikes.values() for settings in group for key in settings
            if len({other.get(key) for other in group}) > 1}  # fmt: skip
    return columns | {key: [c.settings().get(key, "–") for c in found] for key in sorted(keys)}
