"""The parent run of a sweep: its jobs lie nested under it, its description holds their table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bnn import schema
from bnn.config import provenance
from bnn.errors import TrackingError
from bnn.tracking.failures import best_effort
from bnn.tracking.mlflow_adapter import delete_artifacts
from bnn.tracking.query import of_kind, search_runs
from bnn.tracking.run_dir import claim_run_dir, lock_run_dir, run_dir_of
from bnn.tracking.store import Store, children
from bnn.training import checkpoint


def open_parent(
    store: Store,
    title: str,
    cells: int,
    folder: Path | None = None,
    result: str = "",
    resume: bool = False,
) -> str:
    """A running parent; answers its run id. folder: the sweep's, in which it is at work (bnn.tracking.run_dir.alive); result:
    what determines the results of all its cells; resume: go on with the newest parent of the same, if there is one at which
    nobody else is at work."""

    client = MlflowClient(store.uri)
    place = (
        {schema.RUN_DIR: str(folder.absolute()), schema.RUN_DIR_OWNER: claim_run_dir(folder)}
        if folder
        else {}
    )
    for earlier in (
        search_runs(
            client,
            store.experiment_id,
            f"{of_kind('sweep')} and tags.`{schema.RESULT_KEY}` = '{result}'",
        )
        if resume
        else ()
    ):
        if earlier.info.status != "RUNNING" or _is_left(earlier.data.tags):
            client.update_run(earlier.info.run_id, status="RUNNING")
            for key, value in place.items():
                client.set_tag(earlier.info.run_id, key, value)
            return earlier.info.run_id
    tags = place | {
        schema.KIND: "sweep",
        schema.RESULT_KEY: result,
        schema.COMMAND: provenance.command(),
        schema.COMMIT: provenance.commit(),
        schema.JOBS: str(cells),
        schema.SOURCE: "bnn.train",
    }
    return client.create_run(store.experiment_id, tags=tags, run_name=title).info.run_id


def _is_left(tags: Mapping[str, str]) -> bool:
    """Whether the folder of a running sweep is here, and nobody is at work in it."""
    if (home := run_dir_of(tags)) is None:
        return False
    try:
        with lock_run_dir(home):
            return True
    except TrackingError:
        return False


def close_parent(
    store: Store, parent: str, table: str, status: str, rows: Sequence[dict[str, str]]
) -> None:
    """End the parent with the table of its jobs as its description and as an artifact. status: FINISHED, FAILED, KILLED."""

    client = MlflowClient(store.uri)
    _describe(client, parent, table, rows)
    client.set_terminated(parent, status)


def _describe(
    client: MlflowClient, parent: str, table: str, rows: Sequence[dict[str, str]]
) -> None:
    client.set_tag(parent, schema.NOTE, f"{table}\n\n`{provenance.command()}`")
    client.log_text(parent, table, "table.md")
    if not rows:
        return
    if any(
        item.path == "table.json" for item in client.list_artifacts(parent)
    ):  # log_table would append to it
        data = [[str(row.get(key)) for key in rows[0]] for row in rows]
        client.log_dict(parent, {"columns": list(rows[0]), "data": data}, "table.json")
    else:
        columns = {key: [str(row.get(key)) for row in rows] for key in rows[0]}
        client.log_table(parent, columns, "table.json")


def is_there(store: Store, run_id: str) -> bool:
    """Whether the store has this run, and has not deleted it."""

    try:
        return MlflowClient(store.uri).get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException:
        return False


def end(store: Store, parent: str, status: str) -> None:
    """Set a parent's status: FINISHED, FAILED, KILLED, or RUNNING where others are still at work on it."""

    client = MlflowClient(store.uri)
    if status == "RUNNING":
        client.update_run(parent, status=status)
    else:
        client.set_terminated(parent, status)


def end_lost(store: Store, parent: str, trial: int, why: str) -> None:
    """End the runs of a trial whose process could not."""

    client = MlflowClient(store.uri)
    search = f"{children(parent)} and tags.trial = '{trial}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([store.experiment_id], search):
        client.set_tag(run.info.run_id, schema.REASON, why)
        client.set_terminated(run.info.run_id, "KILLED")


def remove_checkpoints(store: Store, run_id: str, why: str) -> bool:
    """Remove a run's checkpoints from the store, and from its folder where that is here; answers whether there were any."""

    client = MlflowClient(store.uri)
    with best_effort(
        f"that run {run_id} gives back its checkpoints"
    ):  # it may be another store's, deleted, or others' to change
        run = client.get_run(run_id)
        if run.info.lifecycle_stage != "active" or not client.list_artifacts(run_id, "checkpoint"):
            return False
        delete_artifacts(client, run_id, "checkpoint")
        client.set_tag(run_id, schema.CHECKPOINT, f"removed: {why}")
        if home := run_dir_of(run.data.tags):
            for name in (checkpoint.BEST, checkpoint.LAST):
                (home / name).unlink(missing_ok=True)
        return True
    return False


def describe_study(
    store: Store,
    parent: str,
    description: str,
    rows: Sequence[dict[str, str]],
    pictures: Iterable[tuple[str, Figure]],
) -> None:
    """Leave what is known of a study on its parent run, its figures among the artifacts."""

    client = MlflowClient(store.uri)
    _describe(client, parent, description, rows)
    for name, picture in pictures:
        client.log_figure(
            parent, picture, f"figures/{name}.png", save_kwargs={"bbox_inches": "tight", "dpi": 110}
        )
