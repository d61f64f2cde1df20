"""Experiments, read from the store once and laid out as Markdown, LaTeX and an HTML page."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn import schema
from bnn.errors import BnnError, format_error
from bnn.report.configurations import group_by_configuration
from bnn.report.differences import Reference, default_reference, difference_table, differences
from bnn.report.display_names import display_names
from bnn.report.document import document, escape_markdown
from bnn.report.gated_networks import beside_controls, table
from bnn.report.histories import Histories
from bnn.report.html import gallery, sections
from bnn.report.html.heatmaps import LayerViews, layer_views
from bnn.report.html.page import page
from bnn.report.latex import latex_table
from bnn.report.rows import ReportError, Row, readable_rows
from bnn.report.table import columns_with_intervals
from bnn.tracking.query import FinishedRun, fetch, finished_runs, histories, unfinished

REASONS = 5
"""Damaged runs whose reasons a page gives; the others are counted."""
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
TOO_FEW_SEEDS_REASON = (
    "No differences: they are paired by seed and need two seeds that a configuration shares with "
    "its reference, e.g. `seed=1,2,3`."
)


@dataclass(frozen=True)
class Experiment:
    """Everything that the report of one experiment, or of several on one data set, is made from.

    Args:
        names: names of the MLflow experiments.
        rows: their finished runs, or those that were asked for.
        left_out: sentence on runs of the experiments that have no row; empty where there are none.
        histories: metrics of the runs by epoch.
        layers: layers of one network of each configuration, for the heatmaps.
        reference: configuration that others are compared with; None for no comparison.
        reason: sentence why it is that one, or why there is none; empty where it was asked for.
    """

    names: Sequence[str]
    rows: Sequence[Row]
    left_out: str
    histories: Histories
    layers: LayerViews
    reference: Reference | None
    reason: str

    @property
    def title(self) -> str:
        """Heading of the page."""
        return " and ".join(self.names)

    def latex(self) -> str:
        """The table of results for LaTeX.

        Raises:
            ReportError: as `group_by_configuration`.
        """
        return latex_table(columns_with_intervals(group_by_configuration(self.rows)))

    def markdown(self, name: str) -> str:
        """The report as Markdown, beside the files NAME.png, .html, .csv and .tex.

        Raises:
            ReportError: as `differences`.
        """
        rows = [escape_markdown(row) for row in self.rows]
        comparison = difference_table(rows, self.reference) if self.reference else ""
        gates = table(rows) if beside_controls(rows) else ""
        return document(rows, name, "\n\n".join(filter(None, [comparison, self.reason, gates])))

    def html_page(self) -> str:
        """The report as one HTML page.

        Raises:
            ReportError: as `differences`.
        """
        configurations = group_by_configuration(self.rows)
        compared = differences(self.rows, self.reference) if self.reference else []
        names = display_names(configurations)
        gated = beside_controls(self.rows)
        return page(
            self.title,
            sections.lead(self.rows, configurations, self.left_out),
            [
                sections.results_section(self.rows, configurations),
                sections.differences_section(compared, names, self.reference, self.reason),
                *([] if gated is None else [sections.gates_section(gated)]),
                sections.cost_section(configurations),
                gallery.learning_section(configurations, self.histories),
                gallery.heatmap_section(configurations, self.layers),
                gallery.health_section(configurations, self.histories),
                gallery.lab_section(configurations, self.histories),
                sections.runs_section(configurations),
            ],
        )


def read_experiments(
    uri: str | None,
    names: Sequence[str],
    run_ids: Sequence[str],
    against: str | None,
    margin: float,
) -> list[Experiment]:
    """Read experiments from a tracking store, those on one data set as one; progress to stderr.

    Args:
        uri: tracking store; None for the default.
        names: names of the experiments.
        run_ids: runs to read, none for all.
        against: `FIELD=VALUE` of the reference; None for the default one.
        margin: smallest difference that matters, in points of accuracy.

    Raises:
        TrackingError: for a store, an experiment or a run that is missing or not finished.
        ReportError: for runs that make no table, or a reference that none of them is.
    """
    found = _by_dataset([_found(uri, name, run_ids) for name in dict.fromkeys(names)])
    references = [_reference(one.rows, against, margin) for one in found]  # refused before the rest
    read = []
    for one, named in zip(found, references, strict=True):
        reference = named if named and _any_pairs(one.rows, named) else None
        reason = "" if against else DEFAULT_REASON if reference else NO_REFERENCE_REASON
        if named and not reference:
            reason = TOO_FEW_SEEDS_REASON
        read.append(_read(uri, one, reference, reason))
    return read


@dataclass(frozen=True)
class _Found:
    """Finished runs of experiments that share a data set."""

    names: tuple[str, ...]
    runs: tuple[FinishedRun, ...]
    rows: tuple[Row, ...]
    left_out: tuple[str, ...]


def _found(uri: str | None, name: str, run_ids: Sequence[str]) -> _Found:
    runs = finished_runs(uri, name, run_ids)
    rows, refused = readable_rows(runs, name)
    if refused and (run_ids or not rows):
        raise ReportError(next(iter(refused.values())))
    left_out = "" if run_ids else _left_out(uri, name, len(runs) - len(rows) - len(refused))
    if refused:
        left_out += _refused(list(refused.values()))
        _print_progress(left_out.strip())
    kept = {row.run_id for row in rows}
    return _Found(
        (name,),
        tuple(run for run in runs if run.run_id in kept),
        tuple(rows),
        (left_out,) if left_out else (),
    )


def _by_dataset(found: Sequence[_Found]) -> list[_Found]:
    """Experiments put together by their data set, in the order in which they were asked for."""
    groups: dict[tuple[str, ...], list[_Found]] = {}
    for one in found:
        groups.setdefault(tuple(sorted({row.dataset for row in one.rows})), []).append(one)
    return [_joined(some) for some in groups.values()]


def _joined(found: Sequence[_Found]) -> _Found:
    return _Found(
        names=tuple(name for one in found for name in one.names),
        runs=tuple(run for one in found for run in one.runs),
        rows=tuple(row for one in found for row in one.rows),
        left_out=tuple(text for one in found for text in one.left_out),
    )


def _reference(rows: Sequence[Row], against: str | None, margin: float) -> Reference | None:
    """The reference of the differences; None where there is nothing to compare."""
    reference = Reference.parse(against, margin) if against else default_reference(rows, margin)
    if reference is not None:
        differences(rows, reference)
    return reference


def _any_pairs(rows: Sequence[Row], reference: Reference) -> bool:
    """Whether any configuration shares two seeds with its reference."""
    return any(one.interval is not None for one in differences(rows, reference))


def _read(uri: str | None, found: _Found, reference: Reference | None, reason: str) -> Experiment:
    """The report's material; progress goes to stderr."""
    configurations = group_by_configuration(found.rows)
    _print_progress(f"reading {len(found.rows)} runs epoch by epoch")
    by_epoch = histories(uri, found.runs, BY_EPOCH)
    _print_progress(f"making the heatmaps of {len(configurations)} configurations")
    data_config, damaged = _data_config(uri, found.runs)
    layers = layer_views(uri, configurations, data_config)
    left_out = "".join(found.left_out) + (f"{damaged} " if damaged else "")
    _print_progress("drawing")
    return Experiment(found.names, found.rows, left_out, by_epoch, layers, reference, reason)


