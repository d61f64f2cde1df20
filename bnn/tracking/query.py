"""Queries of a tracking store: finished runs as plain records, their metrics and their files.

Nothing here writes into a store or makes a database.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from bnn import schema
from bnn.errors import TrackingError, format_error, without_password
from bnn.tracking.failures import STORE_ERRORS
from bnn.tracking.mlflow_adapter import metric_histories
from bnn.tracking.store import SQLITE, tracking_uri

PAGE = 1000
FINISHED = "FINISHED"

History = Mapping[str, Mapping[int, float]]
"""Metrics of one run: key -> epoch -> value."""


@dataclass(frozen=True)
class FinishedRun:
    """Record of one finished run.

    Args:
        run_id: MLflow run id.
        ended: end of the run in milliseconds since 1970.
        params: parameters, as text.
        tags: tags.
        metrics: last value of each metric.
    """

    run_id: str
    ended: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@contextlib.contextmanager
def _reading(uri: str | None) -> Iterator[MlflowClient]:
    """Context manager with a client of a store.

    Raises:
        TrackingError: when the store is missing or cannot be reached.
    """
    uri = tracking_uri(uri, "--uri")
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise TrackingError(
            f"{uri}: no such file; go to the folder that holds mlflow.db, or give --uri"
        )

    try:
        yield MlflowClient(uri)
    except (MlflowException, SQLAlchemyError) as error:
        raise TrackingError(
            f"{without_password(uri)} cannot be read: {format_error(error)}"
        ) from error


def finished_runs(
    uri: str | None, experiment: str, only: Collection[str] = ()
) -> list[FinishedRun]:
    """Finished runs of an experiment, without the parents of sweeps; digests may repeat.

    Args:
        uri: address of the store; None: mlflow.db in the working directory.
        experiment: name of the experiment.
        only: ids of the runs to return, or their first digits; empty: all.

    Raises:
        TrackingError: when the store is missing or cannot be reached, when it has no such
            experiment or no finished run, or for a run in `only` that is not among them.
    """
    with _reading(uri) as client:
        runs = list(search_runs(client, _experiment_id(client, experiment), kind_filter("run")))
    finished = [run for run in runs if run.info.status == FINISHED]
    if not finished:
        found = _counted(Counter(run.info.status.lower() for run in runs)) or "none at all"
        raise TrackingError(
            f"{experiment}: expected a finished run, found {found}; "
            "wait for one, or look at its reason"
        )
    status = {run.info.run_id: run.info.status for run in runs}
    chosen = {_only(status, given, experiment) for given in only}
    return [
        FinishedRun(
            run.info.run_id, run.info.end_time, run.data.params, run.data.tags, run.data.metrics
        )
        for run in finished
        if not only or run.info.run_id in chosen
    ]


def _only(status: Mapping[str, str], given: str, experiment: str) -> str:
    """Id of the one run that begins with some digits, which has to be finished.

    Args:
        status: status of each run of the experiment by id.
        given: the id, or the beginning of one.
        experiment: name of the experiment.
    """
    ids = [run_id for run_id in status if run_id.startswith(given)]
    if len(ids) == 1 and status[ids[0]] == FINISHED:
        return ids[0]
    found = "there is none of this id"
    if ids:
        found = (
            f"it is {status[ids[0]].lower()}"
            if len(ids) == 1
            else f"several begin so: {', '.join(sorted(ids))}"
        )
    raise TrackingError(f"--run {given!r}: expected a finished run of {experiment}, but {found}")


def unfinished(uri: str | None, experiment: str) -> str:
    """Count of the runs of an experiment that are not finished: `1 failed, 2 killed`.

    Args:
        uri: address of the store.
        experiment: name of the experiment.

    Returns:
        The counts as text; empty where there are none.

    Raises:
        TrackingError: when the store cannot be read.
    """
    with _reading(uri) as client:
        search = f"{kind_filter('run')} and attributes.status != '{FINISHED}'"
        runs = search_runs(client, _experiment_id(client, experiment), search)
        return _counted(Counter(run.info.status.lower() for run in runs))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def histories(
    uri: str | None, runs: Sequence[FinishedRun], prefixes: tuple[str, ...]
) -> dict[str, History]:
    """Metrics of runs by epoch; of several values in one epoch the last counts.

    Args:
        uri: address of the store.
        runs: the runs.
        prefixes: beginnings of the metrics' names.

    Returns:
        Histories by run id.

    Raises:
        TrackingError: when the store cannot be read.
    """
    owners: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for key in run.metrics:
            if key.startswith(prefixes):
                owners[key].append(run.run_id)
    points: dict[str, dict[str, list[Metric]]] = defaultdict(lambda: defaultdict(list))
    with _reading(uri) as client:
        for key, ids in owners.items():
            for run_id, metric in metric_histories(client, ids, key):
                points[run_id][key].append(metric)
    return {
        run.run_id: {key: _history(found) for key, found in sorted(points[run.run_id].items())}
        for run in runs
    }


def _history(logged: Sequence[Metric]) -> dict[int, float]:
    points = sorted(logged, key=lambda point: (point.step, point.timestamp))
    # a store keeps an infinite value as the largest number that it has
    return {
        p.step: math.copysign(math.inf, p.value) if abs(p.value) >= sys.float_info.max else p.value
        for p in points
    }


def fetch(uri: str | None, run_id: str, path: str, folder: Path) -> Path | None:
    """Download an artifact of a run.

    Args:
        uri: address of the store.
        run_id: MLflow run id.
        path: path of the artifact.
        folder: where the copy goes.

    Returns:
        Path of the copy; None where the run has no such artifact.

    Raises:
        TrackingError: where it cannot be read, or where its path leads out of `folder`.
    """
    with _reading(uri) as client:
        try:
            if not has_artifact(client, run_id, path):
                return None
            found = Path(client.download_artifacts(run_id, path, str(folder)))
        except STORE_ERRORS as error:
            raise TrackingError(
                f"run {run_id}: {path} cannot be read: {format_error(error)}"
            ) from error
    if not found.resolve().is_relative_to(folder.resolve()):
        raise TrackingError(f"run {run_id}: {path} leads out of the folder that it was to come to")
    return found


def finished_run_id(uri: str | None, given: str) -> str:
    """Id of a finished run, of any experiment, from its first hexadecimal digits.

    Args:
        uri: address of the store.
        given: the id, or the beginning of one.

    Raises:
        TrackingError: where no finished run has it, or several begin with it.
    """
    search = f"attributes.run_id LIKE '{given}%' and attributes.status = '{FINISHED}'"
    with _reading(uri) as client:
        places = [str(one.experiment_id) for one in client.search_experiments()]
        ids = [run.info.run_id for run in client.search_runs(places, search, max_results=3)]
    if len(ids) != 1:
        found = f"several begin so: {', '.join(ids)}" if ids else "there is none of this id"
        raise TrackingError(f"run {given}: expected a finished run, but {found}")
    return str(ids[0])


def kind_filter(kind: str) -> str:
    """Filter string for runs of one kind: `run`, `trial` or `sweep`."""
    return f"tags.`{schema.KIND}` = '{kind}'"


def _experiment_id(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        names = ", ".join(sorted(each.name for each in client.search_experiments())) or "none"
        raise TrackingError(f"experiment {name!r} does not exist; those that do: {names}")
    return str(found.experiment_id)


def has_artifact(client: MlflowClient, run_id: str, path: str) -> bool:
    """Whether a run has an artifact at this path."""
    folder = path.rpartition("/")[0]
    return any(item.path == path for item in client.list_artifacts(run_id, folder))


def search_runs(client: MlflowClient, experiment_id: str, search: str = "") -> Iterator[Run]:
    """Runs of an experiment that match a filter string, the newest first, page by page."""
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            search,
            max_results=PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        yield from page
        if not (token := page.token):
            return
