"""Tracking store: its address, a check that it can be used, and links into its pages."""

from __future__ import annotations

import glob
import logging
import os
import shlex
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from bnn import schema
from bnn.errors import BnnError, TrackingError, without_password
from bnn.tracking.database import check_file, check_server, connect, database_message, file_lock
from bnn.tracking.failures import STORE_ERRORS, announced, describe
from bnn.tracking.mlflow_adapter import close_connections

SQLITE = "sqlite:///"
ANSWER_SECONDS = 10.0
"""Time within which a tracking server has to answer before anything is trained."""
KEY = "tracking.uri"
"""Setting of a run that names its store."""
DATABASES = ("postgresql", "mysql", "mssql")
"""Schemes of the database servers that MLflow takes as a store."""


def children_filter(parent: str) -> str:
    """Filter string for the runs nested under a parent run."""
    return f"tags.`{schema.PARENT}` = '{parent}'"


@dataclass(frozen=True)
class Store:
    """Tracking store that has been reached, and an experiment in it.

    Args:
        uri: address, as MLflow takes it.
        experiment: name of the experiment.
        experiment_id: its id.
    """

    uri: str
    experiment: str
    experiment_id: str

    def ui_url(self, run_id: str, sweep: bool = False) -> str:
        """Address of a run in MLflow's UI; for a local store also the command that starts the UI.

        Args:
            run_id: run, or parent of a sweep.
            sweep: whether to open the saved view of this id (`bnn.tracking.view`), of a sweep's
                runs or of a single run.
        """
        local = not self.uri.startswith("http")
        server = "http://127.0.0.1:5000" if local else self.uri.rstrip("/")
        page = f"{server}/#/experiments/{self.experiment_id}/runs"
        kind = "workflowType=machine_learning"  # else an experiment's page begins with traces
        if sweep:
            page += f"?{kind}&compareRunsMode=CHART&viewStateShareKey={run_id}"
        else:
            page += f"/{run_id}/model-metrics?{kind}"
        if not local:
            return page
        if Path(self.uri.removeprefix(SQLITE)) == Path.cwd() / "mlflow.db":
            return f"mlflow ui, then {page}"
        address = shlex.quote(without_password(self.uri))
        return f"mlflow ui --backend-store-uri {address}, then {page}"


def tracking_uri(uri: str | None, key: str = KEY) -> str:
    """Address of a tracking store, with SQLite paths made absolute for jobs in other directories.

    Args:
        uri: address; None: mlflow.db in the working directory, which a bare `mlflow ui` opens.
        key: setting that names the store, for messages.

    Raises:
        TrackingError: for what MLflow does not take as an address.
    """
    uri = uri or f"{SQLITE}mlflow.db"
    if uri.startswith(SQLITE):
        path = str(Path(uri.removeprefix(SQLITE)).absolute())
        if found := next((sign for sign in "%?#" if sign in path), None):
            raise TrackingError(
                f"{key}: expected a path without {found!r}, which an address cannot hold, "
                f"got {path}"
            )
        return f"{SQLITE}{path}"
    if "://" not in uri:
        raise TrackingError(
            f"{key}: expected sqlite:///FILE, http://… or a database address, got {uri!r}"
        )
    return uri


def _make_database(path: Path) -> None:
    """Make an SQLite store, moved to `path` when complete: a half-made one would stay broken."""
    for left in path.parent.glob(
        f"{glob.escape(path.name)}.*.part"
    ):  # of a process that was killed
        left.unlink()
    # MLflow makes the tables of an address once a process, even where the file is gone by then
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        client = MlflowClient(f"{SQLITE}{part}")
        client.search_experiments()
        client.delete_experiment("0")  # MLflow's own "Default", which is empty: it is a moment old
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _ask(uri: str, timeout: float) -> None:
    """Request to the health endpoint of a server.

    Raises:
        OSError: where no server responds, or only the proxy in front of it.
        ValueError: for a malformed address.
    """
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=timeout):
            pass
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise
        # else a response, if only that it wants a password: the calls that follow report that
    except HTTPException as error:
        raise ValueError(str(error)) from error


