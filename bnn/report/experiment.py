"""All that is told of an experiment: read from the store once, then laid out as Markdown and as a page."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bnn.report.html import gallery, sections
from bnn.report.differences import Reference, against, default_reference, differences
from bnn.report.configurations import configurations
from bnn.report.histories import History
from bnn.report.html.page import page
from bnn.report.html.heatmaps import Pictures, pictures
from bnn.report.rows import Row, rows_of
from bnn.report.table import document, inert
from bnn.tracking.query import fetch, finished_runs, histories, unfinished

BY_EPOCH = ("train/", "val/", "units/", "lab/")
"""What the metrics begin with that are drawn by epoch."""
CHOSEN = "No `--against` was given; straight-through is the reference where there is one such configuration."
NONE = (
    "No differences: no `--against` was given, and there is no single straight-through configuration beside others to "
    "compare with. `--against FIELD=VALUE` names a reference."
)


@dataclass(frozen=True)
class Experiment:
    """What the report of an experiment is made from; nothing in it is read from the store any more."""

    name: str
    rows: Sequence[Row]
    left_out: str
    """A sentence on the runs of the experiment that are in no row; empty where there are none or runs were asked for."""
    histories: Mapping[str, History]
    pictures: Pictures
    reference: Reference | None
    why: str
    """Why that is the reference, or why there is none; empty where it was asked for."""

    def markdown(self, name: str) -> str:
        """NAME.md. Errors: ReportError as `differences`."""
        rows = [inert(row) for row in self.rows]
        parts = [against(rows, self.reference) if self.reference else "", self.why]
        return document(rows, name, "\n\n".join(filter(None, parts)))

    def html(self) -> str:
        """The page. Errors: ReportError as `differences`."""
        found = configurations(self.rows)
        compared = differences(self.rows, self.reference) if self.reference else []
        return page(
            self.name,
            sections.lead(self.rows, found, self.left_out),
            [
                sections.results(self.rows, found),
                sections.compared(compared, sections.named(found), self.reference, self.why),
                sections.cost(found),
                gallery.curves(found, self.histories),
                gallery.heatmaps(found, self.pictures),
                gallery.health(found, self.histories),
                gallery.lab(found, self.histories),
                sections.runs(found),
            ],
        )


def _left_out(uri: str | None, name: str, superseded: int) -> str:
    others = [
        unfinished(uri, name),
        f"{superseded} that a newer run of the same result replaces" if superseded else "",
    ]
    return f"Left out: {', '.join(filter(None, others))}. " if any(others) else ""


def _read(uri: str | None, run_id: str) -> dict[str, Any]:
    """The configuration by which a run read its data set; empty where it does not say."""
    with tempfile.TemporaryDirectory() as scratch:
        file = fetch(uri, run_id, "config.json", Path(scratch))
        return dict(json.loads(file.read_text(encoding="utf-8"))["data"]) if file else {}


def _say(what: str) -> None:
    print(f"{what} …", file=sys.stderr, flush=True)


def gathered(
    uri: str | None, name: str, only: Sequence[str], words: str | None, margin: float
) -> Experiment:
    """Read an experiment. only: run ids, none for all; words: FIELD=VALUE of the reference, None for the default one.

    Errors: TrackingError for a store, an experiment or a run that is not there or not finished; ReportError for runs that
    make no table, or words that are no reference.
    """
    runs = finished_runs(uri, name, only)
    rows = rows_of(runs, name)
    found = configurations(rows)
    reference = Reference.parse(words, margin) if words else default_reference(rows, margin)
    if reference is not None:
        differences(rows, reference)
    shown = {row.run_id for row in rows}
    _say(f"reading {len(rows)} runs epoch by epoch")
    by_epoch = histories(uri, [run for run in runs if run.run_id in shown], BY_EPOCH)
    _say(f"making the heatmaps of {len(found)} configurations")
    views = pictures(uri, found, _read(uri, runs[0].run_id))
    _say("drawing")
    why = "" if words else CHOSEN if reference else NONE
    left_out = "" if only else _left_out(uri, name, len(runs) - len(rows))
    return Experiment(name, rows, left_out, by_epoch, views, reference, why)
