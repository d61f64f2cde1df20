"""Runs whose process died, and which are still marked RUNNING."""

from __future__ import annotations

import time

from mlflow import MlflowClient
from mlflow.entities import Run

from bnn import schema
from bnn.errors import TrackingError
from bnn.tracking.query import search_runs
from bnn.tracking.run_dir import lock_run_dir, run_dir_of
from bnn.tracking.store import Store, children_filter


def end_lost_runs(store: Store, parent: str | None = None, patience: float = 0.0) -> None:
    """End the runs of processes that died on this machine, which are still marked RUNNING.

    Args:
        store: tracking store.
        parent: run id of a parent, of whose jobs the runs are; None: all of the experiment.
        patience: seconds for which processes that are still at work are waited for.
    """
    client, end = MlflowClient(store.uri), time.monotonic() + patience
    search = "attributes.status = 'RUNNING'" + (f" and {children_filter(parent)}" if parent else "")
    while True:
        at_work = [_is_at_work(client, r) for r in search_runs(client, store.experiment_id, search)]
        if not any(at_work) or time.monotonic() >= end:
            return
        time.sleep(0.2)


def end_as_killed(client: MlflowClient, run_id: str, reason: str | None) -> None:
    """End a run as KILLED.

    Args:
        client: client of the tracking store.
        run_id: MLflow run id.
        reason: one line, for a tag.
    """
    if reason is not None:
        client.set_tag(run_id, schema.REASON, reason)
    client.set_terminated(run_id, "KILLED")


def _is_at_work(client: MlflowClient, run: Run) -> bool:
    """Whether a process holds the lock of a run that is marked RUNNING; else it is ended."""
    if (run_dir := run_dir_of(run.data.tags)) is None:
        return False
    try:
        with lock_run_dir(run_dir):
            run = client.get_run(run.info.run_id)  # it may have ended before the lock was free
            if run.info.status == "RUNNING":
                is_sweep = run.data.tags.get(schema.KIND) == "sweep"
                reason = None if is_sweep else "its process ended unexpectedly"
                end_as_killed(client, run.info.run_id, reason)
    except TrackingError:
        return True
    return False
