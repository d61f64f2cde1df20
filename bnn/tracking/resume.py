"""Resumption: finished runs of the same result are not repeated, interrupted ones are continued."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from bnn import schema
from bnn.errors import TrackingError, without_password
from bnn.tracking.lost_runs import end_as_killed
from bnn.tracking.outbox import FOLDER, Outbox
from bnn.tracking.query import has_artifact, kind_filter, search_runs
from bnn.tracking.run_dir import lock_run_dir, run_dir_of
from bnn.tracking.store import Store, children_filter
from bnn.training import checkpoint

FINAL = (schema.TEST + "loss", schema.TOTAL_SECONDS)
FINAL_TRIAL = (schema.BEST_EPOCH, schema.TRAIN_SECONDS)
"""Metrics that a finished run has to have: the status alone can be set by hand."""


def _result(run: Run) -> dict[str, Any]:
    """Test metrics, seconds and id of a finished run, as the table of a sweep shows them."""
    metrics = run.data.metrics
    return {
        "test": {
            key.removeprefix(schema.TEST): value
            for key, value in metrics.items()
            if key.startswith(schema.TEST)
        },
        "seconds": metrics[schema.TOTAL_SECONDS],
        "run_id": run.info.run_id,
    }


def finished_results(
    store: Store, result: str | None = None, parent: str | None = None
) -> dict[str, dict[str, Any]]:
    """Results of the finished runs of an experiment.

    Args:
        store: tracking store.
        result: result key; None: all.
        parent: run id of a parent, of whose jobs the results are; None: all.

    Returns:
        Test metrics, seconds and run id by result key (`bnn.config.provenance.result_key`).
    """
    search = f"{kind_filter('run')} and attributes.status = 'FINISHED'"
    search += f" and tags.`{schema.RESULT_KEY}` = '{result}'" if result else ""
    search += f" and {children_filter(parent)}" if parent else ""
    found: dict[str, dict[str, Any]] = {}
    for run in search_runs(MlflowClient(store.uri), store.experiment_id, search):
        if run.data.metrics.keys() >= set(FINAL):
            found.setdefault(run.data.tags.get(schema.RESULT_KEY, ""), _result(run))
    return found


def killed_results(store: Store, parent: str) -> set[str]:
    """Result keys of the jobs of a sweep that began, and were interrupted.

    Args:
        store: tracking store.
        parent: run id of the sweep.
    """
    search = f"{kind_filter('run')} and attributes.status = 'KILLED' and {children_filter(parent)}"
    found = search_runs(MlflowClient(store.uri), store.experiment_id, search)
    return {run.data.tags.get(schema.RESULT_KEY, "") for run in found}


def other_versions_note(store: Store, results: Mapping[str, str]) -> str | None:
    """Note on runs of the same configurations by other versions of the code; they are not resumed.

    Args:
        store: tracking store.
        results: result key by the digest of each configuration.

    Returns:
        One line that names the commits; None where there are no such runs.
    """
    commits: Counter[str] = Counter()
    for run in search_runs(MlflowClient(store.uri), store.experiment_id, kind_filter("run")):
        tags = run.data.tags
        digest, commit = tags.get(schema.DIGEST, ""), tags.get(schema.COMMIT, "unknown")
        if digest in results and tags.get(schema.RESULT_KEY) != results[digest]:
            commits[commit] += 1
    if not commits:
        return None
    return (
        f"note: {commits.total()} earlier runs of these configurations are of another version of "
        f"bnn, of its libraries or of a plug-in (commit {', '.join(sorted(commits))}; tag "
        "bnn.versions): they are trained anew; to go on with those, install these versions"
    )


@dataclass(frozen=True)
class Interrupted:
    """Run that did not finish and can be continued.

    Args:
        run_id: MLflow run id.
        folder: run directory with its checkpoint.
        threads: number of torch threads that trained it, as text.
    """

    run_id: str
    folder: Path
    threads: str


def flush_pending(store: Store, result: str) -> None:
    """Deliver the outboxes of unfinished runs of a result that lie on this machine.

    Args:
        store: tracking store.
        result: result key.

    Raises:
        TrackingError: where the store does not take them.
    """
    client = MlflowClient(store.uri)
    search = f"tags.`{schema.RESULT_KEY}` = '{result}' and attributes.status != 'FINISHED'"
    for run in search_runs(client, store.experiment_id, search):
        run_dir, run_id = run_dir_of(run.data.tags), run.info.run_id
        if run_dir is None or not (run_dir / FOLDER).is_dir():
            continue
        with lock_run_dir(run_dir):
            outbox = Outbox(client, run_id, run_dir)
            outbox.flush()
            if outbox:
                raise TrackingError(
                    f"the store does not take what waits for run {run_id} in {run_dir}"
                )


def _shown(uri: str) -> str:
    """Address of a store as an argument; none of one with a password, which the environment has."""
    return "" if without_password(uri) != uri else f'"{uri}"'


def find_interrupted(
    store: Store, result: str, folder: Path, study: str | None = None
) -> Interrupted | None:
    """Newest run of a result that did not finish and has a checkpoint, here or in the store.

    A run that is marked RUNNING counts as interrupted where its directory is on this machine and no
    process holds its lock; without a checkpoint it is ended as KILLED.

    Args:
        store: tracking store.
        result: result key.
        folder: where a checkpoint from the store is downloaded to.
        study: name of a study, among whose trials to look, without those that were pruned or are
            being trained; None: among the runs.

    Raises:
        TrackingError: for a run that another process trains, here or on another machine.
    """
    client = MlflowClient(store.uri)
    kind = kind_filter("run" if study is None else "trial")
    search = f"{kind} and tags.`{schema.RESULT_KEY}` = '{result}'"
    search += " and attributes.status != 'FINISHED'"
    for run in search_runs(client, store.experiment_id, search):
        tags, run_id = run.data.tags, run.info.run_id
        if schema.ORIGIN in tags or (
            study is not None and (tags.get(schema.STUDY) != study or schema.PRUNED in tags)
        ):
            continue
        run_dir, threads = run_dir_of(tags), tags.get(schema.THREADS, "")
        if run_dir is not None:
            try:
                with lock_run_dir(run_dir):
                    if client.get_run(run_id).info.status == "FINISHED":  # since the search
                        continue
                    if (run_dir / checkpoint.LAST).is_file():
                        return Interrupted(run_id, run_dir, threads)
            except TrackingError:
                if study is None:
                    raise
                continue
        elif run.info.status == "RUNNING" and study is None:
            raise TrackingError(
                f"run {run_id} of this configuration is marked RUNNING on {tags.get(schema.HOST)}, "
                f"in {tags.get(schema.RUN_DIR)}: wait for it, or resume there; if it is lost, "
                f'MlflowClient({_shown(store.uri)}).set_terminated("{run_id}", "KILLED"), and '
                "repeat this command"
            )
        elif run.info.status != "RUNNING" and _download_checkpoint(client, run_id, folder):
            return Interrupted(run_id, folder, threads)
        if run.info.status == "RUNNING" and run_dir is not None:
            end_as_killed(client, run_id, "lost before its first epoch was over")
    return None


@dataclass(frozen=True)
class ShorterRun:
    """Finished run of the same configuration with fewer epochs.

    Args:
        run_id: MLflow run id.
        epochs: its number of epochs.
        last: checkpoint of its whole state; None where it is gone, or on another machine.
    """

    run_id: str
    epochs: int
    last: Path | None


def find_shorter(store: Store, epochs: Mapping[str, int]) -> ShorterRun | None:
    """Finished run of fewer epochs: one that keeps its state, or else the one of most epochs.

    Args:
        store: tracking store.
        epochs: fewer numbers of epochs, by the result key of each.
    """
    search = f"{kind_filter('run')} and attributes.status = 'FINISHED'"
    found: list[ShorterRun] = []
    for run in search_runs(MlflowClient(store.uri), store.experiment_id, search):
        if (number := epochs.get(run.data.tags.get(schema.RESULT_KEY, ""))) is not None:
            run_dir = run_dir_of(run.data.tags)
            last = None if run_dir is None else run_dir / checkpoint.LAST
            there = last if last is not None and last.is_file() else None
            found.append(ShorterRun(run.info.run_id, number, there))
    return max(found, key=lambda one: (one.last is not None, one.epochs), default=None)


@dataclass(frozen=True)
class FinishedTrial:
    """One seed of a trial that was trained to its end.

    Args:
        run_id: MLflow run id.
        history: metrics of each epoch.
        best_epoch: number of the best epoch, from 1.
        train_seconds: seconds of training.
    """

    run_id: str
    history: list[dict[str, float]]
    best_epoch: int
    train_seconds: float


def find_finished_trial(store: Store, result: str, study: str) -> FinishedTrial | None:
    """Newest finished seed of a trial.

    Args:
        store: tracking store.
        result: result key.
        study: name of the study.

    Returns:
        The seed; None where the study has not trained it to its end.
    """
    client = MlflowClient(store.uri)
    search = f"{kind_filter('trial')} and tags.`{schema.RESULT_KEY}` = '{result}'"
    search += " and attributes.status = 'FINISHED'"
    found = search_runs(client, store.experiment_id, search)
    in_study = (run for run in found if run.data.tags.get(schema.STUDY) == study)
    run = next((run for run in in_study if run.data.metrics.keys() >= set(FINAL_TRIAL)), None)
    if run is None:
        return None
    epochs: dict[int, dict[str, float]] = {}
    for key in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, key):
            epochs.setdefault(point.step, {})[key] = point.value
    metrics = run.data.metrics
    history = [epochs[epoch] for epoch in sorted(epochs)]
    return FinishedTrial(
        run.info.run_id, history, int(metrics[schema.BEST_EPOCH]), metrics[schema.TRAIN_SECONDS]
    )


def _download_checkpoint(client: MlflowClient, run_id: str, folder: Path) -> bool:
    """Whether the store has a checkpoint of a run, which is downloaded to `folder`."""
    name = f"checkpoint/{checkpoint.LAST}"
    if not has_artifact(client, run_id, name):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    # on the file system of the run directory, so that the file can be moved
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        os.replace(client.download_artifacts(run_id, name, scratch), folder / checkpoint.LAST)
    return True
