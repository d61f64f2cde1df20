"""The parent run of a sweep: its jobs lie nested under it, its description holds their table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from bnn import facts
from bnn.tracking.store import Store

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient


def open_parent(store: Store, title: str, cells: int) -> str:
    """A running parent; answers its run id."""
    from mlflow import MlflowClient

    tags = {
        "bnn.kind": "sweep",
        "bnn.command": facts.command(),
        "bnn.commit": facts.commit(),
        "bnn.cells": str(cells),
        "mlflow.source.name": "bnn.train",
    }
    return MlflowClient(store.uri).create_run(store.experiment_id, tags=tags, run_name=title).info.run_id


def finished_jobs(store: Store, parent: str) -> dict[str, dict[str, Any]]:
    """The finished children of a sweep by digest, each with what the table of a sweep shows."""
    from mlflow import MlflowClient

    search = f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'FINISHED'"
    found = {}
    for run in MlflowClient(store.uri).search_runs([store.experiment_id], search, max_results=10_000):
        metrics = run.data.metrics
        found[run.data.tags["bnn.digest"]] = {
            "accuracy": metrics["test/accuracy"],
            "accuracy_mean": metrics.get("test/accuracy_mean"),
            "loss": metrics["test/loss"],
            "seconds": metrics["seconds/total"],
            "run_id": run.info.run_id,
        }
    return found


def close_parent(store: Store, parent: str, table: str, status: str, rows: Sequence[dict[str, str]]) -> None:
    """End the parent with the table of its jobs as its description and as an artifact. status: FINISHED, FAILED, KILLED."""
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    _describe(client, parent, table, rows)
    client.set_terminated(parent, status)


def _describe(client: MlflowClient, parent: str, table: str, rows: Sequence[dict[str, str]]) -> None:
    client.set_tag(parent, "mlflow.note.content", f"{table}\n\n`{facts.command()}`")
    client.log_text(parent, table, "table.md")
    if not rows:
        return
    if any(item.path == "table.json" for item in client.list_artifacts(parent)):  # log_table would append to it
        data = [[str(row.get(key)) for key in rows[0]] for row in rows]
        client.log_dict(parent, {"columns": list(rows[0]), "data": data}, "table.json")
    else:
        columns = {key: [str(row.get(key)) for row in rows] for key in rows[0]}
        client.log_table(parent, columns, "table.json")


def is_there(store: Store, run_id: str) -> bool:
    """Whether the store has this run, and has not deleted it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return MlflowClient(store.uri).get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False


def end(store: Store, parent: str, status: str) -> None:
    """Set a parent's status: FINISHED, FAILED, KILLED, or RUNNING where others are still at work on it."""
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    if status == "RUNNING":
        client.update_run(parent, status=status)
    else:
        client.set_terminated(parent, status)


def end_lost(store: Store, parent: str, trial: int, why: str) -> None:
    """End the runs of a trial whose process could not."""
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    search = f"tags.`mlflow.parentRunId` = '{parent}' and tags.trial = '{trial}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([store.experiment_id], search):
        client.set_tag(run.info.run_id, "bnn.reason", why)
        client.set_terminated(run.info.run_id, "KILLED")


def describe_study(
    store: Store,
    parent: str,
    description: str,
    rows: Sequence[dict[str, str]],
    pictures: Iterable[tuple[str, Figure]],
) -> None:
    """Leave what is known of a study on its parent run, its figures among the artifacts."""
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    _describe(client, parent, description, rows)
    for name, picture in pictures:
        client.log_figure(parent, picture, f"figures/{name}.png", save_kwargs={"bbox_inches": "tight", "dpi": 110})
