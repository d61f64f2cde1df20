"""The parent run of a sweep: its jobs lie nested under it, its description holds their table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bnn.tracking import facts
from bnn.tracking.store import Store


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
    client.set_tag(parent, "mlflow.note.content", f"{table}\n\n`{facts.command()}`")
    client.log_text(parent, table, "table.md")
    if rows:
        columns = {key: [str(row.get(key)) for row in rows] for key in rows[0]}
        client.log_table(parent, columns, "table.json")
    client.set_terminated(parent, status)
