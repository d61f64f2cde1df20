"""Reading the store back: the finished runs of an experiment as plain records. It writes nothing and makes no database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnn.errors import TrackingError
from bnn.tracking.store import SQLITE, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PAGE = 1000


@dataclass(frozen=True)
class FinishedRun:
    """What one finished run left: the last value of each metric, parameters as text. `ended` is in milliseconds."""

    run_id: str
    ended: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


def finished_runs(uri: str | None, experiment: str) -> list[FinishedRun]:
    """Every finished run of `experiment`, without the parents of sweeps; the same digest may come several times.

    Errors: TrackingError when the store is missing or unreachable, when it has no such experiment, or no finished run.
    """
    uri = tracking_uri(uri)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise TrackingError(f"{uri}: no such file; go to the folder that holds mlflow.db, or give --uri")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        client = MlflowClient(uri)
        runs = list(_runs(client, _experiment_id(client, experiment)))
    except (MlflowException, SQLAlchemyError) as error:
        raise TrackingError(f"{uri} cannot be read: {str(error).splitlines()[0]}") from error
    finished = [run for run in runs if run.info.status == "FINISHED"]
    if not finished:
        counts = Counter(run.info.status.lower() for run in runs)
        found = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "none at all"
        raise TrackingError(f"{experiment}: expected a finished run, found {found}; wait for one, or look at its reason")
    return [
        FinishedRun(run.info.run_id, run.info.end_time, run.data.params, run.data.tags, run.data.metrics) for run in finished
    ]


def _experiment_id(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        names = ", ".join(sorted(each.name for each in client.search_experiments())) or "none"
        raise TrackingError(f"experiment {name!r} does not exist; those that do: {names}")
    return str(found.experiment_id)


def _runs(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment_id], "tags.`bnn.kind` = 'run'", max_results=PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
