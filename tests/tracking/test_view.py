"""The view that a sweep saves of itself."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

import pytest
from support.command_line import QUICK, client, run_here, runs

from bnn.tracking.mlflow_adapter import SHARED_VIEW

pytestmark = pytest.mark.integration


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
    saved = json.loads(
        client(folder)
        .get_experiment(parent.info.experiment_id)
        .tags[SHARED_VIEW + parent.info.run_id]
    )
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
    charts, titles = (
        state["compareRunCharts"],
        {s["uuid"]: s["name"] for s in state["compareRunSections"]},
    )
    assert list(titles.values())[:5] == [
        "test",
        "validation",
        "best validation",
        "training",
        "heatmaps",
    ]
    logged = {key for run in runs(swept, "run") for key in run.data.metrics if "/" in key}
    assert sorted(chart["metricKey"] for chart in charts if chart["type"] != "IMAGE") == sorted(
        logged
    )
    logged_images = [chart for chart in charts if chart["type"] == "IMAGE"]
    assert [chart["imageKeys"] for chart in logged_images] == [["heatmap/act1"], ["heatmap/act2"]]
    assert {(chart["step"], chart["showRunParams"]) for chart in logged_images} == {(2, False)}, (
        "the last epoch, nothing above it"
    )
    assert {chart["metricSectionId"] for chart in charts} == set(titles)


def test_pictures_begin_before_training(swept: Path) -> None:
    from bnn.tracking.calls import logged_images

    for run in runs(swept, "run"):
        assert {step for _, step in logged_images(client(swept), run.info.run_id)} == {0, 1, 2}


def test_pictures_begin_with_a_step_that_every_run_has_and_resumed_runs_belong_to_it(
    tmp_path: Path,
) -> None:
    words = [*QUICK, "model=mlp", "tracking.heatmaps=true", "trainer.progress=none"]
    assert run_here(tmp_path, "-m", *words, "trainer.epochs=2,1").returncode == 0
    _, state = view(tmp_path)
    assert {chart["step"] for chart in state["compareRunCharts"] if chart["type"] == "IMAGE"} == {1}
    (first,) = runs(tmp_path, "sweep")
    client(tmp_path).set_tag(first.info.run_id, "bnn.result_key", "of other cells")
    assert run_here(tmp_path, "-m", *words, "trainer.epochs=2,1,3", "resume=true").returncode == 0
    second = runs(tmp_path, "sweep")[1]
    saved = json.loads(
        client(tmp_path)
        .get_experiment(first.info.experiment_id)
        .tags[SHARED_VIEW + second.info.run_id]
    )
    state = json.loads(zlib.decompress(base64.b64decode(saved["state"].partition(";")[2])))
    found = client(tmp_path).search_runs([first.info.experiment_id], state["searchFilter"])
    assert {run.data.params["trainer.epochs"] for run in found} == {"1", "2", "3"}


def test_a_view_that_cannot_be_saved_costs_the_sweep_nothing_else(
    tmp_path: Path, monkeypatch
) -> None:
    def fails(*_, **__) -> None:
        raise OSError("no such place")

    monkeypatch.setattr("bnn.tracking.view.logged_images", fails)
    result = run_here(tmp_path, "-m", *QUICK, "model=mlp", "seed=0,1", "trainer.progress=none")
    (parent,) = runs(tmp_path, "sweep")
    assert result.returncode == 0 and "the view of the sweep is not recorded" in result.stderr
    assert (
        parent.info.status == "FINISHED" and "accuracy" in parent.data.tags["mlflow.note.content"]
    )
