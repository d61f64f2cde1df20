"""Earlier runs of the same result: those that finished need not run again, and one that was interrupted can go on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnn.errors import TrackingError
from bnn.tracking.store import Store
from bnn.training import checkpoint

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LOCK = "lock"


def kind(what: str) -> str:
    """A search for runs of one kind: run, trial or sweep."""
    return f"tags.`bnn.kind` = '{what}'"


def outcome(run: Run) -> dict[str, Any]:
    """What the table of a sweep shows of a finished run."""
    metrics = run.data.metrics
    return {
        "accuracy": metrics["test/accuracy"],
        "accuracy_mean": metrics.get("test/accuracy_mean"),
        "loss": metrics["test/loss"],
        "seconds": metrics["seconds/total"],
        "run_id": run.info.run_id,
    }


def finished(store: Store, parent: str | None = None) -> dict[str, dict[str, Any]]:
    """The outcomes of the finished runs of the experiment, or of a parent's, by what determines a result (facts.result)."""
    from mlflow import MlflowClient

    under = f" and tags.`mlflow.parentRunId` = '{parent}'" if parent else ""
    search = f"{kind('run')} and attributes.status = 'FINISHED'{under}"
    found: dict[str, dict[str, Any]] = {}
    for run in all_runs(MlflowClient(store.uri), store, search):
        found.setdefault(run.data.tags.get("bnn.result", ""), outcome(run))
    return found


def all_runs(client: MlflowClient, store: Store, search: str) -> Iterator[Run]:
    """The runs of the experiment that `search` finds, the newest first."""
    token = None
    while True:
        order = ["attributes.start_time DESC"]
        page = client.search_runs([store.experiment_id], search, max_results=1000, order_by=order, page_token=token)
        yield from page
        if not (token := page.token):
            return


@dataclass(frozen=True)
class Interrupted:
    """A run that did not finish, and the folder from which it goes on."""

    run_id: str
    folder: Path
    threads: str


@contextlib.contextmanager
def alive(folder: Path) -> Iterator[None]:
    """Within, this process is the one that trains what lies in `folder`. The lock goes with the process, however it ends.

    Errors: TrackingError where another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise TrackingError(f"another process is training the run in {folder}: wait for it, or end it first") from error
        yield


def interrupted(store: Store, result: str, folder: Path, study: str | None = None) -> Interrupted | None:
    """The newest run of this result that did not finish and left a checkpoint: here, or in the store, and then it is brought
    to `folder`. A run that is said to be running is taken for lost where its folder is here and no process holds it.

    study: look among the trials of this study instead, those left out that were pruned or are being trained.
    Errors: TrackingError for a run that another process trains, here or elsewhere.
    """
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    what = kind("run" if study is None else "trial")
    for run in all_runs(client, store, f"{what} and tags.`bnn.result` = '{result}' and attributes.status != 'FINISHED'"):
        if study is not None and (run.data.tags.get("study") != study or "bnn.pruned" in run.data.tags):
            continue
        try:
            home = _idle(run)
        except TrackingError:
            if study is None:
                raise
            continue
        if home is not None and (home / checkpoint.LAST).is_file():
            return Interrupted(run.info.run_id, home, run.data.tags.get("bnn.threads", ""))
        if home is None and _fetched(client, run.info.run_id, folder):
            return Interrupted(run.info.run_id, folder, run.data.tags.get("bnn.threads", ""))
        if run.info.status == "RUNNING":
            client.set_tag(run.info.run_id, "bnn.reason", "lost before its first epoch was over")
            client.set_terminated(run.info.run_id, "KILLED")
    return None


def _idle(run: Run) -> Path | None:
    """The folder of a run that nobody trains; None where it is not on this machine. Errors: TrackingError."""
    home, host = Path(run.data.tags.get("bnn.folder", "")), run.data.tags.get("bnn.host")
    if (home / LOCK).is_file():
        with alive(home):
            return home
    if run.info.status == "RUNNING" and host != socket.gethostname():
        raise TrackingError(
            f"run {run.info.run_id} of this configuration is marked RUNNING on {host}: wait for it, or resume there; "
            "if that machine is lost, end the run first (MlflowClient().set_terminated) and repeat this command"
        )
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
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    search = f"{kind('trial')} and tags.`bnn.result` = '{result}' and attributes.status = 'FINISHED'"
    run = next((run for run in all_runs(client, store, search) if run.data.tags.get("study") == study), None)
    if run is None:
        return None
    epochs: dict[int, dict[str, float]] = {}
    for key in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, key):
            epochs.setdefault(point.step, {})[key] = point.value
    metrics = run.data.metrics
    history = [epochs[epoch] for epoch in sorted(epochs)]
    return FinishedTrial(run.info.run_id, history, int(metrics["best_epoch"]), metrics["seconds/train"])


def _fetched(client: MlflowClient, run_id: str, folder: Path) -> bool:
    """Whether the store had the run's checkpoint, which then lies in `folder`."""
    name = f"checkpoint/{checkpoint.LAST}"
    if not any(item.path == name for item in client.list_artifacts(run_id, "checkpoint")):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    os.replace(client.download_artifacts(run_id, name), folder / checkpoint.LAST)
    return True
