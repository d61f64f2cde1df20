"""The tracking store: where it is, that it is there, and links into its pages."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shlex
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from bnn import schema
from bnn.errors import TrackingError, without_password

SQLITE = "sqlite:///"


def children(parent: str) -> str:
    """A search for the runs nested under `parent`."""
    return f"tags.`{schema.PARENT}` = '{parent}'"


@dataclass(frozen=True)
class Store:
    """A store that answers, and the experiment in it."""

    uri: str
    experiment: str
    experiment_id: str

    def ui_url(self, run_id: str, sweep: bool = False) -> str:
        """How to see a run, or the charts of the runs of a sweep (bnn.tracking.view): the command that shows this store in a
        browser, and the page at the address that it serves by default; of a server the page alone."""
        local = not self.uri.startswith("http")
        server = "http://127.0.0.1:5000" if local else self.uri.rstrip("/")
        page = f"{server}/#/experiments/{self.experiment_id}/runs"
        kind = (
            "workflowType=machine_learning"  # else the page of an experiment begins with its traces
        )
        shown = (
            f"?{kind}&compareRunsMode=CHART&viewStateShareKey={run_id}"
            if sweep
            else f"/{run_id}/model-metrics?{kind}"
        )
        here = Path(self.uri.removeprefix(SQLITE)) == Path.cwd() / "mlflow.db"
        start = (
            ""
            if not local
            else "mlflow ui, then "
            if here
            else f"mlflow ui --backend-store-uri {shlex.quote(without_password(self.uri))}, then "
        )
        return f"{start}{page}{shown}"


def tracking_uri(uri: str | None) -> str:
    """`uri`, or the SQLite file in the working directory that a bare `mlflow ui` opens. Relative SQLite paths are made
    absolute, so that jobs in other directories mean the same file."""
    uri = uri or f"{SQLITE}mlflow.db"
    if uri.startswith(SQLITE):
        path = str(Path(uri.removeprefix(SQLITE)).absolute())
        if found := next((sign for sign in "%?#" if sign in path), None):
            raise TrackingError(
                f"tracking.uri: expected a path without {found!r}, which an address cannot hold, got {path}"
            )
        return f"{SQLITE}{path}"
    if "://" not in uri:
        raise TrackingError(
            f"tracking.uri: expected sqlite:///FILE, http://… or a database address, got {uri!r}"
        )
    return uri


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Within, no other process is at what `path` names; others wait for their turn."""
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make_database(path: Path) -> None:
    """A ready SQLite store at `path`, moved there whole: one that a kill left half made would be broken for good."""

    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    MlflowClient(f"{SQLITE}{part}").search_experiments()
    os.replace(part, path)


def _ask(uri: str, timeout: float) -> None:
    """Errors: OSError where no server answers, or only a proxy in front of it; ValueError for an address that is none."""
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout):
            pass
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
        # else an answer, if only that it wants a password: what follows says so
    except HTTPException as error:
        raise ValueError(str(error)) from error


def answers(uri: str) -> bool:
    """Whether there is a server at `uri`; of a file or a database it is not asked here."""
    try:
        if uri.startswith("http"):
            _ask(uri, timeout=3)
    except (OSError, ValueError):
        return False
    return True


def _check_server(uri: str) -> None:
    if "@" in uri.partition("://")[2].partition("/")[0]:
        raise TrackingError(
            "tracking.uri: expected an address without a name and a password; put them into MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD"
        )
    try:
        _ask(uri, timeout=10)
    except (OSError, ValueError) as error:
        raise TrackingError(
            f"tracking.uri: the MLflow server at {without_password(uri)} does not answer ({error}); start it, or write "
            "tracking.uri=null to track in a local file, whose runs python -m bnn.sync --to ADDRESS brings to a server later"
        ) from error


def open_store(uri: str | None, experiment: str) -> Store:
    """The store at `uri` with `experiment` in it, both made if they are missing.

    Processes that meet a missing database at once take turns: an SQLite file made by several is left broken.
    Errors: TrackingError when the store cannot be reached.
    """

    for name in ("mlflow", "alembic"):  # set after the import, which sets them itself
        logging.getLogger(name).setLevel(logging.ERROR)
    uri = tracking_uri(uri)
    if uri.startswith("http"):
        _check_server(uri)
    local = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
    if local is not None and not local.parent.is_dir():
        raise TrackingError(f"tracking.uri: the folder of {local} does not exist")
    try:
        with locked(local) if local is not None else contextlib.nullcontext():
            if local is not None and not local.exists():
                _make_database(local)
            client = MlflowClient(uri)
            found = client.get_experiment_by_name(experiment)
            if found is not None and found.lifecycle_stage == "deleted":
                raise TrackingError(
                    f"tracking.experiment: {experiment!r} was deleted; restore it or choose another name"
                )
            if found is not None:
                return Store(uri, experiment, found.experiment_id)
            artifacts = str(local.parent / "mlartifacts") if local is not None else None
            try:
                return Store(
                    uri,
                    experiment,
                    client.create_experiment(experiment, artifact_location=artifacts),
                )
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return open_store(
                    uri, experiment
                )  # another process of the team was a moment faster
    except MlflowException as error:
        if "out-of-date database schema" in str(error):
            raise TrackingError(
                f"tracking.uri: {without_password(uri)} was made by another version of MLflow: copy it to be safe, then run "
                f"mlflow db upgrade {without_password(uri)}"
            ) from error
        raise TrackingError(
            f"tracking.uri: {without_password(uri)} cannot be used: {str(error).splitlines()[0]}"
        ) from error
