"""Delivery of kept MLflow calls, and one-way copies of runs, such as from a laptop to a server."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, Param, Run, ViewType

from bnn import schema
from bnn.errors import BnnError, TrackingError, format_error, without_password
from bnn.tracking.database import check_file, file_lock
from bnn.tracking.delivery import store_address
from bnn.tracking.failures import STORE_ERRORS
from bnn.tracking.lost_runs import end_as_killed, end_lost_runs
from bnn.tracking.mlflow_adapter import SHARED_VIEW
from bnn.tracking.outbox import ADDRESS, FOLDER, RECORDS, Outbox
from bnn.tracking.query import search_runs
from bnn.tracking.run_dir import lock_run_dir, run_dir_of
from bnn.tracking.store import SQLITE, Store, configure_client, open_store, tracking_uri
from bnn.tracking.view import save_copied_view

MODEL = "model"
METRICS_PER_CALL = 1000
"""Limit of MLflow's server."""


def flush_outboxes(folder: Path, target: str | None = None) -> Iterator[tuple[bool, str]]:
    """Deliver the outboxes below a folder.

    Args:
        folder: folder that is searched for outboxes.
        target: address of another store, which takes the records of the runs that it has; None:
            records go to the store in which their run began.

    Yields:
        For each outbox whether all of it is delivered, and one line about it.

    Raises:
        TrackingError: for a target that is no address.
    """
    configure_client()
    target = tracking_uri(target, "--to") if target else None
    for records in sorted(folder.rglob(f"{FOLDER}*/{RECORDS}")):
        try:
            yield _flush_outbox(records.parent, target)
        except STORE_ERRORS as error:
            yield False, f"{records.parent}: {format_error(error)}"


def _flush_outbox(box: Path, target: str | None) -> tuple[bool, str]:
    """Deliver one outbox, and end its run as KILLED where its process died while it was running."""
    uri, run_id = _read_address(box)
    here = os.environ.get("MLFLOW_TRACKING_URI", "")
    own = here if without_password(here) == uri else uri
    with lock_run_dir(box.parent):
        for address in (target, own):
            if address is None:
                continue
            client = MlflowClient(address)
            outbox = Outbox(client, run_id, box.parent, box.name)
            outbox.deliver()
            if not outbox:
                break
        else:
            line = outbox.waiting_line()
            if "***" in uri:
                line += "; set MLFLOW_TRACKING_URI to the same address with its password"
            return False, line
        _end_abandoned(client, run_id, box.parent)
    return True, f"{store_address(client)} has taken {outbox.summary()}"


