"""What a run leaves in MLflow, on a real SQLite store."""

from __future__ import annotations

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from support.matrix import one_in
from support.processes import context

from bnn.config.canonical import flat
from bnn.config.compose import compose
from bnn.errors import DivergedError, TrackingError
from bnn.restore import load_checkpoint
from bnn.runs.execute import RunSummary, execute
from bnn.specify import setup
from bnn.tasks import Classification
from bnn.tracking.calls import logged_images
from bnn.tracking.outbox import FOLDER
from bnn.tracking.store import open_store, tracking_uri

pytestmark = pytest.mark.integration

QUICK = [
    "device=cpu",
    "data=digits",
    "trainer.epochs=2",
    "trainer.progress=none",
    "trainer.evaluation_samples=2",
]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSummary, MlflowClient, Path]:
    folder = tmp_path_factory.mktemp("run")
    uri = f"sqlite:///{folder}/mlflow.db"
    assert torch.get_num_threads() == 1
    words = [f"tracking.uri={uri}", "anneal=cosine", "trainer.threads=2"]
    made = setup(compose([*QUICK, *words]))
    return execute(made.spec, folder / "out", None, "title"), MlflowClient(uri), folder


def test_a_run_is_named_described_and_finished(tracked) -> None:
    summary, client, _ = tracked
    run = client.get_run(summary.run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "stochastic · st · both · s0"
    assert client.get_experiment(run.info.experiment_id).name == "bnn/digits"
    assert run.data.tags["dataset"] == "digits" and run.data.tags["bnn.digest"] == summary.digest
    assert f"{100 * summary.test['accuracy']:.2f}" in run.data.tags["mlflow.note.content"]
    assert run.inputs.dataset_inputs[0].dataset.name == "digits"
    assert run.data.tags["bnn.threads"] == "2", "of the training, not of the process before it"


def test_parameters_are_what_determines_the_result_and_a_file_has_the_rest(tracked) -> None:
    summary, client, _ = tracked
    parameters = client.get_run(summary.run_id).data.params
    config = json.loads(Path(client.download_artifacts(summary.run_id, "config.json")).read_text())
    watching = (
        "tracking.",
        "lab.",
        "trainer.progress",
        "trainer.keep_last",
        "trainer.threads",
        "trainer.cuda_graph",
        "data.root",
        "data.offline_fallback",
        "resume",
        "fresh",
        "dry_run",
    )
    leaves = {key: str(value) for key, value in flat(config).items()}
    assert parameters == {
        key: value for key, value in leaves.items() if not key.startswith(watching)
    }
    assert parameters["anneal.end"] == "5.0" and leaves["tracking.heatmaps"]


@pytest.mark.parametrize("neuron", one_in(2, ["stochastic_smooth", "noisy_rectifier"]))
def test_random_units_that_are_no_bits_leave_a_whole_run_too(neuron: str, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    made = setup(
        compose(
            [*QUICK, f"tracking.uri={uri}", f"neuron={neuron}", "estimator=none", "anneal=linear"]
        )
    )
    summary = execute(made.spec, tmp_path / "out", None, "title")
    run = MlflowClient(uri).get_run(summary.run_id)
    assert run.info.status == "FINISHED" and run.outputs.model_outputs
    assert {"test/accuracy_mc_mean", "test/accuracy_threshold"} <= set(run.data.metrics)


@pytest.mark.parametrize(
    "metric",
    ["train/loss", "train/accuracy", "val/loss", "val/accuracy", "schedule/slope", "schedule/lr",
     "gradient_norm/conv1",
     "units/act1/dead", "units/act2/saturated", "units/act1/firing_rate"],
)  # fmt: skip
def test_curves_have_one_point_an_epoch(tracked, metric: str) -> None:
    summary, client, _ = tracked
    assert [point.step for point in client.get_metric_history(summary.run_id, metric)] == [1, 2]


def test_the_final_metrics_are_those_of_the_summary(tracked) -> None:
    summary, client, _ = tracked
    metrics = client.get_run(summary.run_id).data.metrics
    assert (
        metrics["test/accuracy"] == summary.test["accuracy"]
        and metrics["test/loss"] == summary.test["loss"]
    )
    assert {
        "test/accuracy_mc_mean",
        "test/accuracy_threshold",
        "val_best/loss",
        "best_epoch",
        "seconds/mlflow",
    } <= set(metrics)
    assert [p.value for p in client.get_metric_history(summary.run_id, "schedule/slope")] == [1, 5]


def test_every_layer_has_a_heatmap_every_epoch(tracked) -> None:
    summary, client, _ = tracked
    names = [item.path for item in client.list_artifacts(summary.run_id, "images")]
    for layer in ("act1", "act2"):
        for epoch in (1, 2):
            assert any(
                f"{layer}+step+{epoch}+" in name and name.endswith(".png") for name in names
            ), (layer, epoch, names)
    assert {i.path for i in client.list_artifacts(summary.run_id, "figures")} == {
        "figures/curves.png",
        "figures/unit_health.png",
    }


def test_the_checkpoint_and_the_model_load_again(tracked) -> None:
    import mlflow

    summary, client, _ = tracked
    _, config = load_checkpoint(
        Path(client.download_artifacts(summary.run_id, "checkpoint/best.pt"))
    )
    assert config["data"]["name"] == "digits"
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        loaded = mlflow.pytorch.load_model(f"runs:/{summary.run_id}/model")
        p = loaded(torch.rand(7, 1, 8, 8))
    finally:
        mlflow.set_tracking_uri(None)
    assert p.shape == (7, 10)
    torch.testing.assert_close(p.sum(1), torch.ones(7))


@pytest.mark.slow
def test_a_run_with_drawn_weights_exports_their_signs(tmp_path: Path) -> None:
    """Model, checkpoint and main metrics are of one network, which has no noise here."""
    import mlflow

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    words = ["weights=sample", "neuron=deterministic", "tracking.model=true"]
    made = setup(compose([*QUICK, *words, f"tracking.uri={uri}"]))
    summary = execute(made.spec, tmp_path / "out", None, "title")
    client = MlflowClient(uri)
    assert "figures/weights.png" in {
        item.path for item in client.list_artifacts(summary.run_id, "figures")
    }
    metrics = client.get_run(summary.run_id).data.metrics
    assert metrics["test/accuracy_ensemble"] != metrics["test/accuracy_drawn_weights"]
    network, _ = load_checkpoint(
        Path(client.download_artifacts(summary.run_id, "checkpoint/best.pt"))
    )
    spec = made.spec.data
    mlflow.set_tracking_uri(client.tracking_uri)
    try:
        loaded = mlflow.pytorch.load_model(f"runs:/{summary.run_id}/model")
    finally:
        mlflow.set_tracking_uri(None)
    images = torch.rand(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = network((images - spec.mean) / spec.std).softmax(1)
    torch.testing.assert_close(loaded(images), expected)
    assert not any(tmp_path.glob("out/weight_histograms.json"))


def test_a_network_that_cannot_be_exported_leaves_a_whole_run_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    import mlflow.pytorch

    def unsupported(*_, **__) -> None:
        raise RuntimeError("a branch on the values of a tensor")

    monkeypatch.setattr(mlflow.pytorch, "log_model", unsupported)
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    made = setup(compose([*QUICK, "tracking.model=true", f"tracking.uri={uri}"]))
    summary = execute(made.spec, tmp_path / "out", None, "title")
    run = MlflowClient(uri).get_run(summary.run_id)
    assert run.info.status == "FINISHED" and not run.outputs.model_outputs
    warning = capsys.readouterr().err
    assert "torch.export does not take the network: RuntimeError: a branch" in warning
    assert not (tmp_path / "out" / FOLDER).exists(), "nothing waits for what can never be made"


def test_a_failed_run_says_why_and_keeps_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    made = setup(compose([*QUICK, f"tracking.uri={uri}"]))
    finite, calls = Classification.loss, iter(range(10_000))

    def loss(task: Classification, output, targets, latents):
        # the first epoch has 22 steps; the loss is lost in the second
        return finite(task, output, targets, latents) * (float("nan") if next(calls) > 30 else 1)

    monkeypatch.setattr(Classification, "loss", loss)
    with pytest.raises(DivergedError):
        execute(made.spec, tmp_path / "out", None, "title")
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("bnn/digits").experiment_id])
    assert run.info.status == "FAILED"
    assert "lower optimizer.lr" in run.data.tags["bnn.reason"]
    assert client.list_artifacts(run.info.run_id, "checkpoint")[0].path == "checkpoint/best.pt"


def test_an_interrupted_run_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import bnn.training.step

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    made = setup(compose([*QUICK, f"tracking.uri={uri}"]))

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(bnn.training.step, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        execute(made.spec, tmp_path / "out", None, "title")
    client = MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("bnn/digits").experiment_id])
    assert run.info.status == "KILLED"


