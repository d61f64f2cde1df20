"""Overview of an experiment on MLflow's page: its description, and the best figures of a sweep."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from itertools import islice

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from bnn import schema
from bnn.tracking.query import kind_filter, search_runs

BEGIN = "Choose *Model training* at the top left, then *Runs*."
END = "*Written anew after each sweep; what stands above and below is kept.*"
NEWEST = 10
"""Sweeps and studies that the description of an experiment names."""
FILTERS = ", ".join(f"`{tag}`" for tag in schema.FILTERS)
MEANING = "\n".join(
    (
        "- `test/error` is in percent, accuracies are shares from 0 to 1, losses in nats.",
        "- `test/…` and `val_best/…`: test and validation split at the best validation epoch; "
        "`val/…` and `train/…`: curves by epoch.",
        "- `…_mc_mean`: predictions averaged over draws of the random units; `…_threshold`: the "
        "more probable bit; without either each unit is drawn once.",
        f"- `{schema.BEST}…` on a sweep: the best of its runs.",
        f"- Tags to filter by: {FILTERS}, as in ``tags.estimator = 'st'``.",
    )
)


def run_link(experiment: str, run_id: str) -> str:
    """Address of a run within MLflow's page, whatever the address of its server."""
    return f"#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"


def view_link(experiment: str, key: str) -> str:
    """Address of a saved view within MLflow's page."""
    query = f"workflowType=machine_learning&compareRunsMode=CHART&viewStateShareKey={key}"
    return f"#/experiments/{experiment}/runs?{query}"


def relinked(text: str, experiment: str, copies: Mapping[str, str]) -> str:
    """Text whose links within MLflow's page lead to copies of runs.

    Args:
        text: Markdown.
        experiment: id of the experiment of the copies.
        copies: run id of each copy by that of its origin.
    """

    def copied(link: re.Match[str]) -> str:
        page = re.sub(r"^#/experiments/[^/]+", f"#/experiments/{experiment}", link[0])
        return re.sub("[0-9a-f]{32}", lambda found: copies.get(found[0], found[0]), page)

    return re.sub(r"#/experiments/[^)]+", copied, text)


def log_best(client: MlflowClient, parent: str, best: Run) -> None:
    """Log the final metrics of the best run of a sweep on its parent, as `best/…`.

    Args:
        client: client of the tracking store.
        parent: run id of the parent.
        best: best run; one that has not ended yet has no final metrics.
    """
    now = int(time.time() * 1000)
    final = (schema.TEST, schema.BEST_VALIDATION)
    metrics = [
        Metric(schema.BEST + key, value, now, 0)
        for key, value in best.data.metrics.items()
        if key.startswith(final)
    ]
    if metrics:
        client.log_batch(parent, metrics=metrics)


def describe_experiment(client: MlflowClient, experiment: str) -> None:
    """Write the description of an experiment: its newest sweeps, and the meaning of its metrics.

    A description that somebody else has written is left alone, and so is what was added to this one
    above or below.

    Args:
        client: client of the tracking store.
        experiment: id of the experiment.
    """
    earlier = client.get_experiment(experiment).tags.get(schema.NOTE, "")
    viewed = f"{kind_filter('sweep')} and tags.`{schema.SORTED_BY}` LIKE '%'"
    sweeps = list(islice(search_runs(client, experiment, viewed), NEWEST))
    if not sweeps:
        return
    # the page shows the first line alone until it is asked for more
    first = (
        f"{BEGIN} Newest sweep: {_links(experiment, sweeps[0])}. "
        "The arrow at the right shows the others, and what the metrics mean."
    )
    items = "\n".join(_item(experiment, run) for run in sweeps)
    parts = [first, "Sweeps and studies:", items, "Metrics:", MEANING, END]
    text = "\n\n".join(parts)
    ours = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not earlier.strip():
        client.set_experiment_tag(experiment, schema.NOTE, text)
    elif ours.search(earlier):
        client.set_experiment_tag(experiment, schema.NOTE, ours.sub(lambda _: text, earlier, 1))


def _links(experiment: str, sweep: Run) -> str:
    """Links to the charts of a sweep and to its table, in Markdown."""
    key = sweep.info.run_id
    return f"[charts]({view_link(experiment, key)}), [table]({run_link(experiment, key)})"


def _item(experiment: str, sweep: Run) -> str:
    """Item of a Markdown list: name of a sweep, its links and its best figure."""
    name = re.sub(r"([\[\]*_`|])", r"\\\1", sweep.info.run_name)
    return f"- {name}: {_links(experiment, sweep)}{_best(sweep)}"


def _best(sweep: Run) -> str:
    """Best figure of a sweep, by the metric that orders its view."""
    by = sweep.data.tags[schema.SORTED_BY].rpartition(" ")[0]
    metrics = sweep.data.metrics
    error = by.replace(schema.ACCURACY, schema.ERROR)
    if schema.BEST + error in metrics:
        by = error
    if (value := metrics.get(schema.BEST + by)) is None:
        return ""
    unit = " %" if by == schema.TEST + schema.ERROR else ""
    return f"; best {by} {value:.4g}{unit}"
