"""The table of an experiment: a line a configuration, columns for its results, and footnotes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bnn.report.configurations import Configuration, group_by_configuration, varying
from bnn.report.headline import ACCURACY, BOUND, headline, test_value
from bnn.report.numbers import format_spread, interval, spread
from bnn.report.reference import misnamed, reported
from bnn.report.rows import Row
from bnn.tables import BLANK, markdown, with_unit

PRELIMINARY, MISNAMED = "†", "‡"
"""Marks of a configuration with one seed, and of a published row whose name misleads."""
INTERVAL_NOTE = "95 % interval: of the mean, by Student's t over seeds."


def columns(configurations: Sequence[Configuration]) -> dict[str, list[str]]:
    """The table of an experiment: head of each column -> cells."""
    rows = [c.first for c in configurations]
    table = {
        "neuron": [row.neuron for row in rows],
        "estimator": [row.estimator_title for row in rows],
        "placement": [row.placement for row in rows],
        "law": [row.law for row in rows],
        **varying(configurations),
        "seeds": [
            f"{len(c.rows)} {PRELIMINARY}" if c.preliminary else str(len(c.rows))
            for c in configurations
        ],
        **_result_columns(configurations),
        **network_cost_columns(configurations),
    }
    if len({row.evaluations for row in rows}) > 1:
        table["s to train"] = [format_spread(c.spread("seconds_train"), 0) for c in configurations]
    return table | _published_columns(rows)


def _result_columns(configurations: Sequence[Configuration]) -> dict[str, list[str]]:
    """The headline under each reading; where it is the accuracy, the loss too."""
    metric = headline(row for c in configurations for row in c.rows)
    samples = {c.first.evaluation_samples for c in configurations}
    draws = samples.pop() if len(samples) == 1 else "M"
    if metric is BOUND:
        return _bound_columns(configurations)
    if metric.name not in ("accuracy", "loss"):
        return _task_columns(configurations)
    fields = {
        metric.title: metric.field,
        f"mean of {draws} ({metric.unit})": f"{metric.field}_mc_mean",
        f"threshold ({metric.unit})": f"{metric.field}_threshold",
    }
    results = {
        head: [format_spread(c.spread(field), metric.digits, metric.scale) for c in configurations]
        for head, field in fields.items()
    }
    if metric is ACCURACY:
        losses = [format_spread(c.spread("test_loss"), 4) for c in configurations]
        results["test loss (nats)"] = losses
    return results


def network_cost_columns(configurations: Sequence[Configuration]) -> dict[str, list[str]]:
    """Open gates and multiply-adds of gated networks; no columns for others."""
    heads = {"open (%)": ("open", 100, 1), "multiply-adds (k)": ("multiply_adds", 1e-3, 0)}
    table = {}
    for head, (name, scale, digits) in heads.items():
        found = [[row.further_metrics.get(name) for row in c.rows] for c in configurations]
        if any(value is not None for values in found for value in values):
            table[head] = [_cell(values, scale, digits) for values in found]
    return table


def _cell(values: Sequence[float | None], scale: float, digits: int) -> str:
    """Mean and deviation of values; a dash where one is missing."""
    known = [scale * value for value in values if value is not None]
    return format_spread(spread(known) if len(known) == len(values) else None, digits)


def _task_columns(configurations: Sequence[Configuration]) -> dict[str, list[str]]:
    """Metrics of a task by the neurons' own rule, and the first one of thresholded units."""
    from bnn.tasks import Task

    first = configurations[0].first
    metrics = Task.registry.attribute(first.task["name"], "metrics")
    head = headline(row for c in configurations for row in c.rows)
    shown = {name: metric for name, metric in metrics.items() if name != "loss"}

    def cells(name: str, scale: float, digits: int) -> list[str]:
        found = [[test_value(row, f"test_{name}") for row in c.rows] for c in configurations]
        return [_cell(values, scale, digits) for values in found]

    columns = {head.title: cells(head.name, head.scale, head.digits)}
    columns["thresholded"] = cells(f"{head.name}_threshold", head.scale, head.digits)
    return columns | {
        with_unit(name.replace("_", " "), metric.unit): cells(name, metric.scale, metric.digits)
        for name, metric in shown.items()
        if name != head.name
    }


