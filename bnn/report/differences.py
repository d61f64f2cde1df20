"""Every configuration against a reference of its own neuron and placement, paired by seed: does a choice pay, and how much?

A question is settled beforehand by the number of seeds and a margin: a difference that matters, in points of accuracy.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bnn.report.configurations import Configuration, configurations, varying
from bnn.report.headline import ACCURACY, headline
from bnn.report.rows import ReportError, Row
from bnn.tables import markdown

LEVEL = 0.95
FIELDS = (
    "estimator",
    "estimator_title",
    "anneal",
    "neuron",
    "placement",
    "law",
    "norm",
    "precision",
    "optimizer",
    "model",
)
DEFAULTS = (("estimator", "st"), ("estimator_title", "st density"))
"""Field and value of the reference where none is named: the first that is one."""
MISSING = "–"


@dataclass(frozen=True)
class Reference:
    """`field=value` names the reference configurations, by a field of FIELDS or a setting such as `anneal.slope`; `margin`
    is in points of accuracy."""

    field: str
    value: str
    margin: float

    def __post_init__(self) -> None:
        if not (self.margin >= 0 and math.isfinite(self.margin)):
            raise ReportError(f"margin: expected points of accuracy, 0 or more, got {self.margin}")

    @staticmethod
    def parse(words: str, margin: float) -> Reference:
        """Errors: ReportError for anything but FIELD=VALUE with a field that rows have, or a negative margin."""
        found = re.fullmatch(r"([\w.]+)=(.+)", words)
        if found is None or ("." not in found[1] and found[1] not in FIELDS):
            raise ReportError(
                f"against: expected FIELD=VALUE with a field of {', '.join(FIELDS)}, or a key such as anneal.slope; got "
                f"{words!r}"
            )
        return Reference(found[1], found[2], margin)

    def of(self, c: Configuration) -> str:
        """What a configuration has in the reference's field."""
        return (
            c.settings().get(self.field, MISSING)
            if "." in self.field
            else str(getattr(c.first, self.field))
        )


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval, low to high (Student's t over n values)."""

    mean: float
    low: float
    high: float


def interval(values: Sequence[float]) -> Interval | None:
    """mean ± t(n - 1) · s / √n; None for fewer than two values."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    mean = statistics.fmean(values)
    half = (
        float(t.ppf((1 + LEVEL) / 2, len(values) - 1))
        * statistics.stdev(values)
        / math.sqrt(len(values))
    )
    return Interval(mean, mean - half, mean + half)


def verdict(difference: Interval | None, margin: float) -> str:
    """What an interval of differences says, given a margin that was fixed beforehand."""
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


def shown(value: Interval | None, sign: str = "") -> str:
    """`98.42 [98.05, 98.79]`; a dash for none."""
    return (
        MISSING
        if value is None
        else f"{value.mean:{sign}.2f} [{value.low:{sign}.2f}, {value.high:{sign}.2f}]"
    )


@dataclass(frozen=True)
class Difference:
    """A configuration beside its reference: `interval` is that of the differences in points of accuracy over the seeds that
    both have, None for fewer than two of these."""

    configuration: Configuration
    base: Configuration
    interval: Interval | None
    verdict: str

    @property
    def is_reference(self) -> bool:
        return self.configuration is self.base

    def pairs(self) -> list[tuple[Row, Row]]:
        """The rows of the two at their common seeds."""
        theirs = {row.seed: row for row in self.base.rows}
        return [(row, theirs[row.seed]) for row in self.configuration.rows if row.seed in theirs]


def _references(
    found: Sequence[Configuration], reference: Reference
) -> dict[tuple[str, ...], Configuration]:
    chosen = [c for c in found if reference.of(c) == reference.value]
    if not chosen:
        there = sorted({reference.of(c) for c in found})
        raise ReportError(
            f"against {reference.field}={reference.value}: no such rows; {reference.field} is {', '.join(there)}"
        )
    by_peers: dict[tuple[str, ...], Configuration] = {}
    for c in chosen:
        if _peers(c.first, reference) in by_peers:
            raise ReportError(
                f"against {reference.field}={reference.value}: several configurations of {c.first.neuron} · "
                f"{c.first.placement} are that; expected one"
            )
        by_peers[_peers(c.first, reference)] = c
    return by_peers


def _peers(row: Row, reference: Reference) -> tuple[str, ...]:
    """What a configuration and its reference have in common."""
    fields = [
        field
        for field in ("neuron", "placement", "estimator_title")
        if not field.startswith(reference.field)
    ]
    return tuple(getattr(row, field) for field in fields)


def differences(rows: Sequence[Row], reference: Reference) -> list[Difference]:
    """Every configuration that has a reference, in the order of a table, the references among them.

    Errors: ReportError as `configurations`, and where no or several configurations are the reference.
    """
    found = configurations(rows)
    references = _references(found, reference)
    return [
        _difference(c, references[_peers(c.first, reference)], reference.margin)
        for c in found
        if _peers(c.first, reference) in references
    ]


def _difference(c: Configuration, base: Configuration, margin: float) -> Difference:
    alone = Difference(c, base, None, MISSING)
    if alone.is_reference:
        return alone
    metric = headline([*c.rows, *base.rows])
    found = interval([metric.gain(row, theirs) for row, theirs in alone.pairs()])
    return Difference(c, base, found, verdict(found, margin))


def default_reference(rows: Sequence[Row], margin: float) -> Reference | None:
    """Straight-through, where one configuration of every neuron and placement that has it is that and another is not."""
    for field, value in DEFAULTS:
        reference = Reference(field, value, margin)
        try:
            if any(not one.is_reference for one in differences(rows, reference)):
                return reference
        except ReportError:
            continue
    return None


def columns(found: Sequence[Difference]) -> dict[str, list[str]]:
    """The table of differences: head -> cells."""
    shown_of = [one.configuration for one in found]
    metric = headline(row for c in shown_of for row in c.rows)
    difference = f"difference ({'points' if metric is ACCURACY else 'nats less'})"
    return {
        "neuron": [c.first.neuron for c in shown_of],
        "estimator": [c.first.estimator_title for c in shown_of],
        "placement": [c.first.placement for c in shown_of],
        **varying(shown_of),
        metric.title: [shown(interval([metric.value(row) for row in c.rows])) for c in shown_of],
        difference: [
            "reference" if one.is_reference else shown(one.interval, "+") for one in found
        ],
        "verdict": [one.verdict for one in found],
    }


def note(reference: Reference) -> str:
    """What the table of differences shows."""
    margin = f", margin {reference.margin:g} points" if reference.margin else ""
    return (
        f"Against {reference.field}={reference.value}, paired by seed{margin}; in brackets 95 % intervals (Student's t over "
        "seeds, without correction for the number of comparisons)."
    )


def against(rows: Sequence[Row], reference: Reference) -> str:
    """A Markdown table: accuracy with its interval, the difference to the reference over common seeds, and the verdict.

    Errors: as `differences`.
    """
    shown_in = columns(differences(rows, reference))
    return f"{markdown(list(shown_in), list(zip(*shown_in.values(), strict=True)))}\n\n{note(reference)}"