def _left_out(uri: str | None, name: str, superseded: int) -> str:
    """A sentence that counts runs without a row; empty where there are none."""
    replaced = f"{superseded} that a newer run of the same result replaces" if superseded else ""
    counts = ", ".join(filter(None, [unfinished(uri, name), replaced]))
    return f"Left out: {counts}. " if counts else ""


def _refused(reasons: Sequence[str]) -> str:
    """A sentence on runs that make no row, with the reasons of the first ones."""
    more = f"; and {len(reasons) - REASONS} more" if len(reasons) > REASONS else ""
    return f"Left out, since they cannot be read: {'; '.join(reasons[:REASONS])}{more}. "


def _data_config(uri: str | None, runs: Sequence[FinishedRun]) -> tuple[dict[str, Any], str]:
    """Configuration by which a run read its data set, of the first of some runs that records it.

    Returns:
        The configuration, empty where no run has one, and a sentence on files that were damaged.
    """
    damaged: list[str] = []
    for run in runs[:REASONS]:
        try:
            with tempfile.TemporaryDirectory() as folder:
                file = fetch(uri, run.run_id, "config.json", Path(folder))
                if file:
                    read = dict(json.loads(file.read_text(encoding="utf-8"))["data"])
                    return read, " ".join(damaged)
        except BnnError as error:
            damaged.append(f"{format_error(error)}.")
        except (ValueError, LookupError, TypeError, OSError) as error:
            damaged.append(
                f"Run {run.run_id}: config.json is no configuration ({format_error(error)})."
            )
    return {}, " ".join(damaged)


def _print_progress(step: str) -> None:
    print(f"{step} …", file=sys.stderr, flush=True)