def _bound_columns(configurations: Sequence[Configuration]) -> dict[str, list[str]]:
    """The bound of several draws, that of one, and the loss of thresholded units."""
    bounds = [spread([BOUND.value(row) for row in c.rows]) for c in configurations]
    results = {
        BOUND.title: [format_spread(one, BOUND.digits) for one in bounds],
        "one draw (nats)": [format_spread(c.spread("test_loss"), 2) for c in configurations],
    }
    thresholds = [c.spread("test_loss_threshold") for c in configurations]
    if any(thresholds):
        results["threshold (nats)"] = [format_spread(one, 2) for one in thresholds]
    return results


def _published_columns(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Published results of the reference protocol; no columns where no row is of it."""
    results = [reported(row) for row in rows]
    if not any(results):
        return {}
    marks = [f" {MISNAMED}" if misnamed(row) else "" for row in rows]
    pairs = list(zip(results, marks, strict=True))
    return {
        "reported (%)": [f"{r.accuracy:.2f}{mark}" if r else BLANK for r, mark in pairs],
        "reported loss": [f"{r.loss:.4f}{mark}" if r else BLANK for r, mark in pairs],
    }


def columns_with_intervals(configurations: Sequence[Configuration]) -> dict[str, list[str]]:
    """`columns`, with the 95 % interval of the headline beside it where there are two seeds."""
    metric = headline(row for c in configurations for row in c.rows)
    table = {}
    for head, cells in columns(configurations).items():
        table[head] = cells
        if head == metric.title and not all(c.preliminary for c in configurations):
            table[with_unit("95 % interval", metric.unit)] = _intervals(configurations)
    return table


def _intervals(configurations: Sequence[Configuration]) -> list[str]:
    metric = headline(row for c in configurations for row in c.rows)
    means = [interval([metric.value(row) for row in c.rows]) for c in configurations]
    digits = metric.digits
    return [
        BLANK if one is None else f"{one.low:.{digits}f} to {one.high:.{digits}f}" for one in means
    ]


def interval_note(configurations: Sequence[Configuration]) -> str:
    """A sentence on the intervals of `columns_with_intervals`; empty where it has none."""
    return "" if all(c.preliminary for c in configurations) else INTERVAL_NOTE


def markdown_table(columns: dict[str, list[str]]) -> str:
    """Columns as a Markdown table."""
    return markdown(list(columns), list(zip(*columns.values(), strict=True)))


def table(rows: Iterable[Row]) -> str:
    """The Markdown table of an experiment.

    Raises:
        ReportError: as `group_by_configuration`.
    """
    return markdown_table(columns(group_by_configuration(rows)))


def footnotes(rows: Iterable[Row]) -> list[str]:
    """Notes on the marks in a table, and on names in it that could be taken for something else."""
    configurations = group_by_configuration(rows)
    first = [c.first for c in configurations]
    notes = []
    if any(c.preliminary for c in configurations):
        notes.append(f"{PRELIMINARY} Preliminary: one seed, hence no spread.")
    if any(map(reported, first)):
        notes.append(
            "Reported: single unseeded runs as published, under their own protocol "
            "(bnn/report/reference.py)."
        )
    if any(misnamed(row) and reported(row) for row in first):
        notes.append(
            f"{MISNAMED} Published rows of this name. Their code never uses log q and sends "
            "nothing below the unit: these are numbers of the control `frozen`, and none is known "
            "for REINFORCE itself."
        )
    if sampling := {
        row.estimator
        for row in first
        if row.neuron == "deterministic" and row.samples_in_training == "yes"
    }:
        notes.append(
            f"Deterministic with {', '.join(sorted(sampling))}: bits are sampled from the noise "
            "law in training, thresholded at test."
        )
    return notes