def is_reachable(uri: str) -> bool:
    """Whether a server, or a database server, responds at an address; True for a file."""
    try:
        if uri.startswith("http"):
            _ask(uri, timeout=3)
        elif uri.startswith(DATABASES):
            connect(uri)
    except (OSError, ValueError, ImportError, SQLAlchemyError):
        return False
    return True


def configure_client() -> None:
    """Leave the errors of MLflow's client to those who catch them, and long waits to the outbox."""
    for name in ("mlflow", "alembic"):  # set after the import, which sets them itself
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # 12 seconds; the client's default of 7 attempts takes four minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")


def _check_server(uri: str, key: str) -> None:
    if "@" in uri.partition("://")[2].partition("/")[0]:
        raise TrackingError(
            f"{key}: expected an address without a name and a password; put them into "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    try:
        _ask(uri, timeout=ANSWER_SECONDS)
    except (OSError, ValueError) as error:
        instead = (
            f", or write {KEY}=null to track in a local file, whose runs python -m bnn.sync --to "
            "ADDRESS brings to a server later"
        )
        raise TrackingError(
            f"{key}: the MLflow server at {without_password(uri)} does not answer ({error}); "
            f"start it{instead if key == KEY else ''}"
        ) from error


def open_store(uri: str | None, experiment: str, key: str = KEY) -> Store:
    """Open a tracking store and an experiment in it; both are made if they are missing.

    A lock serializes the processes that find an SQLite file missing: made by several, it would be
    broken.

    Args:
        uri: address of the store; None: mlflow.db in the working directory.
        experiment: name of the experiment.
        key: setting that names the store, for messages.

    Raises:
        TrackingError: when the store cannot be reached or used.
    """
    configure_client()
    uri = tracking_uri(uri, key)
    address = without_password(uri)
    try:
        with announced(address):
            if uri.startswith(SQLITE):
                return _open_file(uri, experiment, key)
            if uri.startswith("http"):
                _check_server(uri, key)
            elif uri.startswith(DATABASES):
                check_server(uri, key)
            return Store(uri, experiment, _experiment_id(uri, experiment, None, key))
    except BnnError:
        raise
    except STORE_ERRORS as error:
        if "out-of-date database schema" in str(error):
            raise TrackingError(
                f"{key}: {address} was made by another version of MLflow: copy it to be "
                f"safe, then run mlflow db upgrade {address}"
            ) from error
        raise TrackingError(f"{key}: {address} cannot be used: {_message(error)}") from error


def _open_file(uri: str, experiment: str, key: str) -> Store:
    """Open an SQLite store."""
    file = Path(uri.removeprefix(SQLITE))
    if not file.parent.is_dir():
        raise TrackingError(f"{key}: the folder of {file} does not exist")
    check_file(file, key)
    with file_lock(file, key):
        if not file.exists():
            _make_database(file)
        close_connections(MlflowClient(uri))  # to a file that was here before, if any
        artifacts = str(file.parent / "mlartifacts")
        return Store(uri, experiment, _experiment_id(uri, experiment, artifacts, key))


def _message(error: Exception) -> str:
    """Error of a store in one line."""
    if isinstance(error, MlflowException) and error.__cause__ is None:
        return describe(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return database_message(error)


def _experiment_id(uri: str, name: str, artifacts: str | None, key: str) -> str:
    """Id of an experiment, which is made if it is missing.

    Args:
        uri: address of the store.
        name: name of the experiment.
        artifacts: where a new experiment keeps its artifacts; None: the server's own place.
        key: setting that names the store, for messages.
    """
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, artifact_location=artifacts))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return _experiment_id(uri, name, artifacts, key)  # another process was faster
    if found.name != name:  # such as an empty page of a proxy, which MLflow's client takes
        raise TrackingError(
            f"{key}: {without_password(uri)} answers, but not as an MLflow server does"
        )
    if found.lifecycle_stage == "deleted":
        raise TrackingError(
            f"tracking.experiment: {name!r} was deleted; restore it or choose another name"
        )
    return str(found.experiment_id)
