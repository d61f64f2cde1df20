"""A copy of a store's runs in another store: what a laptop tracked, on the team's server. One way, and once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnn.errors import TrackingError
from bnn.tracking.earlier import alive, all_runs
from bnn.tracking.outbox import ADDRESS, FOLDER, RECORDS, Outbox, unreachable
from bnn.tracking.store import SQLITE, Store, open_store, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

ORIGIN = "bnn.origin"
"""The tag that a copy carries: the id of the run that it is a copy of."""
PARENT = "mlflow.parentRunId"
MODEL = "model"
AT_ONCE = 1000
"""Metrics in one call; the server takes no more."""


def deliver(folder: Path) -> Iterator[tuple[bool, str]]:
    """Hand over what waits in the outboxes below `folder`: for each, whether all is delivered, and a line about it."""
    from mlflow import MlflowClient

    for records in sorted(folder.rglob(f"{FOLDER}/{RECORDS}")):
        home = records.parent.parent
        try:
            address = json.loads((records.parent / ADDRESS).read_text())
            client, run_id = MlflowClient(address["uri"]), address["run_id"]
            with alive(home):
                outbox = Outbox(client, run_id, home)
                count = len(outbox)
                outbox.deliver()
                if outbox:
                    yield (
                        False,
                        f"run {run_id}: {len(outbox)} records still wait in {home}; {address['uri']} does not take them",
                    )
                    continue
                if client.get_run(run_id).info.status == "RUNNING":  # its process ended without a word
                    client.set_tag(run_id, "bnn.reason", "interrupted; resume=true goes on with it")
                    client.set_terminated(run_id, "KILLED")
                yield True, f"run {run_id}: {count} records delivered to {address['uri']}"
        except TrackingError as error:
            yield False, str(error)
        except (ValueError, KeyError, OSError) as error:
            yield False, f"{records.parent} cannot be read ({error})"
        except unreachable() as error:
            yield False, f"{home}: {str(error).partition(chr(10))[0]}"


def copy(source: str | None, target: str, experiments: Sequence[str]) -> Iterator[str]:
    """Copy the runs of `experiments` (none: all) that have ended and that `target` does not have: a line for each.

    Errors: TrackingError for a store that is not there or an experiment that it does not have.
    """
    from mlflow import MlflowClient
    from mlflow.entities import ViewType

    source, target = tracking_uri(source), tracking_uri(target)
    if source == target:
        raise TrackingError(f"--to: expected another store than the one that is copied, got {target}")
    if source.startswith(SQLITE) and not Path(source.removeprefix(SQLITE)).is_file():
        raise TrackingError(f"{source}: no such file; go to the folder that holds mlflow.db, or give --uri")
    client = MlflowClient(source)
    there = {each.name: each for each in client.search_experiments(ViewType.ACTIVE_ONLY) if each.name != "Default"}
    for name in experiments:
        if name not in there:
            raise TrackingError(f"experiment {name!r} does not exist; those that do: {', '.join(sorted(there)) or 'none'}")
    for name in experiments or sorted(there):
        yield from _experiment(client, Store(source, name, there[name].experiment_id), open_store(target, name))


def _experiment(client: MlflowClient, source: Store, target: Store) -> Iterator[str]:
    from mlflow import MlflowClient

    other = MlflowClient(target.uri)
    copies = {run.data.tags[ORIGIN]: run for run in all_runs(other, target, "") if ORIGIN in run.data.tags}
    found = sorted(all_runs(client, source, ""), key=lambda run: (PARENT in run.data.tags, run.info.start_time))
    for run in found:  # parents first, so that their copies are known
        named = f"{source.experiment}: {run.info.run_name} ({run.info.run_id})"
        earlier = copies.get(run.info.run_id)
        if run.info.status == "RUNNING":
            yield f"{named} is running, and left for later"
        elif earlier is None or earlier.info.status == "RUNNING":  # the latter: a copy that was cut off
            made = earlier or _begun(other, target, run, copies)
            _fill(client, run, other, made)
            copies[run.info.run_id] = made
            yield f"{named} copied, there {made.info.run_id}"


def _begun(other: MlflowClient, target: Store, run: Run, copies: dict[str, Run]) -> Run:
    tags = {**run.data.tags, ORIGIN: run.info.run_id}
    if parent := copies.get(tags.pop(PARENT, "")):
        tags[PARENT] = parent.info.run_id
    return other.create_run(target.experiment_id, run.info.start_time, tags, run.info.run_name)


def _fill(client: MlflowClient, run: Run, other: MlflowClient, made: Run) -> None:
    """Everything but the beginning; what is there already stays as it is."""
    from mlflow.entities import LoggedModelOutput, Param

    old, new = run.info.run_id, made.info.run_id
    other.log_batch(new, params=[Param(key, value) for key, value in run.data.params.items()])
    points = [point for key in run.data.metrics for point in client.get_metric_history(old, key)]
    for start in range(0, len(points), AT_ONCE):
        other.log_batch(new, metrics=points[start : start + AT_ONCE])
    there = other.get_run(new)
    if run.inputs and run.inputs.dataset_inputs and not (there.inputs and there.inputs.dataset_inputs):
        other.log_inputs(new, run.inputs.dataset_inputs)
    with tempfile.TemporaryDirectory() as scratch:
        for item in client.list_artifacts(old):
            if item.path != MODEL and Path(item.path).name == item.path:  # a name of this level: nothing leaves the folder
                path = client.download_artifacts(old, item.path, scratch)
                (other.log_artifacts if item.is_dir else other.log_artifact)(new, path, item.path if item.is_dir else None)
    if there.outputs and there.outputs.model_outputs:
        pass
    elif run.outputs and run.outputs.model_outputs:
        for cut_off in other.search_logged_models([made.info.experiment_id], f"source_run_id = '{new}'"):
            other.delete_logged_model(cut_off.model_id)
        for output in run.outputs.model_outputs:
            logged = other.create_logged_model(made.info.experiment_id, MODEL, new)
            with tempfile.TemporaryDirectory() as scratch:
                _download_model(client, output.model_id, scratch)
                other.log_model_artifacts(logged.model_id, scratch)
            other.finalize_logged_model(logged.model_id, "READY")
            other.log_outputs(new, [LoggedModelOutput(logged.model_id, output.step)])
    other.set_terminated(new, run.info.status, run.info.end_time)


def _download_model(client: MlflowClient, model_id: str, folder: str) -> None:
    import mlflow
    from mlflow.artifacts import download_artifacts

    mlflow.set_tracking_uri(client.tracking_uri)
    download_artifacts(artifact_uri=f"models:/{model_id}", dst_path=folder, tracking_uri=client.tracking_uri)
