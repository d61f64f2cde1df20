"""How MLflow's page shows a sweep: which charts, in which order. Saved with the experiment, as the page itself saves a view.

The page's own choice is every metric by alphabet, and pictures below all parameters of their run.
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
from bnn.tracking.mlflow_adapter import SHARED_VIEW
from bnn.tracking.query import search_runs
from bnn.tracking.store import Store, children

SECTIONS: Mapping[str, tuple[str, str]] = {
    "test": ("BAR", schema.TEST),
    "validation": ("LINE", schema.VALIDATION),
    "best validation": ("BAR", schema.BEST_VALIDATION),
    "training": ("LINE", schema.TRAIN),
    "heatmaps": ("IMAGE", schema.HEATMAP),
    "units": ("LINE", schema.UNITS),
    "gradient norms": ("LINE", schema.GRADIENT_NORM),
    "gradient lab": ("LINE", schema.LAB),
    "schedules": ("LINE", schema.SCHEDULE),
    "seconds": ("BAR", schema.SECONDS),
}
"""Title -> kind of chart, and the prefix of what is charted; those of which a sweep has nothing are left out."""
RUNS = 10
"""Of how many runs, the best, the pictures decide which step is shown; the page too draws ten of them first."""


def save_view(
    store: Store,
    parent: str,
    title: str,
    by: str,
    ascending: bool = False,
    also: Sequence[str] = (),
) -> None:
    """Save the view of the runs below `parent`, sorted by the metric `by`, with the experiment, under the parent's id.

    also: ids of runs that belong to it, and may lie below an earlier parent.
    """

    client = MlflowClient(store.uri)
    below = {
        run.info.run_id: run for run in search_runs(client, store.experiment_id, children(parent))
    }
    elsewhere = [run_id for run_id in also if run_id not in below]
    runs = [*below.values(), *map(client.get_run, elsewhere)]
    worst = math.inf if ascending else -math.inf
    runs.sort(key=lambda run: run.data.metrics.get(by, worst), reverse=not ascending)
    drawn = [found for run in runs[:RUNS] if (found := logged_images(client, run.info.run_id))]
    metrics = sorted({key for run in runs for key in run.data.metrics})
    images = sorted({key for found in drawn for key, _ in found})
    sections, charts = _charts(metrics, images, _common_step(drawn))
    named = ", ".join(f"'{run.info.run_id}'" for run in runs)
    state = {
        "searchFilter": f"attributes.run_id IN ({named})" if elsewhere else children(parent),
        "orderByKey": f"metrics.`{by}`",
        "orderByAsc": ascending,
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
    client.set_experiment_tag(store.experiment_id, f"{SHARED_VIEW}{parent}", json.dumps(view))
    client.set_tag(parent, schema.SORTED_BY, f"{by} {'ASC' if ascending else 'DESC'}")


def _common_step(drawn: Sequence[set[tuple[str, int]]]) -> int:
    """The last step of which every run has a picture: the page shows one step of all."""
    steps = [{step for _, step in found} for found in drawn]
    return max(set.intersection(*steps) or {0}) if steps else 0


def save_copied_view(store: Store, parent: Run) -> None:
    """The view of a sweep that was copied to `store`, where its runs have other ids; none for one that had none."""
    by, _, direction = parent.data.tags.get(schema.SORTED_BY, "").rpartition(" ")
    if by:
        save_view(store, parent.info.run_id, parent.info.run_name, by, direction == "ASC")


def _charts(
    metrics: Sequence[str], images: Iterable[str], shown: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The sections of which there is anything, and their charts; pictures begin with the step `shown`."""
    sections, charts = [], []
    for title, (kind, prefix) in SECTIONS.items():
        found = [key for key in (images if kind == "IMAGE" else metrics) if key.startswith(prefix)]
        if found:
            size = (
                {"columns": 1, "cardHeight": 560}
                if kind == "IMAGE"
                else {"columns": 2, "cardHeight": 320}
            )
            sections.append(
                {
                    "uuid": prefix,
                    "name": title,
                    "display": True,
                    "isReordered": True,
                    "isGenerated": False,
                }
                | size
            )
        for key in found:
            chart = {"uuid": key, "type": kind, "metricSectionId": prefix, "displayName": key}
            picture = {"imageKeys": [key], "step": shown, "showRunParams": False}
            shows = picture if kind == "IMAGE" else {"metricKey": key, "lineSmoothness": 0}
            charts.append(chart | shows | {"deleted": False, "isGenerated": False})
    return sections, charts
