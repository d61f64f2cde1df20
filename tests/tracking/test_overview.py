"""Descriptions on MLflow's page: of an experiment, of a sweep and of a study."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bnn import schema
from bnn.tracking.description import error_metrics
from bnn.tracking.overview import BEGIN, END, describe_experiment, log_best, relinked
from bnn.tracking.parent import NOTE_LENGTH, close_parent, describe_study
from bnn.tracking.store import Store

ID = "0123456789abcdef0123456789abcdef"
STORE = Store("sqlite:///unused.db", "bnn/digits", "7")
ROW = {"run": "st · both", "accuracy (%)": "97.00", "run id": ID}


class Page(list):
    """Page of a search, the last one."""

    token = None


def stored(**fields: Any) -> SimpleNamespace:
    """Run of a store, with what descriptions read of it."""
    values = {"tags": {}, "metrics": {}, "name": "sweep: a_b=1", "run_id": ID} | fields
    info = SimpleNamespace(run_id=values["run_id"], run_name=values["name"])
    data = SimpleNamespace(tags=values["tags"], metrics=values["metrics"])
    return SimpleNamespace(info=info, data=data)


class Client:
    """MLflow client that keeps what is written in attributes."""

    def __init__(self, note: str = "", runs: tuple = ()) -> None:
        self.note, self.runs, self.files, self.metrics = note, runs, {}, {}

    def get_experiment(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(tags={schema.NOTE: self.note} if self.note else {})

    def search_runs(self, *_, **__) -> Page:
        return Page(self.runs)

    def set_experiment_tag(self, _: str, key: str, value: str) -> None:
        assert key == schema.NOTE
        self.note = value

    def set_tag(self, _: str, key: str, value: str) -> None:
        assert key == schema.NOTE
        self.note = value

    def log_batch(self, _: str, metrics: list) -> None:
        self.metrics = {metric.key: metric.value for metric in metrics}

    def log_text(self, _: str, text: str, path: str) -> None:
        self.files[path] = text

    def log_table(self, _: str, columns: dict, path: str) -> None:
        self.files[path] = columns

    def list_artifacts(self, _: str) -> list:
        return []

    def set_terminated(self, _: str, status: str) -> None:
        self.status = status


SWEEP = stored(
    tags={schema.SORTED_BY: "test/accuracy DESC"},
    metrics={"best/test/accuracy": 0.97, "best/test/error": 3.0},
)


def test_an_experiment_describes_its_sweeps_and_its_metrics() -> None:
    client = Client(runs=(SWEEP,))
    describe_experiment(client, "7")
    first, *_ = client.note.split("\n")
    assert first.startswith(BEGIN) and "Model training" in first
    assert (
        f"[charts](#/experiments/7/runs?workflowType=machine_learning&compareRunsMode=CHART&"
        f"viewStateShareKey={ID})" in first
    )
    assert "- sweep: a\\_b=1: [charts]" in client.note
    assert "best test/error 3 %" in client.note
    assert "`test/error` is in percent" in client.note and client.note.endswith(END)


def test_words_of_a_person_in_the_description_of_an_experiment_are_kept() -> None:
    client = Client("my notes", (SWEEP,))
    describe_experiment(client, "7")
    assert client.note == "my notes"
    client = Client(f"above\n\n{BEGIN} old list {END}\n\nbelow", (SWEEP,))
    describe_experiment(client, "7")
    assert client.note.startswith("above\n\n") and client.note.endswith("\n\nbelow")
    assert "old list" not in client.note and ID in client.note


def test_a_parent_has_the_final_metrics_of_its_best_run_under_keys_of_their_own() -> None:
    client = Client()
    log_best(client, ID, stored(metrics={"test/error": 3.0, "val_best/loss": 0.1, "val/loss": 0.2}))
    assert client.metrics == {"best/test/error": 3.0, "best/val_best/loss": 0.1}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr("bnn.tracking.parent.MlflowClient", lambda _: made)
    return made


def test_the_table_of_a_sweep_has_names_as_links_and_no_ids(client: Client) -> None:
    close_parent(STORE, "parent", "1 run.", "FINISHED", [ROW])
    link = f"#/experiments/7/runs/{ID}?workflowType=machine_learning"
    assert f"| [st · both]({link}) |" in client.note
    assert ID not in client.note.replace(link, "") and "run id" not in client.note
    assert ID in client.files["table.md"] and client.files["table.json"]["run id"] == [ID]
    assert client.status == "FINISHED"


def test_a_job_without_a_run_says_why(client: Client) -> None:
    failed = {**ROW, "run": "st · first", "run id": "ConfigError: no such key"}
    close_parent(STORE, "parent", "2 runs.", "FAILED", [ROW, failed])
    assert "| st · first" in client.note and "ConfigError: no such key" in client.note
    assert "reason" in client.note


def test_a_long_table_is_cut_at_a_row_with_a_note_of_the_rest(client: Client) -> None:
    close_parent(STORE, "parent", "90 runs.", "FINISHED", [ROW] * 90)
    assert len(client.note) < NOTE_LENGTH + 500
    rows = client.note.count("[st · both]")
    assert 10 < rows < 90 and f"{90 - rows} more rows in the artifact table.md" in client.note
    assert client.files["table.md"].count(ID) == 90


def test_commands_of_a_study_break_into_lines_and_its_trials_are_links(client: Client) -> None:
    client.runs = (stored(tags={schema.TRIAL: "3"}),)
    rows = [{"trial": "3", "val/loss": "0.1"}, {"trial": "4", "val/loss": "–"}]
    describe_study(STORE, "parent", "best, trial 3:\n\n    python -m bnn.train a=1", rows, [])
    assert "\n`python -m bnn.train a=1`\n" in client.note and "    python" not in client.note
    assert f"| [3](#/experiments/7/runs/{ID}" in client.note and "| 4 " in client.note


def test_errors_are_percentages_of_what_is_not_accurate() -> None:
    scores = {
        "sampled": {"accuracy": 0.97, "loss": 0.1},
        "mc_mean": {"accuracy": 0.75, "loss": 0.1},
    }
    assert error_metrics(scores) == pytest.approx({"error": 3.0, "error_mc_mean": 25.0})
    assert error_metrics({"sampled": {"loss": 0.1}}) == {}


def test_links_of_a_copy_lead_to_the_copies() -> None:
    text = f"[st](#/experiments/7/runs/{ID}?workflowType=machine_learning) of {ID}"
    copy = "f" * 32
    assert relinked(text, "2", {ID: copy}) == (
        f"[st](#/experiments/2/runs/{copy}?workflowType=machine_learning) of {ID}"
    )
