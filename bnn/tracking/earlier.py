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


def interrupted(store: Store, result: str, what: str, folder: Path) -> Interrupted | None:
    """The newest run of this result that did not finish and left a checkpoint: here, or in the store, and then it is brought
    to `folder`.

    A run that is said to be running is taken for lost where its folder is here and no process holds it.
    Errors: TrackingError for one that is running elsewhere.
    """
    from mlflow import MlflowClient

    client = MlflowClient(store.uri)
    search = f"{kind(what)} and tags.`bnn.result` = '{result}' and attributes.status != 'FINISHED'"
    for run in all_runs(client, store, search):
        home, host = Path(run.data.tags.get("bnn.folder", "")), run.data.tags.get("bnn.host")
        threads = run.data.tags.get("bnn.threads", "")
        if (home / LOCK).is_file():
            with alive(home):
                pass  # nobody trains it
            if (home / checkpoint.LAST).is_file():
                return Interrupted(run.info.run_id, home, threads)
        elif run.info.status == "RUNNING" and host != socket.gethostname():
            raise TrackingError(
                f"run {run.info.run_id} of this configuration is marked RUNNING on {host}: wait for it, or resume there; "
                "if that machine is lost, end the run first (MlflowClient().set_terminated) and repeat this command"
            )
        elif _fetched(client, run.info.run_id, folder):
            return Interrupted(run.info.run_id, folder, threads)
        if run.info.status == "RUNNING":
            client.set_tag(run.info.run_id, "bnn.reason", "lost before its first epoch was over")
            client.set_terminated(run.info.run_id, "KILLED")
    return None


def _fetched(client: MlflowClient, run_id: str, folder: Path) -> bool:
    """Whether the store had the run's checkpoint, which then lies in `folder`."""
    name = f"checkpoint/{checkpoint.LAST}"
    if not any(item.path == name for item in client.list_artifacts(run_id, "checkpoint")):
        return False
    folder.mkdir(parents=True, exist_ok=True)
    os.replace(client.download_artifacts(run_id, name), folder / checkpoint.LAST)
    return True
