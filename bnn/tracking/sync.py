"""A copy of a store's runs in another store: what a laptop tracked, on the team's server. One way, and each once."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import LoggedModelOutput, Param, Run, ViewType

from bnn import schema
from bnn.errors import BnnError, TrackingError, format_error, without_password
from bnn.tracking.failures import STORE_ERRORS
from bnn.tracking.mlflow_adapter import SHARED_VIEW
from bnn.tracking.outbox import ADDRESS, FOLDER, RECORDS, Outbox
from bnn.tracking.query import search_runs
from bnn.tracking.run_dir import lock_run_dir, run_dir_of
from bnn.tracking.store import SQLITE, Store, locked, open_store, tracking_uri
from bnn.tracking.view import save_copied_view

MODEL = "model"
AT_ONCE = 1000
"""Metrics in one call; the server takes no more."""


def flush(folder: Path) -> Iterator[tuple[bool, str]]:
    """Hand over what waits in the outboxes below `folder`: for each, whether all is delivered, and a line about it."""
    for records in sorted(folder.rglob(f"{FOLDER}*/{RECORDS}")):
        try:
            yield _delivered(records.parent)
        except (ValueError, KeyError) as error:
            yield False, f"{records.parent} cannot be read ({error})"
        except STORE_ERRORS as error:
            yield False, f"{records.parent}: {format_error(error)}"


def _delivered(box: Path) -> tuple[bool, str]:

    address = json.loads((box / ADDRESS).read_text())
    shown, run_id, home = address["uri"], address["run_id"], box.parent
    here = os.environ.get("MLFLOW_TRACKING_URI", "")
    client = MlflowClient(here if without_password(here) == shown else shown)
    with lock_run_dir(home):
        outbox = Outbox(client, run_id, home, box.name)
        count = len(outbox)
        outbox.flush()
        if outbox:
            missing = (
                "; set MLFLOW_TRACKING_URI to the same address with its password"
                if ":***@" in shown
                else ""
            )
            return (
                False,
                f"run {run_id}: {len(outbox)} records still wait in {home}; {shown} does not take them{missing}",
            )
        run = client.get_run(run_id)
        if (
            run.info.status == "RUNNING" and run_dir_of(run.data.tags) == home.absolute()
        ):  # its process ended without a word
            client.set_tag(run_id, schema.REASON, "interrupted; resume=true goes on with it")
            client.set_terminated(run_id, "KILLED")
    return True, f"run {run_id}: {count} records delivered to {shown}"


def copy(source: str | None, target: str, experiments: Sequence[str]) -> Iterator[str]:
    """Copy the runs of `experiments` (none: all) that have ended, unless `target` has them as they ended: a line for each.

    Copies of one file take turns: what the first has copied, the second finds there.
    Errors: TrackingError for a store that is not there or an experiment that it does not have.
    """
    source, target = tracking_uri(source), tracking_uri(target)
    if source.startswith(SQLITE) and not Path(source.removeprefix(SQLITE)).is_file():
        raise TrackingError(
            f"{source}: no such file; go to the folder that holds mlflow.db, or give --uri"
        )
    if source.startswith(SQLITE):
        file = Path(source.removeprefix(SQLITE))
        if not os.access(file.parent, os.W_OK):
            raise TrackingError(
                f"{file.parent}: expected a folder to write in, where a copy keeps its lock"
            )
        with locked(file.with_name(f"{file.name}.sync")):
            yield from _copy(source, target, experiments)
    else:
        yield from _copy(source, target, experiments)


def _copy(source: str, target: str, experiments: Sequence[str]) -> Iterator[str]:

    try:
        client = MlflowClient(source)
        there = {
            each.name: each
            for each in client.search_experiments(ViewType.ACTIVE_ONLY)
            if each.name != "Default"
        }
        for name in experiments:
            if name not in there:
                raise TrackingError(
                    f"experiment {name!r} does not exist; those that do: {', '.join(sorted(there)) or 'none'}"
                )
        for name in experiments or sorted(there):
            yield from _experiment(
                client, Store(source, name, there[name].experiment_id), open_store(target, name)
            )
    except BnnError:
        raise
    except STORE_ERRORS as error:
        raise TrackingError(
            f"the copy was cut off ({format_error(error)}); the same command goes on with it"
        ) from error


def _experiment(client: MlflowClient, source: Store, target: Store) -> Iterator[str]:

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
            f"--to: expected another store than the one that is copied, got {without_password(target.uri)}"
        )
    running = {run.info.run_id for run in found if run.info.status == "RUNNING"}
    fresh: set[str] = set()
    for run in found:  # parents first, so that their copies are known
        run_id = run.info.run_id
        named = f"{source.experiment}: {run.info.run_name} ({run_id})"
        ended = f"{run.info.status} {run.info.end_time}"
        if {run_id, run.data.tags.get(schema.PARENT)} & running:
            yield f"{named} is running, or its sweep is: left for later"
        elif run_id not in copies or copies[run_id].data.tags.get(schema.COPIED) != ended:
            tags = _tags(run, copies)
            if run_id not in copies:
                copies[run_id] = other.create_run(
                    target.experiment_id, run.info.start_time, tags, run.info.run_name
                )
            made = copies[run_id].info.run_id
            _fill(client, run, other, copies[run_id], tags | {schema.COPIED: ended})
            fresh.add(made)
            yield f"{named} copied, there {made}"
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
        if f"{SHARED_VIEW}{copy.info.run_id}" not in views or fresh & below:
            save_copied_view(target, other.get_run(copy.info.run_id))


def _tags(run: Run, copies: dict[str, Run]) -> dict[str, str]:
    tags = {**run.data.tags, schema.ORIGIN: run.info.run_id}
    if parent := copies.get(tags.pop(schema.PARENT, "")):
        tags[schema.PARENT] = parent.info.run_id
    return tags


def _fill(
    client: MlflowClient, run: Run, other: MlflowClient, made: Run, tags: dict[str, str]
) -> None:
    """Everything but the beginning; what is there already stays as it is. The tags come last: the copy is whole then."""

    old, new = run.info.run_id, made.info.run_id
    if made.info.status != "RUNNING":
        other.update_run(new, status="RUNNING")
    other.log_batch(new, params=[Param(key, value) for key, value in run.data.params.items()])
    points = [point for key in run.data.metrics for point in client.get_metric_history(old, key)]
    for start in range(0, len(points), AT_ONCE):
        other.log_batch(new, metrics=points[start : start + AT_ONCE])
    there = other.get_run(new)
    if (
        run.inputs
        and run.inputs.dataset_inputs
        and not (there.inputs and there.inputs.dataset_inputs)
    ):
        other.log_inputs(new, run.inputs.dataset_inputs)
    with tempfile.TemporaryDirectory() as scratch:
        for item in client.list_artifacts(old):
            if (
                item.path != MODEL and Path(item.path).name == item.path
            ):  # a name of this level: nothing leaves the folder
                path = client.download_artifacts(old, item.path, scratch)
                (other.log_artifacts if item.is_dir else other.log_artifact)(
                    new, path, item.path if item.is_dir else None
                )
    if (
        run.outputs
        and run.outputs.model_outputs
        and not (there.outputs and there.outputs.model_outputs)
    ):
        _models(client, run.outputs.model_outputs, other, made)
    other.set_terminated(new, run.info.status, run.info.end_time)
    for key, value in tags.items():
        other.set_tag(new, key, value)


def _models(client: MlflowClient, outputs: Sequence[Any], other: MlflowClient, made: Run) -> None:

    mlflow.set_tracking_uri(
        client.tracking_uri
    )  # a model's address is looked up there, whatever is asked for
    new, experiment = made.info.run_id, made.info.experiment_id
    for cut_off in other.search_logged_models([experiment], f"source_run_id = '{new}'"):
        other.delete_logged_model(cut_off.model_id)
    for output in outputs:
        logged = other.create_logged_model(experiment, MODEL, new)
        with tempfile.TemporaryDirectory() as scratch:
            uri = f"models:/{output.model_id}"
            download_artifacts(artifact_uri=uri, dst_path=scratch)
            other.log_model_artifacts(logged.model_id, scratch)
        other.finalize_logged_model(logged.model_id, "READY")
        other.log_outputs(new, [LoggedModelOutput(logged.model_id, output.step)])
