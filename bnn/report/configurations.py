"""Configurations: finished runs that differ in nothing but the seed, grouped over their seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bnn.report.numbers import Spread, spread
from bnn.report.rows import ReportError, Row
from bnn.tables import BLANK

IDENTITY = ("experiment", "model", "neuron", "estimator", "estimator_title", "placement",
            "weights", "law", "anneal", "optimizer", "epochs", "precision", "norm",
            "evaluation_samples")  # fmt: skip
"""Fields, with `settings`, that are equal in every row of a configuration."""
EVALUATIONS = "evaluations of f"
"""Head of the column of evaluations of the loss, for each sample and step."""
COLUMNS_IF_VARYING: Mapping[str, str] = {
    "experiment": "experiment",
    "weights": "weights",
    "model": "model",
    "norm": "norm",
    "anneal": "anneal",
    "optimizer": "optimizer",
    "epochs": "epochs",
    "precision": "precision",
    "evaluation_samples": "M",
    "evaluations": EVALUATIONS,
}
"""Field -> head of the column that a table needs when its configurations differ in it."""
ORDER: Mapping[str, Sequence[str]] = {
    "neuron": ("real", "stochastic", "deterministic"),
    "placement": ("none", "first", "last", "both"),
    "weights": ("real", "sign", "sample", "lrt", "bop"),
    "estimator": ("none", "st", "reinforce"),
}
"""Names that come first, in this order; others follow by alphabet, the controls last."""
CONTROLS = ("frozen",)
WEIGHTS = "weights."
"""Prefix of the parameters of a rule of the weights among the settings."""


@dataclass(frozen=True)
class Configuration:
    """Rows that differ in nothing but the seed.

    Args:
        rows: one or more, by seed.
    """

    rows: tuple[Row, ...]

    @property
    def first(self) -> Row:
        """Row of the lowest seed, which stands for all in the fields that they share."""
        return self.rows[0]

    @property
    def real_valued(self) -> bool:
        """Whether the network has no random or binary layers, hence no estimator."""
        return self.first.neuron == "real"

    @property
    def preliminary(self) -> bool:
        """Whether there is one seed alone, hence no spread."""
        return len(self.rows) == 1

    def spread(self, field: str) -> Spread | None:
        """Mean and deviation of a field of Row over the seeds; None where a row lacks it."""
        values = [getattr(row, field) for row in self.rows]
        return None if None in values else spread(values)

    def settings(self) -> dict[str, str]:
        """Parameters without a field of their own: dotted key -> value."""
        pairs = (pair.partition("=") for pair in self.first.settings.split("; ") if pair)
        return {key: value for key, _, value in pairs}


def rank(row: Row, *names: str) -> tuple[tuple[int, str], ...]:
    """A sort key by fields of a row, each in the order of ORDER.

    Args:
        row: row to rank.
        names: keys of ORDER, the most important first.
    """

    def place(field: str) -> tuple[int, str]:
        value, order = getattr(row, field), ORDER[field]
        known = order.index(value) if value in order else len(order)
        return known + (value in CONTROLS), value

    return tuple(place(name) for name in names)


def group_by_configuration(rows: Iterable[Row]) -> list[Configuration]:
    """Configurations of the rows of one data set, in the order of a table.

    Raises:
        ReportError: for no rows, rows of several data sets, or a seed that comes twice.
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        identity = tuple(getattr(row, name) for name in (*IDENTITY, "settings"))
        groups.setdefault(identity, []).append(row)
    datasets = sorted({row.dataset for group in groups.values() for row in group})
    if len(datasets) != 1:
        raise ReportError(
            "a table has one data set, so that its rows compare; "
            f"got {', '.join(datasets) or 'no rows'}"
        )
    for group in groups.values():
        group.sort(key=lambda row: row.seed)
        seeds = [row.seed for row in group]
        if len(set(seeds)) < len(seeds):
            raise ReportError(
                f"expected each seed of a configuration once, got {seeds} "
                f"in runs {group[0].run_id}, …"
            )
    return sorted((Configuration(tuple(group)) for group in groups.values()), key=_table_order)


def _table_order(c: Configuration) -> tuple[object, ...]:
    row = c.first
    return (
        rank(row, "neuron", "estimator"),
        row.estimator_title,
        rank(row, "placement", "weights"),
        row.anneal,
        row.law,
        row.norm,
        row.optimizer,
        row.settings,
        row.experiment,
    )


def varying(configurations: Sequence[Configuration]) -> dict[str, list[str]]:
    """Columns that tell configurations apart where neuron, estimator, placement and law do not.

    A setting without a field of its own has a column only if two configurations would look alike
    without it; parameters of a rule of the weights stand behind its name.

    Returns:
        Head of each column -> a cell for each configuration.
    """
    columns = {
        head: [str(getattr(c.first, field)) for c in configurations]
        for field, head in COLUMNS_IF_VARYING.items()
        if len({getattr(c.first, field) for c in configurations}) > 1
    }
    lookalikes: dict[tuple[object, ...], list[dict[str, str]]] = {}
    for c in configurations:
        identity = tuple(getattr(c.first, name) for name in IDENTITY)
        lookalikes.setdefault(identity, []).append(c.settings())
    keys = {
        key
        for group in lookalikes.values()
        for settings in group
        for key in settings
        if len({other.get(key) for other in group}) > 1
    }
    of_weights = sorted(key for key in keys if key.startswith(WEIGHTS))
    if of_weights:
        columns[COLUMNS_IF_VARYING["weights"]] = [_rule(c, of_weights) for c in configurations]
    others = sorted(keys.difference(of_weights))
    return columns | {key: [c.settings().get(key, BLANK) for c in configurations] for key in others}


def _rule(c: Configuration, keys: Sequence[str]) -> str:
    """Rule of the weights with parameters that are switched on: `sign (decay 0.1, lr 0.015)`."""
    words = []
    for key in keys:
        name, value = key.removeprefix(WEIGHTS), c.settings().get(key)
        if value == "True":
            words.append(name)
        elif value not in (None, "False", "None") and (name, value) != ("decay", "0.0"):
            words.append(f"{name} {value}")
    return f"{c.first.weights} ({', '.join(words)})" if words else c.first.weights