def _read_address(box: Path) -> tuple[str, str]:
    """Address of the store of an outbox without its password, and the id of its run."""
    path = box / ADDRESS
    try:
        address = json.loads(path.read_bytes())
        return str(address["uri"]), str(address["run_id"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrackingError(
            f'{path} cannot be read: expected {{"uri": "ADDRESS", "run_id": "RUN_ID"}}; '
            f"what waits in {box / RECORDS} stays there until then"
        ) from error


def _end_abandoned(client: MlflowClient, run_id: str, run_dir: Path) -> None:
    """End a run as KILLED where it is RUNNING without a process that holds its directory's lock."""
    run = client.get_run(run_id)
    if run.info.status == "RUNNING" and run_dir_of(run.data.tags) == run_dir.absolute():
        end_as_killed(client, run_id, "interrupted; resume=true goes on with it")


def copy_runs(source: str | None, target: str, experiments: Sequence[str]) -> Iterator[str]:
    """Copy the runs that have ended to another store, without those that it has up to date.

    A lock serializes copies of one SQLite file, so that no run is copied twice.

    Args:
        source: address of the store; None: mlflow.db in the working directory.
        target: address of the other store.
        experiments: names of the experiments; empty: all.

    Yields:
        One line for each run.

    Raises:
        TrackingError: for a store that cannot be reached, or an experiment that does not exist.
    """
    source, target = tracking_uri(source, "--uri"), tracking_uri(target, "--to")
    if not source.startswith(SQLITE):
        yield from _copy_experiments(source, target, experiments)
        return
    file = Path(source.removeprefix(SQLITE))
    if not os.path.lexists(file):
        raise TrackingError(
            f"{source}: no such file; go to the folder that holds mlflow.db, or give --uri"
        )
    check_file(file, "--uri")
    if not os.access(file.parent, os.W_OK):
        raise TrackingError(
            f"{file.parent}: expected a folder to write in, where a copy keeps its lock"
        )
    with file_lock(file.with_name(f"{file.name}.sync"), "--uri"):
        yield from _copy_experiments(source, target, experiments)


def _copy_experiments(source: str, target: str, experiments: Sequence[str]) -> Iterator[str]:
    try:
        client = MlflowClient(source)
        there = {
            each.name: each
            for each in client.search_experiments(ViewType.ACTIVE_ONLY)
            if each.name != "Default"
        }
        for name in experiments:
            if name not in there:
                names = ", ".join(sorted(there)) or "none"
                raise TrackingError(f"experiment {name!r} does not exist; those that do: {names}")
        for name in experiments or sorted(there):
            origin = Store(source, name, there[name].experiment_id)
            yield from _copy_experiment(client, origin, open_store(target, name, "--to"))
    except BnnError:
        raise
    except STORE_ERRORS as error:
        raise TrackingError(
            f"the copy was interrupted ({format_error(error)}); the same command continues it"
        ) from error


def _copy_experiment(client: MlflowClient, source: Store, target: Store) -> Iterator[str]:
    """Copy the runs of one experiment, parents first, and their saved views.

    Runs whose process died on this machine are ended as KILLED first.
    """
    end_lost_runs(source)
    other = MlflowClient(target.uri)
    theirs = {run.info.run_id: run for run in search_runs(other, target.experiment_id, "")}
    copies = {
        run.data.tags[schema.ORIGIN]: run
        for run in theirs.values()
        if schema.ORIGIN in run.data.tags
    }
    found = sorted(
        search_runs(client, source.experiment_id, ""),
        key=lambda run: (schema.PARENT in run.data.tags, run.info.start_time),
    )
    if any(run.info.run_id in theirs for run in found):
        raise TrackingError(
            "--to: expected another store than the one that is copied, "
            f"got {without_password(target.uri)}"
        )
    running = {run.info.run_id for run in found if run.info.status == "RUNNING"}
    fresh: set[str] = set()
    for run in found:  # parents first, so that their copies are known
        run_id = run.info.run_id
        title = f"{source.experiment}: {run.info.run_name} ({run_id})"
        ended = f"{run.info.status} {run.info.end_time}"
        if {run_id, run.data.tags.get(schema.PARENT)} & running:
            yield f"{title} is running, or its sweep is: left for later"
        elif run_id not in copies or copies[run_id].data.tags.get(schema.COPIED) != ended:
            tags = _tags(run, copies)
            if run_id not in copies:
                copies[run_id] = other.create_run(
                    target.experiment_id, run.info.start_time, tags, run.info.run_name
                )
            made = copies[run_id].info.run_id
            _copy_contents(client, run, other, copies[run_id], tags | {schema.COPIED: ended})
            fresh.add(made)
            yield f"{title} copied, there {made}"
    _copy_views(target, found, copies, fresh)


def _copy_views(
    target: Store, found: Sequence[Run], copies: Mapping[str, Run], fresh: Collection[str]
) -> None:
    """Save the views of copied sweeps that have none in the other store, or have new runs.

    Args:
        target: the other store.
        found: runs of the source.
        copies: copies by the run id of their origin.
        fresh: run ids of the copies that were made now.
    """
    other = MlflowClient(target.uri)
    views = other.get_experiment(target.experiment_id).tags
    for run in found:
        copy = copies.get(run.info.run_id)
        if schema.SORTED_BY not in run.data.tags or copy is None:
            continue
        below = {
            copies[each.info.run_id].info.run_id
            for each in found
            if each.data.tags.get(schema.PARENT) == run.info.run_id and each.info.run_id in copies
        }
        below.add(copy.info.run_id)  # its description has been copied, with links to the origin
        if f"{SHARED_VIEW}{copy.info.run_id}" not in views or below.intersection(fresh):
            save_copied_view(target, other.get_run(copy.info.run_id))


def _tags(run: Run, copies: dict[str, Run]) -> dict[str, str]:
    """Tags of a run's copy, under the copy of its parent."""
    tags = {**run.data.tags, schema.ORIGIN: run.info.run_id}
    if parent := copies.get(tags.pop(schema.PARENT, "")):
        tags[schema.PARENT] = parent.info.run_id
    return tags


def _copy_contents(
    client: MlflowClient, run: Run, other: MlflowClient, made: Run, tags: dict[str, str]
) -> None:
    """Copy the contents of a run into its copy; what an interrupted copy has already is kept.

    The tags come last: they mark the copy as complete.
    """
    old, new = run.info.run_id, made.info.run_id
    if made.info.status != "RUNNING":
        other.update_run(new, status="RUNNING")
    other.log_batch(new, params=[Param(key, value) for key, value in run.data.params.items()])
    points = [point for key in run.data.metrics for point in client.get_metric_history(old, key)]
    for start in range(0, len(points), METRICS_PER_CALL):
        other.log_batch(new, metrics=points[start : start + METRICS_PER_CALL])
    there = other.get_run(new)
    inputs = run.inputs.dataset_inputs if run.inputs else []
    if inputs and not (there.inputs and there.inputs.dataset_inputs):
        other.log_inputs(new, inputs)
    _copy_artifacts(client, old, other, new)
    models = run.outputs.model_outputs if run.outputs else []
    if models and not (there.outputs and there.outputs.model_outputs):
        _copy_models(client, models, other, made)
    other.set_terminated(new, run.info.status, run.info.end_time)
    for key in (schema.REASON, schema.PRUNED):  # which a run that went on has no longer
        if key in there.data.tags and key not in tags:
            other.delete_tag(new, key)
    for key, value in tags.items():
        other.set_tag(new, key, value)


def _copy_artifacts(client: MlflowClient, old: str, other: MlflowClient, new: str) -> None:
    """Copy the artifacts of a run, except its model."""
    with tempfile.TemporaryDirectory() as scratch:
        for item in client.list_artifacts(old):
            # a plain name: a path of several parts could lead out of the temporary folder
            if item.path == MODEL or Path(item.path).name != item.path:
                continue
            path = client.download_artifacts(old, item.path, scratch)
            if item.is_dir:
                other.log_artifacts(new, path, item.path)
            else:
                other.log_artifact(new, path)


def _copy_models(
    client: MlflowClient, outputs: Sequence[Any], other: MlflowClient, made: Run
) -> None:
    """Copy the logged models of a run; models of interrupted copies are removed."""
    # download_artifacts looks a model up in the global store, whatever client is used
    mlflow.set_tracking_uri(client.tracking_uri)
    new, experiment = made.info.run_id, made.info.experiment_id
    for incomplete in other.search_logged_models([experiment], f"source_run_id = '{new}'"):
        other.delete_logged_model(incomplete.model_id)
    for output in outputs:
        logged = other.create_logged_model(experiment, MODEL, new)
        with tempfile.TemporaryDirectory() as scratch:
            uri = f"models:/{output.model_id}"
            download_artifacts(artifact_uri=uri, dst_path=scratch)
            other.log_model_artifacts(logged.model_id, scratch)
        other.finalize_logged_model(logged.model_id, "READY")
        other.log_outputs(new, [LoggedModelOutput(logged.model_id, output.step)])
