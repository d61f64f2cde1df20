"""Saved views of sweeps and of single runs for MLflow's page, kept with the experiment.

A view is charts in their order, and columns of the table. By default the page charts every metric
by alphabet, shows no tags as columns, and has no pictures on the page of a run.
"""

from __future__ import annotations

import base64
import json
import math
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from bnn import schema
from bnn.tracking.calls import logged_images
from bnn.tracking.mlflow_adapter import PREVIEW, SHARED_VIEW
from bnn.tracking.overview import describe_experiment, log_best, relinked
from bnn.tracking.query import search_runs
from bnn.tracking.store import Store, children_filter

SECTIONS: Mapping[str, tuple[str, str]] = {
    "test": ("BAR", schema.TEST),
    "validation": ("LINE", schema.VALIDATION),
    "best validation": ("BAR", schema.BEST_VALIDATION),
    "training": ("LINE", schema.TRAIN),
    "pictures": ("IMAGE", schema.PICTURES),
    "heatmaps": ("IMAGE", schema.HEATMAP),
    "units": ("LINE", schema.UNITS),
    "gradient norms": ("LINE", schema.GRADIENT_NORM),
    "gradient lab": ("LINE", schema.LAB),
    "schedules": ("LINE", schema.SCHEDULE),
    "seconds": ("BAR", schema.SECONDS),
}
"""Title of a section -> kind of chart, and prefix of its metrics; empty sections are left out."""
FIRST_OF_A_RUN = ("pictures", "heatmaps", "validation", "training")
"""Sections that come first for a single run, whose bars compare with nothing."""
RUNS = 10
"""Best runs whose images decide the step that is shown; the page too draws ten runs at first."""


def save_view(
    store: Store,
    parent: str,
    title: str,
    by: str,
    ascending: bool = False,
    also: Sequence[str] = (),
) -> None:
    """Save a view of the runs of a sweep with the experiment, under the id of the parent run.

    The parent gets the final metrics of the best run, and the experiment's description names the
    sweep (`bnn.tracking.overview`).

    Args:
        store: tracking store.
        parent: run id of the parent.
        title: title of the view.
        by: metric by which the runs are sorted.
        ascending: whether the smallest value comes first.
        also: ids of runs that belong to the sweep, and may be nested under an earlier parent.
    """
    client = MlflowClient(store.uri)
    below = {
        run.info.run_id: run
        for run in search_runs(client, store.experiment_id, children_filter(parent))
    }
    elsewhere = [run_id for run_id in also if run_id not in below]
    runs = [*below.values(), *map(client.get_run, elsewhere)]
    worst = math.inf if ascending else -math.inf
    runs.sort(key=lambda run: run.data.metrics.get(by, worst), reverse=not ascending)
    named = ", ".join(f"'{run.info.run_id}'" for run in runs)
    search = f"attributes.run_id IN ({named})" if elsewhere else children_filter(parent)
    order = {"orderByKey": f"metrics.`{by}`", "orderByAsc": ascending}
    selection = {"searchFilter": search} | order
    _save(client, store.experiment_id, parent, title, selection, runs, list(SECTIONS))
    client.set_tag(parent, schema.SORTED_BY, f"{by} {'ASC' if ascending else 'DESC'}")
    if runs:
        log_best(client, parent, runs[0])
    describe_experiment(client, store.experiment_id)


def save_run_view(store: Store, run_id: str) -> None:
    """Save a view of a single run with the experiment, under its id.

    Args:
        store: tracking store.
        run_id: id of the run.
    """
    client = MlflowClient(store.uri)
    run = client.get_run(run_id)
    search = {"searchFilter": f"attributes.run_id IN ('{run_id}')"}
    title, order = f"run: {run.info.run_name}", [*FIRST_OF_A_RUN, *SECTIONS]
    _save(client, store.experiment_id, run_id, title, search, [run], list(dict.fromkeys(order)))


