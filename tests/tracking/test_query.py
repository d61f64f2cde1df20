"""Queries of a store: histories of many runs, and runs that are not finished."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from bnn.tracking.query import finished_runs, histories, unfinished
from bnn.tracking.store import open_store


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """Store with three runs of two metrics; of one run only the first, and one run failed."""
    store = open_store(f"sqlite:///{tmp_path}/mlflow.db", "some/digits")
    client = MlflowClient(store.uri)
    for number, status in enumerate(("FINISHED", "FINISHED", "FAILED")):
        run_id = client.create_run(store.experiment_id, tags={"bnn.kind": "run"}).info.run_id
        for epoch in (1, 2):
            client.log_metric(run_id, "val/loss", number + epoch / 10, step=epoch)
        client.log_metric(run_id, "val/loss", 9.0 + number, step=2, timestamp=2**41)
        if number:
            client.log_metric(run_id, "units/rate", math.inf, step=1)
        client.set_terminated(run_id, status)
    return store.uri


def test_histories_read_at_once_are_those_of_single_calls(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = finished_runs(uri, "some/digits")
    calls: list[str] = []
    single = SqlAlchemyStore.get_metric_history

    def counted(
        store: SqlAlchemyStore, run_id: str, metric_key: str, *rest: Any, **more: Any
    ) -> Any:
        calls.append(metric_key)
        return single(store, run_id, metric_key, *rest, **more)

    monkeypatch.setattr(SqlAlchemyStore, "get_metric_history", counted)
    at_once = histories(uri, runs, ("val/", "units/"))
    assert not calls, "a database answers for all runs at once"
    monkeypatch.delattr(SqlAlchemyStore, "get_metric_history_bulk")
    assert histories(uri, runs, ("val/", "units/")) == at_once
    assert len(calls) == 3
    (full,) = [found for found in at_once.values() if "units/rate" in found]
    assert full == {"units/rate": {1: math.inf}, "val/loss": {1: 1.1, 2: 10.0}}


def test_runs_that_are_not_finished_are_counted_by_status(uri: str) -> None:
    assert unfinished(uri, "some/digits") == "1 failed"
