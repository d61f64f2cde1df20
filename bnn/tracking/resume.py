"""Earlier runs of the same result: those that finished need not run again, and one that was interrupted can go on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from bnn import schema
from bnn.errors import TrackingError
from bnn.tracking.outbox import FOLDER, Outbox
from bnn.tracking.query import of_kind, search_runs
from bnn.tracking.run_dir import lock_run_dir, run_dir_of
from bnn.tracking.store import Store, children
from bnn.training import checkpoint

FINAL = (schema.TEST + "loss", schema.TOTAL_SECONDS)
FINAL_TRIAL = (schema.BEST_EPOCH, schema.TRAIN_SECONDS)
"""What a run that is called finished has to have: the status alone can be set by hand."""


def outcome(run: Run) -> dict[str, Any]:
    """What the table of a sweep shows of a finished run."""
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


def finished(
    store: Store, result: str | None = None, parent: str | None = None
) -> dict[str, dict[str, Any]]:
    """The outcomes of the finished runs of the experiment by what determines a result (bnn.config.provenance.result): all, those of one
    result, or those of a parent."""

    search = f"{of_kind('run')} and attributes.status = 'FINISHED'"
    search += f" and tags.`{schema.RESULT_KEY}` = '{result}'" if result else ""
    search += f" and {children(parent)}" if parent else ""
    found: dict[str, dict[str, Any]] = {}
    for run in search_runs(MlflowClient(store.uri), store.experiment_id, search):
        if run.data.metrics.keys() >= set(FINAL):
            found.setdefault(run.data.tags.get(schema.RESULT_KEY, ""), outcome(run))
    return found


def other_versions_note(store: Store, results: Mapping[str, str]) -> str | None:
    """Note on runs of the same configurations that another source of this program made, and that are not gone on with.

    Args:
        store: where they are looked for.
        results: `bnn.config.provenance.result` by the digest of each configuration.

    Returns:
        One line that names the commits, or None where there are no such runs.
    """

    commits: dict[str, int] = {}
    for run in search_runs(MlflowClient(store.uri), store.experiment_id, of_kind("run")):
        tags = run.data.tags
        if (
            tags.get(schema.DIGEST) in results
            and tags.get(schema.RESULT_KEY) != results[tags[schema.DIGEST]]
        ):
            commits[tags.get(schema.COMMIT, "unknown")] = (
                commits.get(tags.get(schema.COMMIT, "unknown"), 0) + 1
            )
    if not commits:
        return None
    return (
        f"note: {sum(commits.values())} earlier runs of these configurations are of another source of bnn (commit "
        f"{', '.join(sorted(commits))}): they are trained anew; to go on with those, check that commit out"
    )


@dataclass(frozen=True)
class Interrupted:
    """A run that did not finish, and the folder from which it goes on."""

    run_id: str
    folder: Path
    threads: str


def flush_pending(store: Store, result: str) -> None:
    """Deliver what runs of this result that are not finished in the store kept for it here.

    Errors: TrackingError where the store does not take it.
    """

    client = MlflowClient(store.uri)
    for run in search_runs(
        client,
        store.experiment_id,
        f"tags.`{schema.RESULT_KEY}` = '{result}' and attributes.status != 'FINISHED'",
    ):
        home = run_dir_of(run.data.tags)
        if home is not None and (home / FOLDER).is_dir():
            with lock_run_dir(home):
                outbox = Outbox(client, run.info.run_id, home)
                outbox.flush()
                if outbox:
                    raise TrackingError(
                        f"the store does not take what waits for run {run.info.run_id} in {home}"
                    )


def interrupted(
    store: Store, result: str, folder: Path, study: str | None = None
) -> Interrupted | None:
    """The newest run of this result that did not finish and left a checkpoint: here, or in the store, and then it is brought
    to `folder`. A run that is said to be running is taken for lost where its folder is here and no process holds it.

    study: look among the trials of this study instead, those left out that were pruned or are being trained.
    Errors: TrackingError for a run that another process trains, here or elsewhere.
    """

    client = MlflowClient(store.uri)
    what = of_kind("run" if study is None else "trial")
    for run in search_runs(
        client,
        store.experiment_id,
        f"{what} and tags.`{schema.RESULT_KEY}` = '{result}' and attributes.status != 'FINISHED'",
    ):
        tags, run_id = run.data.tags, run.info.run_id
        if schema.ORIGIN in tags or (
            study is not None and (tags.get(schema.STUDY) != study or schema.PRUNED in tags)
        ):
            continue
        home, threads = run_dir_of(tags), tags.get(schema.THREADS, "")
        if home is not None:
            try:
                with lock_run_dir(home):
                    if (home / checkpoint.LAST).is_file():
                        return Interrupted(run_id, home, threads)
            except TrackingError:
                if study is None:
                    raise
                continue
        elif run.info.status == "RUNNING" and study is None:
            raise TrackingError(
                f"run {run_id} of this configuration is marked RUNNING on {tags.get(schema.HOST)}, in "
                f"{tags.get(schema.RUN_DIR)}: wait for it, or resume there; "
                f'if it is lost, MlflowClient().set_terminated("{run_id}", "KILLED"), and repeat this command'
            )
        elif run.info.status != "RUNNING" and _fetched(client, run_id, folder):
            return Interrupted(run_id, folder, threads)
        if run.info.status == "RUNNING" and home is not None:
            client.set_tag(run_id, schema.REASON, "lost before its first epoch was over")
            client.set_terminated(run_id, "KILLED")
    return None


@dataclass(frozen=True)
class FinishedTrial:
    """One seed of a trial that was trained to its end: its metrics, epoch by epoch."""

    run_id: str
    history: list[dict[str, float]]
    best_epoch: int
    train_seconds: float


def finished_trial(store: Store, result: str, study: str) -> FinishedTrial | None:
    """The newest of this result in the study."""

    client = MlflowClient(store.uri)
    search = f"{of_kind('trial')} and tags.`{schema.RESULT_KEY}` = '{result}' and attributes.status = 'FINISHED'"
    of_study = (
        run
        for run in search_runs(client, store.experiment_id, search)
        if run.data.tags.get(schema.STUDY) == study
    )
    run = next((run for run in of_study if run.data.metrics.keys() >= set(FINAL_TRIAL)), None)
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


def _fetched(client: MlflowClient, run_id: str, folder: Path) -> bool:
    """Whether the store had the run's checkpoint, which then lies in `folder`."""
    name = f"checkpoint/{checkpoint.LAST}"
    if not any(item.path == name for item in client.list_artifacts(run_id, "checkpoint")):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        dir=folder
    ) as scratch:  # on the same file system, so that it can be moved
        os.replace(client.download_artifacts(run_id, name, scratch), folder / checkpoint.LAST)
    return True
