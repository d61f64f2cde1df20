"""Evidence that a store has a run, and what was logged in it, before records of it are deleted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from bnn.errors import TrackingError, without_password
from bnn.tracking.calls import Record, logged_images
from bnn.tracking.failures import NO_SUCH, answer_code
from bnn.tracking.mlflow_adapter import close_connections
from bnn.tracking.store import SQLITE, is_reachable

LATER = "python -m bnn.sync delivers them when the store responds again"


class UndeliverableError(TrackingError):
    """Store that cannot take the records of a run.

    Args:
        reason: what is wrong, with the address of the store.
        remedy: what delivers the records.
    """

    def __init__(self, reason: str, remedy: str = LATER) -> None:
        super().__init__(reason)
        self.remedy = remedy


def store_address(client: MlflowClient) -> str:
    """Address of a client's store without its password."""
    return without_password(str(client.tracking_uri))


def find_run(client: MlflowClient, run_id: str) -> Run:
    """Run in a store, which answers for itself.

    Args:
        client: client of the tracking store.
        run_id: MLflow run id.

    Raises:
        UndeliverableError: where the store does not answer as MLflow does, or has no such run, or
            where the run was deleted.
        MlflowException: for another error of the store.
    """
    address = store_address(client)
    if address.startswith(SQLITE):
        if not Path(address.removeprefix(SQLITE)).is_file():
            raise UndeliverableError(f"{address}: no such file")
        close_connections(client)  # they would read a file that was replaced by another
    elif not is_reachable(str(client.tracking_uri)):
        raise UndeliverableError(f"{address} does not answer")
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if answer_code(error) != NO_SUCH:
            raise
        raise UndeliverableError(
            f"{address} has no run {run_id}",
            "python -m bnn.sync delivers them once it has, and python -m bnn.sync --to ADDRESS to "
            "another store that has it",
        ) from error
    if run.info.run_id != run_id:
        raise UndeliverableError(f"{address} answers, but not as MLflow does")
    if run.info.lifecycle_stage == "deleted":
        raise UndeliverableError(
            f"run {run_id} was deleted in {address}",
            "restore it, and python -m bnn.sync delivers them; or delete that folder",
        )
    return run


def count_missing(client: MlflowClient, run: Run, records: Sequence[Record]) -> int:
    """Number of records of which the store shows nothing in the run.

    Args:
        client: client of the tracking store.
        run: the run, read after the records were delivered.
        records: records that were delivered.
    """
    calls = {record["call"] for record in records}
    removed = {record["values"]["path"] for record in records if record["call"] == "remove"}
    paths = {record["values"]["path"] for record in records if record["call"] == "file"}
    files = _files(client, run.info.run_id, paths) | removed
    images = logged_images(client, run.info.run_id) if "image" in calls else set()
    shown = {
        "metrics": lambda values: values["metrics"].keys() <= run.data.metrics.keys(),
        "params": lambda values: values["params"].keys() <= run.data.params.keys(),
        "tag": lambda values: values["key"] in run.data.tags,
        "dataset": lambda values: bool(run.inputs and run.inputs.dataset_inputs),
        "model": lambda values: bool(run.outputs and run.outputs.model_outputs),
        "image": lambda values: (values["key"], values["step"]) in images,
        "file": lambda values: values["path"] in files,
        "remove": lambda values: True,
        "end": lambda values: run.info.end_time is not None,
    }
    return sum(not shown[record["call"]](record["values"]) for record in records)


def _files(client: MlflowClient, run_id: str, paths: set[str]) -> set[str]:
    """Artifacts of a run in the folders of these paths."""
    folders = {path.rpartition("/")[0] for path in paths}
    return {
        item.path
        for folder in sorted(folders)
        for item in client.list_artifacts(run_id, folder or None)
    }
