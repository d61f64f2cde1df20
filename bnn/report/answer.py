"""The README's answer: a few rows of several experiments in one table.

Each row is one configuration of a file in sweeps/results; rows of different files were trained
under different protocols, which the table says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bnn.report.configurations import Configuration, group_by_configuration
from bnn.report.numbers import format_spread
from bnn.report.row_files import read_csv
from bnn.report.rows import ReportError
from bnn.report.table import PRELIMINARY
from bnn.tables import BLANK, markdown


@dataclass(frozen=True)
class Choice:
    """Configuration of NAME.csv, by fields of its rows and by settings such as `anneal.slope`."""

    name: str
    values: Mapping[str, str]

    def among(self, found: list[Configuration]) -> Configuration:
        """The configuration.

        Raises:
            ReportError: where none or several have these values.
        """
        chosen = [c for c in found if all(_value(c, k) == v for k, v in self.values.items())]
        if len(chosen) != 1:
            raise ReportError(
                f"{self.name}.csv: expected one configuration with {dict(self.values)}, "
                f"got {len(chosen)}"
            )
        return chosen[0]


STOCHASTIC = {"neuron": "stochastic", "placement": "both"}
CHOICES = (
    Choice("seed_table_mnist", {"neuron": "real"}),
    Choice("seed_table_mnist", {"estimator": "st", **STOCHASTIC}),
    Choice("short_training_mnist", {"neuron": "real"}),
    Choice("short_training_mnist", {"estimator": "st", **STOCHASTIC}),
    Choice("short_training_mnist", {"estimator": "reinforce", **STOCHASTIC}),
    Choice("estimators_mnist", {"estimator": "reinmax"}),
    Choice("estimators_mnist", {"estimator": "st"}),
    Choice("estimators_mnist", {"estimator": "relax"}),
    Choice("estimators_mnist", {"estimator": "reinforce"}),
    Choice("estimators_mnist", {"estimator": "frozen"}),
    Choice("annealing_mnist", {"anneal.slope": "1.0", **STOCHASTIC}),
    Choice("annealing_mnist", {"anneal.slope": "5.954", **STOCHASTIC}),
    Choice(
        "annealing_mnist", {"anneal": "cosine", "neuron.rescale_gradient": "False", **STOCHASTIC}
    ),
)
"""Rows of the table, in its order."""
PROTOCOLS: Mapping[str, str] = {
    "seed_table_mnist": "the published protocol",
    "short_training_mnist": "the defaults",
    "estimators_mnist": "equal cost",
    "annealing_mnist": "equal epochs",
}
"""Captions of the links to the pages."""


def _value(c: Configuration, key: str) -> str | None:
    return c.settings().get(key) if "." in key else str(getattr(c.first, key))


def _slope(c: Configuration) -> str:
    """Slope of a constant schedule, or the first and the last slope of a cosine."""
    settings = c.settings()
    if c.first.neuron == "real":
        return BLANK
    if c.first.anneal == "none":
        return f"{float(settings['anneal.slope']):g}"
    start, end = (float(settings[f"anneal.{key}"]) for key in ("start", "end"))
    return f"{start:g} to {end:g}, {c.first.anneal}"


def table(results: Path) -> str:
    """Markdown table of CHOICES: the cost of binary layers, of estimators, and of a slope.

    Args:
        results: folder of the CSV files.

    Raises:
        ReportError: for a file or a configuration that is missing.
    """
    found = {
        one.name: group_by_configuration(read_csv(results / f"{one.name}.csv")) for one in CHOICES
    }
    rows = []
    for choice in CHOICES:
        c = choice.among(found[choice.name])
        page = f"{results.parent.name}/{results.name}/{choice.name}.md"
        layers = [c.first.placement, c.first.neuron] if c.first.placement != "none" else ["none"]
        rows.append(
            [
                ", ".join(layers),
                BLANK if c.first.neuron == "real" else c.first.estimator_title,
                _slope(c),
                str(c.first.evaluations),
                str(c.first.epochs),
                f"{len(c.rows)}{f' {PRELIMINARY}' if c.preliminary else ''}",
                format_spread(c.spread("test_accuracy"), 2, 100),
                f"[{PROTOCOLS[choice.name]}]({page})",
            ]
        )
    head = ["binary layers", "estimator", "slope", "evaluations of f", "epochs", "seeds"]
    return markdown([*head, "test accuracy (%)", "trained under"], rows)
