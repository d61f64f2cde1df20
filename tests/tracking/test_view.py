"""The view that a sweep saves of itself."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest
from command_line import QUICK, client, run_here, runs

from bnn.tracking.view import SHARED


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sweep")
    words = [
        *QUICK,
        "model=mlp",
        "placement=none,both",
        "trainer.epochs=2",
        "tracking.heatmaps=true",
        "trainer.progress=none",
    ]
    assert run_here(folder, "-m", *words).returncode == 0
    return folder


def view(folder: Path) -> tuple[dict, dict]:
    """The view under the parent's id, and the state of the page in it."""
    (parent,) = runs(folder, "sweep")
    saved = json.loads(client(folder).get_experiment(parent.info.experiment_id).tags[SHARED + parent.info.run_id])
    kind, _, packed = saved["state"].partition(";")
    assert kind == "deflate"
    return saved, json.loads(zlib.decompress(base64.b64decode(packed)))


def test_it_is_named_as_the_sweep_and_finds_its_runs_best_first(swept: Path) -> None:
    saved, state = view(swept)
    (parent,) = runs(swept, "sweep")
    store = client(swept)
    assert saved["name"] == parent.info.run_name[:80]
    order = [f"{state['orderByKey']} {'ASC' if state['orderByAsc'] else 'DESC'}"]
    found = store.search_runs([parent.info.experiment_id], state["searchFilter"], order_by=order)
    accuracies = [run.data.metrics["test/accuracy"] for run in found]
    assert len(found) == 2 and accuracies == sorted(accuracies, reverse=True)


def test_every_metric_of_its_runs_is_charted_once_and_every_picture(swept: Path) -> None:
    _, state = view(swept)
    charts, titles = state["compareRunCharts"], {s["uuid"]: s["name"] for s in state["compareRunSections"]}
    assert list(titles.values())[:5] == ["test", "validation", "best validation", "training", "heatmaps"]
    logged = {key for run in runs(swept, "run") for key in run.data.metrics if "/" in key}
    assert sorted(chart["metricKey"] for chart in charts if chart["type"] != "IMAGE") == sorted(logged)
    pictures = [chart for chart in charts if chart["type"] == "IMAGE"]
    assert [chart["imageKeys"] for chart in pictures] == [["heatmap/act1"], ["heatmap/act2"]]
    assert {(chart["step"], chart["showRunParams"]) for chart in pictures} == {(2, False)}, (
        "the last epoch, nothing above it"
    )
    assert {chart["metricSectionId"] for chart in charts} == set(titles)


def test_pictures_begin_before_training(swept: Path) -> None:
    from bnn.tracking.outbox import pictures

    for run in runs(swept, "run"):
        assert {step for _, step in pictures(client(swept), run.info.run_id)} == {0, 1, 2}
