"""Runs read back from a hand-made MLflow store, and `python -m bnn.report` on it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from bnn.config.canonical import canonical, digest, flat
from bnn.config.compose import compose
from bnn.config.titles import estimator_title
from bnn.report import generated
from bnn.report.__main__ import main
from bnn.report.row_files import read_csv
from bnn.report.rows import rows_of
from bnn.tracking.query import finished_runs

EXPERIMENT = "study/mnist"
LOSS = 0.1 + 0.2  # 0.30000000000000004: seventeen digits


def config(*overrides: str) -> dict[str, Any]:
    return canonical(compose(["data=mnist", *overrides]))


def add(
    client: MlflowClient,
    experiment: str,
    plain: Mapping[str, Any],
    ended: int,
    *,
    accuracy: float = 0.98,
    status: str | None = "FINISHED",
    stochastic: bool = True,
    without: str = "",
) -> str:
    """A run as bnn.tracking.run leaves it."""
    tags = {
        "bnn.kind": "run",
        "bnn.digest": digest(dict(plain)),
        "bnn.commit": "abc123",
        "bnn.hardware": "a CPU, 2 cores",
        "bnn.command": "python -m bnn.train -m tracking.uri=sqlite:////x/y.db seed=0,1",
        "bnn.threads": "1",
        "bnn.versions": "python 3.11.7",
        "dataset": plain["data"]["name"],
        "neuron": plain["neuron"]["name"],
        "estimator": plain["estimator"]["name"],
        "estimator_title": estimator_title(dict(plain)),
        "bnn.samples_in_training": "no",
        "bnn.evaluations": "1",
        "placement": plain["placement"]["name"],
        "anneal": plain["anneal"]["name"],
        "law": plain["neuron"]["law"],
    }
    metrics = {
        "test/loss": LOSS,
        "test/accuracy": accuracy,
        "val_best/loss": 1 / 3,
        "val_best/accuracy": 0.97,
        "best_epoch": 7.0,
        "seconds/train": 10.125,
        "seconds/total": 12.5,
        "train/loss": 0.01,
    }
    if stochastic:
        metrics |= {
            f"test/{what}_{how}": 0.25
            for what in ("loss", "accuracy")
            for how in ("mc_mean", "threshold")
        }
    metrics.pop(without, None)
    run_id: str = client.create_run(experiment, tags=tags, start_time=ended - 5).info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(key, value, ended, 10) for key, value in metrics.items()],
        params=[Param(key, str(value)) for key, value in flat(dict(plain)).items()],
    )
    if status is not None:
        client.set_terminated(run_id, status, end_time=ended)
    return run_id


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """The store's address, and run ids by what is special about them."""
    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(uri)
    made = {name: client.create_experiment(name, artifact_location=str(folder)) for name in
            (EXPERIMENT, "pending/mnist", "empty/mnist", "broken/mnist")}  # fmt: skip
    study = made[EXPERIMENT]
    st, real = config("estimator=st", "seed=0"), config("placement=none", "seed=0")
    ids = {
        "newest": add(client, study, st, 3000, accuracy=0.99),
        "older": add(client, study, st, 2000, accuracy=0.5),
        "seed 1": add(client, study, config("estimator=st", "seed=1"), 1000, accuracy=0.97),
        "real": add(client, study, real, 1000, stochastic=False),
        "failed": add(client, study, config("seed=2"), 4000, status="FAILED"),
        "killed": add(client, study, config("seed=3"), 4000, status="KILLED"),
        "running": add(client, study, config("seed=4"), 4000, status=None),
        "deleted": add(client, study, config("seed=5"), 4000),
    }
    client.delete_run(ids["deleted"])
    ids["parent"] = client.create_run(
        study, tags={"bnn.kind": "sweep", "bnn.digest": "none"}
    ).info.run_id
    client.set_terminated(ids["parent"], "FINISHED")
    ids["foreign"] = client.create_run(study, tags={"dataset": "mnist"}).info.run_id
    client.set_terminated(ids["foreign"], "FINISHED")
    add(client, made["pending/mnist"], st, 1000, status=None)
    add(client, made["pending/mnist"], st, 1000, status="FAILED")
    ids["broken"] = add(client, made["broken/mnist"], st, 1000, without="test/loss")
    return uri, ids


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sweeps").mkdir()
    monkeypatch.setattr(generated, "source_tree", lambda: tmp_path)
    return tmp_path


@pytest.mark.integration
def test_runs_unfinished_deleted_of_others_and_parents_are_left_out(
    store: tuple[str, dict[str, str]],
) -> None:
    uri, ids = store
    found = {run.run_id for run in finished_runs(uri, EXPERIMENT)}
    assert found == {ids[name] for name in ("newest", "older", "seed 1", "real")}


