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
    assert run_here(folder, "-m", *words, drawn=True).returncode == 0
    return folder


def view(folder: Path, run=None) -> tuple[dict, dict]:
    """The view under the id of a run, or of the only parent, and the state of the page in it."""
    (run,) = [run] if run is not None else runs(folder, "sweep")
    saved = json.loads(
        client(folder).get_experiment(run.info.experiment_id).tags[SHARED_VIEW + run.info.run_id]
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


@pytest.mark.slow
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


def test_the_first_chart_is_the_error_in_percent(swept: Path) -> None:
    _, state = view(swept)
    assert state["compareRunCharts"][0]["metricKey"] == "test/error"
    for run in runs(swept, "run"):
        metrics = run.data.metrics
        assert metrics["test/error"] == pytest.approx(100 * (1 - metrics["test/accuracy"]))


def test_what_a_person_filters_by_is_a_column_and_stands_first_among_the_tags(swept: Path) -> None:
    names = ["dataset", "neuron", "estimator", "placement", "anneal"]  # all weights are real
    _, state = view(swept)
    assert state["selectedColumns"] == [
        *(f"tags.`{name}`" for name in names),
        "params.`seed`",
        *(f"metrics.`test/{name}`" for name in ("error", "accuracy", "loss")),
    ]
    for run in runs(swept, "run"):
        shown = [tag for tag in run.data.tags if not tag.startswith("mlflow.")]
        assert [tag for tag in shown[:6] if tag != "weights"] == names


def test_a_parent_has_the_figures_of_its_best_run_and_links_to_all(swept: Path) -> None:
    (parent,) = runs(swept, "sweep")
    best = max(runs(swept, "run"), key=lambda run: run.data.metrics["test/accuracy"])
    final = {k: v for k, v in best.data.metrics.items() if k.startswith(("test/", "val_best/"))}
    assert parent.data.metrics == {f"best/{key}": value for key, value in final.items()}
    note = parent.data.tags["mlflow.note.content"]
    for run in runs(swept, "run"):
        link = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}?"
        assert f"[{run.info.run_name}]({link}" in note


def test_the_experiment_is_the_only_one_and_describes_its_sweep(swept: Path) -> None:
    (parent,) = runs(swept, "sweep")
    (experiment,) = client(swept).search_experiments()
    assert experiment.name == "bnn/digits"
    note = experiment.tags["mlflow.note.content"]
    assert f"viewStateShareKey={parent.info.run_id}" in note and "best test/error" in note


def test_pictures_are_previewed_large_enough_to_read(swept: Path) -> None:
    from PIL import Image

    run = runs(swept, "run")[0]
    store = client(swept)
    paths = [item.path for item in store.list_artifacts(run.info.run_id, "images")]
    previews = [path for path in paths if path.endswith("+compressed.webp")]
    assert 2 * len(previews) == len(paths)
    with Image.open(store.download_artifacts(run.info.run_id, previews[0])) as picture:
        assert picture.width == 512


def test_a_store_that_was_there_before_keeps_its_experiments(tmp_path: Path) -> None:
    client(tmp_path).search_experiments()  # made by MLflow itself
    assert run_here(tmp_path, *QUICK, "model=mlp", "trainer.progress=none").returncode == 0
    names = {experiment.name for experiment in client(tmp_path).search_experiments()}
    assert names == {"Default", "bnn/digits"}


def test_a_run_that_is_started_alone_has_a_view_that_begins_with_its_pictures(
    tmp_path: Path,
) -> None:
    words = [*QUICK, "model=mlp", "tracking.heatmaps=true", "tracking.model=true"]
    result = run_here(tmp_path, *words, "trainer.progress=none")
    (run,) = runs(tmp_path, "run")
    assert f"compareRunsMode=CHART&viewStateShareKey={run.info.run_id}" in result.stdout
    assert f"model models:/{run.outputs.model_outputs[0].model_id}" in result.stdout
    saved, state = view(tmp_path, run)
    assert saved["name"] == f"run: {run.info.run_name}"
    assert state["compareRunSections"][0]["name"] == "heatmaps"
    assert state["compareRunCharts"][0]["imageKeys"] == ["heatmap/act1"]
    found = client(tmp_path).search_runs([run.info.experiment_id], state["searchFilter"])
    assert [each.info.run_id for each in found] == [run.info.run_id]