def _open(uri: str) -> str:
    return open_store(uri, "together/digits").experiment_id


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_parallel_jobs_on_a_missing_database_share_one(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with ProcessPoolExecutor(4, mp_context=context) as pool:
        identifiers = list(pool.map(_open, [uri] * 4))
    assert len(set(identifiers)) == 1
    assert MlflowClient(uri).get_experiment(identifiers[0]).artifact_location == str(
        tmp_path / "mlartifacts"
    )


def test_the_default_store_is_the_one_that_a_bare_mlflow_ui_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        tracking_uri(None)
        == f"sqlite:///{tmp_path}/mlflow.db"
        == tracking_uri("sqlite:///mlflow.db")
    )


def test_a_dead_server_is_one_clear_error() -> None:
    with pytest.raises(TrackingError, match=r"tracking\.uri=null"):
        open_store("http://127.0.0.1:9", "x")


def test_a_path_that_an_address_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "50%20off").mkdir()
    monkeypatch.chdir(tmp_path / "50%20off")
    with pytest.raises(TrackingError, match="'%'"):
        tracking_uri(None)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(TrackingError, match="sqlite:///FILE"):
        tracking_uri("some/folder")


def test_predictions_take_pixels_as_they_are(tracked) -> None:
    """The exported model normalises raw pixels, and gives the classes of the network itself."""
    from bnn.data import spec_of
    from bnn.tracking.export import Predictor

    made = setup(compose([*QUICK, "placement=none"]))
    spec = spec_of({"name": "digits"})
    pixels = torch.from_numpy(np.random.default_rng(0).random((5, 1, 8, 8), dtype=np.float32))
    made.model.eval()
    scores = made.model((pixels - spec.mean) / spec.std)
    torch.testing.assert_close(
        Predictor(made.model, spec.mean, spec.std, made.training.task)(pixels),
        torch.softmax(scores, 1),
    )


def test_the_name_of_a_picture_may_have_a_plus() -> None:
    class Client:
        def list_artifacts(self, run_id: str, path: str) -> list[SimpleNamespace]:
            name = "pictures~real + fake+step+3+timestamp+5+0a1b+compressed.webp"
            return [SimpleNamespace(path=f"{path}/{name}")]

    assert logged_images(Client(), "run") == {("pictures/real + fake", 3)}
