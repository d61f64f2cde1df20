"""Reading the store back: the finished runs of an experiment as plain records, their metrics by epoch, and their files. It
writes nothing into a store and makes no database."""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from bnn import schema
from bnn.errors import TrackingError, format_error, without_password
from bnn.tracking.failures import STORE_ERRORS
from bnn.tracking.store import SQLITE, tracking_uri

PAGE = 1000
FINISHED = "FINISHED"

History = Mapping[str, Mapping[int, float]]
"""The metrics of one run by epoch: key -> epoch -> value."""


@dataclass(frozen=True)
class FinishedRun:
    """What one finished run left: the last value of each metric, parameters as text. `ended` is in milliseconds."""

    run_id: str
    ended: int
    params: Mapping[str, str]
    tags: Mapping[str, str]
    metrics: Mapping[str, float]


@contextlib.contextmanager
def _reading(uri: str | None) -> Iterator[MlflowClient]:
    """A client of the store. Errors: TrackingError when it is missing or unreachable."""
    uri = tracking_uri(uri)
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise TrackingError(
            f"{uri}: no such file; go to the folder that holds mlflow.db, or give --uri"
        )

    try:
        yield MlflowClient(uri)
    except (MlflowException, SQLAlchemyError) as error:
        raise TrackingError(
            f"{without_password(uri)} cannot be read: {str(error).splitlines()[0]}"
        ) from error


def finished_runs(
    uri: str | None, experiment: str, only: Collection[str] = ()
) -> list[FinishedRun]:
    """Every finished run of `experiment`, without the parents of sweeps; the same digest may come several times. Where
    `only` names runs, these alone.

    Errors: TrackingError when the store is missing or unreachable, when it has no such experiment, or no finished run, or
    for a run in `only` that is not among them.
    """
    with _reading(uri) as client:
        runs = list(search_runs(client, _experiment_id(client, experiment), of_kind("run")))
    finished = [run for run in runs if run.info.status == FINISHED]
    if not finished:
        found = _counted(Counter(run.info.status.lower() for run in runs)) or "none at all"
        raise TrackingError(
            f"{experiment}: expected a finished run, found {found}; wait for one, or look at its reason"
        )
    status = {run.info.run_id: run.info.status for run in runs}
    for run_id in only:
        if status.get(run_id) != FINISHED:
            found = (
                f"it is {status[run_id].lower()}"
                if run_id in status
                else "there is none of this id"
            )
            raise TrackingError(
                f"--run {run_id!r}: expected a finished run of {experiment}, but {found}"
            )
    return [
        FinishedRun(
            run.info.run_id, run.info.end_time, run.data.params, run.data.tags, run.data.metrics
        )
        for run in finished
        if not only or run.info.run_id in only
    ]


def unfinished(uri: str | None, experiment: str) -> str:
    """The other runs of `experiment`, counted: `1 failed, 2 killed`; empty where there are none. Errors: TrackingError."""
    with _reading(uri) as client:
        runs = list(search_runs(client, _experiment_id(client, experiment), of_kind("run")))
    return _counted(Counter(run.info.status.lower() for run in runs if run.info.status != FINISHED))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def histories(
    uri: str | None, runs: Iterable[FinishedRun], prefixes: tuple[str, ...]
) -> dict[str, History]:
    """Of each run by its id, every metric that begins with one of `prefixes`, by epoch; of several values in one epoch the
    last stands. Errors: TrackingError when the store cannot be read."""
    with _reading(uri) as client:
        return {
            run.run_id: {
                key: _history(client, run.run_id, key)
                for key in sorted(run.metrics)
                if key.startswith(prefixes)
            }
            for run in runs
        }


def _history(client: MlflowClient, run_id: str, key: str) -> dict[int, float]:
    points = sorted(
        client.get_metric_history(run_id, key), key=lambda point: (point.step, point.timestamp)
    )
    # a store keeps an infinite value as the largest number that it has
    return {
        p.step: math.copysign(math.inf, p.value) if abs(p.value) >= sys.float_info.max else p.value
        for p in points
    }


def fetch(uri: str | None, run_id: str, path: str, folder: Path) -> Path | None:
    """A copy, below `folder`, of the file that a run keeps at `path`; None where it keeps none.

    Errors: TrackingError where it cannot be read, or where what the store calls it leads out of `folder`.
    """

    with _reading(uri) as client:
        try:
            if not any(
                item.path == path for item in client.list_artifacts(run_id, path.rpartition("/")[0])
            ):
                return None
            found = Path(client.download_artifacts(run_id, path, str(folder)))
        except STORE_ERRORS as error:
            raise TrackingError(
                f"run {run_id}: {path} cannot be read: {format_error(error)}"
            ) from error
    if not found.resolve().is_relative_to(folder.resolve()):
        raise TrackingError(f"run {run_id}: {path} leads out of the folder that it was to come to")
    return found


def of_kind(kind: str) -> str:
    """Filter string for runs of one kind: `run`, `trial` or `sweep`."""
    return f"tags.`{schema.KIND}` = '{kind}'"


def _experiment_id(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage == "deleted":
        names = ", ".join(sorted(each.name for each in client.search_experiments())) or "none"
        raise TrackingError(f"experiment {name!r} does not exist; those that do: {names}")
    return str(found.experiment_id)


def search_runs(client: MlflowClient, experiment_id: str, search: str = "") -> Iterator[Run]:
    """All runs of an experiment that a filter string finds, the newest first, page by page."""
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