def _save(
    client: MlflowClient,
    experiment: str,
    key: str,
    title: str,
    selection: Mapping[str, Any],
    runs: Sequence[Run],
    order: Sequence[str],
) -> None:
    """Save a view.

    Args:
        client: client of the tracking store.
        experiment: id of the experiment.
        key: key of the view in links.
        title: title of the view.
        selection: filter and order of the runs, in the words of the page.
        runs: the runs, best first.
        order: titles of the sections.
    """
    drawn = [found for run in runs[:RUNS] if (found := logged_images(client, run.info.run_id))]
    metrics = sorted({key for run in runs for key in run.data.metrics}, key=_errors_first)
    images = sorted({key for found in drawn for key, _ in found})
    sections, charts = _charts(metrics, images, _common_step(drawn), order)
    state = {
        **selection,
        "selectedColumns": _columns(runs, metrics),
        "compareRunSections": sections,
        "compareRunCharts": charts,
        "isAccordionReordered": True,
        "globalLineChartConfig": {
            "xAxisKey": "step",
            "lineSmoothness": 0,
            "selectedXAxisMetricKey": "",
        },
    }
    now = int(time.time() * 1000)
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = {"name": title[:80], "createdAt": now, "updatedAt": now, "state": f"deflate;{packed}"}
    client.set_experiment_tag(experiment, f"{SHARED_VIEW}{key}", json.dumps(view))


def _errors_first(metric: str) -> tuple[bool, str]:
    """Sort key of metrics: errors, whose bars differ visibly, stand before accuracies."""
    return not metric.startswith(schema.TEST + schema.ERROR), metric


def _columns(runs: Sequence[Run], metrics: Iterable[str]) -> list[str]:
    """Columns of the table of runs: what a person filters by, the seed, and test metrics.

    Test metrics are of the reading `sampled`, and the rule of the weights has a column where it is
    not that of real ones: more columns would push the tags off the page.
    """
    real = {run.data.tags.get(schema.WEIGHT_RULE, "real") for run in runs} <= {"real"}
    tags = [f"tags.`{tag}`" for tag in schema.FILTERS if not (real and tag == schema.WEIGHT_RULE)]
    tested = [
        f"metrics.`{key}`"
        for key in metrics
        if key.startswith(schema.TEST) and not key.endswith(schema.OTHER_READINGS)
    ]
    return [*tags, "params.`seed`", *tested]


def _common_step(drawn: Sequence[set[tuple[str, int]]]) -> int:
    """Last step at which every run has an image: the page shows one step for all runs."""
    steps = [{step for _, step in found} for found in drawn]
    return max(set.intersection(*steps) or {0}) if steps else 0


def save_copied_view(store: Store, parent: Run) -> None:
    """Save the view and the links of a copied sweep anew, since its runs have other ids there.

    Args:
        store: tracking store of the copy.
        parent: copy of the parent run; one without a saved view gets none.
    """
    by, _, direction = parent.data.tags.get(schema.SORTED_BY, "").rpartition(" ")
    if by:
        save_view(store, parent.info.run_id, parent.info.run_name, by, direction == "ASC")
        client = MlflowClient(store.uri)
        below = search_runs(client, store.experiment_id, children_filter(parent.info.run_id))
        copies = {run.data.tags.get(schema.ORIGIN, ""): run.info.run_id for run in (parent, *below)}
        note = relinked(parent.data.tags.get(schema.NOTE, ""), store.experiment_id, copies)
        client.set_tag(parent.info.run_id, schema.NOTE, note)


def _charts(
    metrics: Sequence[str], images: Iterable[str], step: int, order: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sections that have metrics or images, and their charts.

    Args:
        metrics: keys of metrics.
        images: keys of images.
        step: step at which images are shown first.
        order: titles of the sections.
    """
    sections, charts = [], []
    for title in order:
        kind, prefix = SECTIONS[title]
        found = [key for key in (images if kind == "IMAGE" else metrics) if key.startswith(prefix)]
        if found:
            flags = {"display": True, "isReordered": True, "isGenerated": False}
            columns, height = (1, PREVIEW + 130) if kind == "IMAGE" else (2, 320)
            size = {"columns": columns, "cardHeight": height}
            sections.append({"uuid": prefix, "name": title} | flags | size)
        for key in found:
            chart = {"uuid": key, "type": kind, "metricSectionId": prefix, "displayName": key}
            image = {"imageKeys": [key], "step": step, "showRunParams": False}
            content = image if kind == "IMAGE" else {"metricKey": key, "lineSmoothness": 0}
            charts.append(chart | content | {"deleted": False, "isGenerated": False})
    return sections, charts
