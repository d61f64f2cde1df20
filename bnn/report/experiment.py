"""An experiment, read from the store once and laid out as Markdown and as an HTML page."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn import schema
from bnn.report.configurations import group_by_configuration
from bnn.report.differences import Reference, default_reference, difference_table, differences
from bnn.report.display_names import display_names
from bnn.report.document import document, escape_markdown
from bnn.report.histories import Histories
from bnn.report.html import gallery, sections
from bnn.report.html.heatmaps import LayerViews, layer_views
from bnn.report.html.page import page
from bnn.report.rows import Row, rows_of
from bnn.tracking.query import fetch, finished_runs, histories, unfinished

BY_EPOCH = (schema.TRAIN, schema.VALIDATION, schema.UNITS, schema.LAB)
"""Prefixes of the metrics that are drawn by epoch."""
DEFAULT_REASON = (
    "No `--against` was given; straight-through is the reference where there is one such "
    "configuration."
)
NO_REFERENCE_REASON = (
    "No differences: no `--against` was given, and there is no single straight-through "
    "configuration beside others to compare with. `--against FIELD=VALUE` names a reference."
)


@dataclass(frozen=True)
class Experiment:
    """Everything that the report of an experiment is made from.

    Args:
        name: name of the MLflow experiment.
        rows: its finished runs, or those that were asked for.
        left_out: sentence on runs of the experiment that have no row; empty where there are none.
        histories: metrics of the runs by epoch.
        layers: layers of one network of each configuration, for the heatmaps.
        reference: configuration that others are compared with; None for no comparison.
        reason: sentence why it is that one, or why there is none; empty where it was asked for.
    """

    name: str
    rows: Sequence[Row]
    left_out: str
    histories: Histories
    layers: LayerViews
    reference: Reference | None
    reason: str

    def markdown(self, name: str) -> str:
        """The report as Markdown, beside the files NAME.png and NAME.html.

        Raises:
            ReportError: as `differences`.
        """
        rows = [escape_markdown(row) for row in self.rows]
        comparison = difference_table(rows, self.reference) if self.reference else ""
        return document(rows, name, "\n\n".join(filter(None, [comparison, self.reason])))

    def html_page(self) -> str:
        """The report as one HTML page.

        Raises:
            ReportError: as `differences`.
        """
        configurations = group_by_configuration(self.rows)
        compared = differences(self.rows, self.reference) if self.reference else []
        names = display_names(configurations)
        return page(
            self.name,
            sections.lead(self.rows, configurations, self.left_out),
            [
                sections.results_section(self.rows, configurations),
                sections.differences_section(compared, names, self.reference, self.reason),
                sections.cost_section(configurations),
                gallery.learning_section(configurations, self.histories),
                gallery.heatmap_section(configurations, self.layers),
                gallery.health_section(configurations, self.histories),
                gallery.lab_section(configurations, self.histories),
                sections.runs_section(configurations),
            ],
        )


def read_experiment(
    uri: str | None, name: str, run_ids: Sequence[str], against: str | None, margin: float
) -> Experiment:
    """Read an experiment from a tracking store; progress goes to stderr.

    Args:
        uri: tracking store; None for the default.
        name: name of the experiment.
        run_ids: runs to read, none for all.
        against: `FIELD=VALUE` of the reference; None for the default one.
        margin: smallest difference that matters, in points of accuracy.

    Raises:
        TrackingError: for a store, an experiment or a run that is missing or not finished.
        ReportError: for runs that make no table, or a reference that none of them is.
    """
    runs = finished_runs(uri, name, run_ids)
    rows = rows_of(runs, name)
    configurations = group_by_configuration(rows)
    reference = Reference.parse(against, margin) if against else default_reference(rows, margin)
    if reference is not None:
        differences(rows, reference)  # refused before anything slow
    kept = {row.run_id for row in rows}
    _print_progress(f"reading {len(rows)} runs epoch by epoch")
    by_epoch = histories(uri, [run for run in runs if run.run_id in kept], BY_EPOCH)
    _print_progress(f"making the heatmaps of {len(configurations)} configurations")
    layers = layer_views(uri, configurations, _data_config(uri, runs[0].run_id))
    _print_progress("drawing")
    default = DEFAULT_REASON if reference else NO_REFERENCE_REASON
    left_out = "" if run_ids else _left_out(uri, name, len(runs) - len(rows))
    reason = "" if against else default
    return Experiment(name, rows, left_out, by_epoch, layers, reference, reason)


def _left_out(uri: str | None, name: str, superseded: int) -> str:
    """A sentence that counts runs without a row; empty where there are none."""
    replaced = f"{superseded} that a newer run of the same result replaces" if superseded else ""
    counts = ", ".join(filter(None, [unfinished(uri, name), replaced]))
    return f"Left out: {counts}. " if counts else ""


def _data_config(uri: str | None, run_id: str) -> dict[str, Any]:
    """Configuration by which a run read its data set; empty where the run does not record it."""
    with tempfile.TemporaryDirectory() as folder:
        file = fetch(uri, run_id, "config.json", Path(folder))
        return dict(json.loads(file.read_text(encoding="utf-8"))["data"]) if file else {}


def _print_progress(step: str) -> None:
    print(f"{step} …", file=sys.stderr, flush=True)
