"""Paired differences: each configuration against a reference of its neuron and placement, by seed.

Two choices settle a comparison before it is run: the number of seeds, and a margin, the smallest
difference that matters, in points of accuracy.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bnn.report.configurations import Configuration, group_by_configuration, varying
from bnn.report.headline import ACCURACY, Headline, headline
from bnn.report.numbers import Interval, format_interval, interval
from bnn.report.rows import ReportError, Row
from bnn.tables import BLANK, markdown

FIELDS = (
    "estimator",
    "estimator_title",
    "anneal",
    "neuron",
    "placement",
    "law",
    "weights",
    "norm",
    "precision",
    "optimizer",
    "model",
    "experiment",
)
"""Fields of a row that can name a reference."""
DEFAULTS = (("estimator", "st"), ("estimator_title", "st density"))
"""Field and value of the reference where none is named: the first that fits."""


@dataclass(frozen=True)
class Reference:
    """Configurations that others are compared with.

    Args:
        field: one of FIELDS, or a setting such as `anneal.slope`.
        value: value of the field in the reference.
        margin: smallest difference that matters, in points of accuracy.
    """

    field: str
    value: str
    margin: float

    def __post_init__(self) -> None:
        if not (self.margin >= 0 and math.isfinite(self.margin)):
            raise ReportError(f"margin: expected points of accuracy, 0 or more, got {self.margin}")

    @staticmethod
    def parse(text: str, margin: float) -> Reference:
        """Reference from `FIELD=VALUE`.

        Raises:
            ReportError: for other text, a field that rows lack, or a negative margin.
        """
        match = re.fullmatch(r"([\w.]+)=(.+)", text)
        if match is None or ("." not in match[1] and match[1] not in FIELDS):
            raise ReportError(
                f"against: expected FIELD=VALUE with a field of {', '.join(FIELDS)}, "
                f"or a key such as anneal.slope; got {text!r}"
            )
        return Reference(match[1], match[2], margin)

    def value_in(self, c: Configuration) -> str:
        """Value of the reference's field in a configuration; a dash where it lacks the setting."""
        if "." in self.field:
            return c.settings().get(self.field, BLANK)
        return str(getattr(c.first, self.field))


@dataclass(frozen=True)
class Difference:
    """A configuration beside its reference.

    Args:
        configuration: configuration that is compared.
        base: reference of its neuron and placement.
        interval: mean of the differences over common seeds, in points of accuracy or in nats,
            above 0 where it is better, with its 95 % interval; None for less than two common seeds.
        verdict: conclusion from the interval and the margin.
    """

    configuration: Configuration
    base: Configuration
    interval: Interval | None
    verdict: str

    @property
    def is_reference(self) -> bool:
        """Whether the configuration is the reference itself."""
        return self.configuration is self.base

    def pairs(self) -> list[tuple[Row, Row]]:
        """Rows of the configuration and of the reference at common seeds."""
        references = {row.seed: row for row in self.base.rows}
        rows = self.configuration.rows
        return [(row, references[row.seed]) for row in rows if row.seed in references]


def verdict(difference: Interval | None, margin: float) -> str:
    """Conclusion from an interval of differences and a margin that was fixed beforehand.

    Args:
        difference: 95 % interval, above 0 where the configuration is better.
        margin: smallest difference that matters, in the same unit.
    """
    if difference is None:
        return "too few seeds"
    if -margin <= difference.low and difference.high <= margin:
        return f"equal within {margin:g}"
    for low, word in ((difference.low, "better"), (-difference.high, "worse")):
        if low > margin:
            return f"{word} by more than {margin:g}" if margin else word
        if low > 0:
            return word
    return "undecided"


def differences(rows: Sequence[Row], reference: Reference) -> list[Difference]:
    """Differences of all configurations that have a reference, in the order of a table.

    The references stand among them.

    Raises:
        ReportError: as `group_by_configuration`, and where no configuration is the reference, or
            several of one neuron and placement are.
    """
    configurations = group_by_configuration(rows)
    bases = _references(configurations, reference)
    return [
        compare(c, bases[_shared(c.first, reference)], reference.margin)
        for c in configurations
        if _shared(c.first, reference) in bases
    ]