@pytest.mark.integration
def test_the_newest_of_one_digest_stands(store: tuple[str, dict[str, str]]) -> None:
    uri, ids = store
    runs = finished_runs(uri, EXPERIMENT)
    for order in (runs, runs[::-1]):
        rows = rows_of(order, EXPERIMENT)
        assert {row.run_id for row in rows} == {ids[name] for name in ("newest", "seed 1", "real")}


@pytest.mark.integration
def test_export_keeps_every_value_of_a_run(
    store: tuple[str, dict[str, str]], tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, ids = store
    assert main([EXPERIMENT, "--uri", uri, "--out", str(tree / "out"), "--export"]) == 0
    rows = {row.run_id: row for row in read_csv(tree / "sweeps/results/study_mnist.csv")}
    assert list(rows.values()) == rows_of(finished_runs(uri, EXPERIMENT), EXPERIMENT)
    st, real = rows[ids["newest"]], rows[ids["real"]]
    assert (st.experiment, st.dataset, st.model, st.neuron, st.law) == (
        EXPERIMENT,
        "mnist",
        "cnn",
        "stochastic",
        "logistic",
    )
    assert (st.estimator, st.estimator_title, st.placement, st.anneal) == (
        "st",
        "st density",
        "both",
        "cosine",
    )
    assert (st.seed, st.epochs, st.precision, st.norm) == (0, 4, "float32", "batch")
    assert (st.optimizer, st.evaluation_samples, st.best_epoch) == ("adam lr 0.015 cosine", 8, 7)
    assert (st.test_loss, st.test_accuracy, st.val_loss, st.val_accuracy) == (
        LOSS,
        0.99,
        1 / 3,
        0.97,
    )
    assert (st.test_loss_mc_mean, st.test_accuracy_threshold) == (0.25, 0.25)
    assert (st.seconds_train, st.seconds_total, st.threads, st.commit) == (
        10.125,
        12.5,
        1,
        "abc123",
    )
    assert st.digest == digest(config("estimator=st", "seed=0"))
    assert st.command == "python -m bnn.train -m seed=0,1"
    assert "optimizer.warmup=0.05" in st.settings.split("; ")
    assert not {"seed", "tracking.uri", "data.root", "estimator.pseudo_derivative"} & {
        s.partition("=")[0] for s in st.settings.split("; ")
    }
    assert (real.neuron, real.estimator, real.test_loss_mc_mean, real.test_accuracy_threshold) == (
        "real",
        "none",
        None,
        None,
    )
    printed = capsys.readouterr().out
    assert "98.00 ± 1.41" in printed
    assert (tree / "out/study_mnist.md").read_text() == printed.removesuffix("\n")
    assert (tree / "out/study_mnist.png").read_bytes().startswith(b"\x89PNG")


def test_an_experiment_without_a_report_is_one_line_and_exit_code_one(
    store: tuple[str, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, ids = store
    (tmp_path / "text.db").write_text("no database")
    for experiment, where, said in (
        (
            "unknown",
            uri,
            "does not exist; those that do: Default, broken/mnist, empty/mnist, "
            "pending/mnist, study/mnist",
        ),
        ("pending/mnist", uri, "expected a finished run, found 1 failed, 1 running"),
        ("empty/mnist", uri, "expected a finished run, found none at all"),
        ("broken/mnist", uri, f"the finished run {ids['broken']} lacks 'test/loss'"),
        (EXPERIMENT, f"sqlite:///{tmp_path / 'text.db'}", "cannot be read"),
        (EXPERIMENT, "elsewhere", "expected sqlite:///FILE"),
    ):
        assert main([experiment, "--uri", where, "--out", str(tmp_path / "out")]) == 1
        printed = capsys.readouterr()
        assert printed.err.startswith("error: ")
        assert said in printed.err
        assert printed.err.count("\n") == 1
        assert printed.out == ""
    assert not (tmp_path / "out").exists()


def test_a_missing_store_is_not_made_and_ends_the_program_with_code_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["x"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith("error: sqlite:///")
    assert printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_store_comes_from_the_environment_when_none_is_named(
    store: tuple[str, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store[0])
    assert main([EXPERIMENT, "--out", str(tmp_path)]) == 0
    assert "st density" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--check"], ["x", "--results"], ["x", "--check"]])
def test_arguments_that_do_not_go_together_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_help_needs_no_heavy_import(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom bnn.report.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'mlflow', 'matplotlib', 'hydra', 'scipy'} & set(sys.modules)\n"
        "print(sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "--against FIELD=VALUE" in done.stdout and done.stdout.endswith("[]\n")