def _references(
    configurations: Sequence[Configuration], reference: Reference
) -> dict[tuple[str, ...], Configuration]:
    """References by the values that each shares with the configurations compared with it."""
    name = f"against {reference.field}={reference.value}"
    chosen = [c for c in configurations if reference.value_in(c) == reference.value]
    if not chosen:
        values = sorted({reference.value_in(c) for c in configurations})
        raise ReportError(f"{name}: no such rows; {reference.field} is {', '.join(values)}")
    bases: dict[tuple[str, ...], Configuration] = {}
    for c in chosen:
        shared = _shared(c.first, reference)
        if shared in bases:
            raise ReportError(
                f"{name}: several configurations of {c.first.neuron} · {c.first.placement} "
                "are that; expected one"
            )
        bases[shared] = c
    return bases


def _shared(row: Row, reference: Reference) -> tuple[str, ...]:
    """Values of the fields in which a configuration and its reference agree."""
    names = ("experiment", "neuron", "placement", "weights", "estimator_title")
    # `estimator=…` leaves the estimator's title open too
    return tuple(getattr(row, name) for name in names if not name.startswith(reference.field))


def compare(c: Configuration, base: Configuration, margin: float) -> Difference:
    """Difference of a configuration from its reference, paired by seed.

    Args:
        c: configuration to compare.
        base: its reference.
        margin: smallest difference that matters, in points of accuracy or in nats.
    """
    if c is base:
        return Difference(c, base, None, BLANK)
    metric = headline([*c.rows, *base.rows])
    pairs = Difference(c, base, None, BLANK).pairs()
    gains = interval([metric.gain(row, theirs) for row, theirs in pairs])
    return Difference(c, base, gains, verdict(gains, margin))


def default_reference(rows: Sequence[Row], margin: float) -> Reference | None:
    """Straight-through, where it is one configuration of each neuron and placement that has it.

    None where there is no such configuration, or no other to compare with it.
    """
    for field, value in DEFAULTS:
        reference = Reference(field, value, margin)
        try:
            if any(not one.is_reference for one in differences(rows, reference)):
                return reference
        except ReportError:
            continue
    return None


def difference_columns(compared: Sequence[Difference]) -> dict[str, list[str]]:
    """The table of differences: head of each column -> cells."""
    configurations = [one.configuration for one in compared]
    metric = headline(row for c in configurations for row in c.rows)
    head = f"gain ({metric.gain_title})"
    means = [interval([metric.value(row) for row in c.rows]) for c in configurations]
    gains = [
        "reference" if one.is_reference else format_interval(one.interval, "+", metric.digits)
        for one in compared
    ]
    return {
        "neuron": [c.first.neuron for c in configurations],
        "estimator": [c.first.estimator_title for c in configurations],
        "placement": [c.first.placement for c in configurations],
        **varying(configurations),
        metric.title: [format_interval(one, digits=metric.digits) for one in means],
        head: gains,
        "verdict": [one.verdict for one in compared],
    }


INTERVALS = (
    "95 % intervals (Student's t over seeds, without correction for the number of comparisons)"
)
"""Words of every table of differences."""


def difference_note(reference: Reference, metric: Headline) -> str:
    """A sentence below or above the table of differences: reference, pairing and intervals.

    Args:
        reference: configuration that the others are compared with.
        metric: the headline.
    """
    unit = "points" if metric is ACCURACY else metric.unit
    margin = f", margin {reference.margin:g} {unit}".rstrip() if reference.margin else ""
    return (
        f"Gains over {reference.field}={reference.value}, positive where better, paired by "
        f"seed{margin}; in brackets {INTERVALS}."
    )


def difference_table(rows: Sequence[Row], reference: Reference) -> str:
    """A Markdown table of the headline, the paired differences and the verdicts, and its note.

    Raises:
        ReportError: as `differences`.
    """
    columns = difference_columns(differences(rows, reference))
    table = markdown(list(columns), list(zip(*columns.values(), strict=True)))
    return f"{table}\n\n{difference_note(reference, headline(rows))}"
