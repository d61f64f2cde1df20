"""`python -m bnn.report` on trained runs: values read from a store, and notes on missing ones."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sqlite3
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from bnn.config.compose import compose
from bnn.errors import DataError, TrackingError
from bnn.report.__main__ import main
from bnn.report.configurations import group_by_configuration
from bnn.report.html import heatmaps
from bnn.report.html.heatmaps import CHECKPOINT, layer_views, representative_runs
from bnn.report.row_files import read_csv
from bnn.report.rows import rows_of
from bnn.runs.execute import execute
from bnn.specify import setup
from bnn.tracking import query
from bnn.tracking.query import fetch, finished_runs, histories, unfinished

pytestmark = pytest.mark.integration

NAME = "small/digits"
SMALL = [
    "data=digits",
    "model=mlp",
    "model.hidden=4",
    "model.norm=none",
    "trainer.evaluation_samples=2",
    "trainer.epochs=2",
    "tracking.experiment=small",
    "tracking.heatmaps=false",
    "tracking.model=false",
    "device=cpu",
    "trainer.progress=none",
]
LAB = ["lab.every=1", "lab.draws=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of three runs: two seeds measured by the lab, and a real-valued one."""
    folder = tmp_path_factory.mktemp("trained")
    for words in (
        ["placement=last", "seed=1", *LAB],
        ["placement=last", "seed=2", *LAB],
        ["placement=none", "seed=1"],
    ):
        made = setup(compose([*SMALL, f"tracking.uri=sqlite:///{folder}/mlflow.db", *words]))
        execute(made.spec, folder / "-".join(words[:2]), None, "title")
    return folder


@pytest.fixture
def uri(trained: Path) -> str:
    return f"sqlite:///{trained}/mlflow.db"


@pytest.fixture
def elsewhere(trained: Path, tmp_path: Path) -> tuple[str, Path]:
    """A copy of the store that a test may damage: its address, and the folder of artifacts."""
    shutil.copytree(trained / "mlartifacts", tmp_path / "mlartifacts")
    shutil.copy(trained / "mlflow.db", tmp_path / "mlflow.db")
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute(
            "update runs set artifact_uri = replace(artifact_uri, ?, ?)",
            (str(trained), str(tmp_path)),
        )
    return f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "mlartifacts"


def page(uri: str, out: Path, *words: str) -> str:
    assert main([NAME, "--uri", uri, "--out", str(out), *words]) == 0
    return (out / "small_digits.html").read_text()


def test_one_command_leaves_a_page_markdown_and_a_figure_and_writes_nothing_into_the_store(
    trained: Path, uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = hashlib.sha256((trained / "mlflow.db").read_bytes()).digest()
    text = page(uri, tmp_path)
    assert hashlib.sha256((trained / "mlflow.db").read_bytes()).digest() == before
    assert {path.name for path in tmp_path.iterdir()} == {
        f"small_digits.{ending}" for ending in ("html", "md", "png", "csv", "tex")
    }
    printed = capsys.readouterr()
    markdown = (tmp_path / "small_digits.md").read_text()
    for run in finished_runs(uri, NAME):
        assert run.run_id in text and f"`{run.run_id}`" in markdown
    assert (
        "Layer act1" in text
        and "data:image/png" in text
        and "no losses" not in text
        and "not measured" not in text
    )
    assert "[the page](small_digits.html)" in markdown and printed.out.strip() == markdown.strip()
    assert "heatmaps of 2 configurations" in printed.err


def test_metrics_are_read_back_epoch_by_epoch(uri: str) -> None:
    runs = finished_runs(uri, NAME)
    found = histories(uri, runs, ("val/", "lab/"))
    for run in runs:
        history = found[run.run_id]
        assert sorted(history["val/loss"]) == [1, 2] and not any(
            key.startswith("train/") for key in history
        )
        assert history["val/loss"][int(run.metrics["best_epoch"])] == run.metrics["val_best/loss"]
        assert history["val/loss"][2] == run.metrics["val/loss"]
    assert sum("lab/below/cosine" in history for history in found.values()) == 2


def test_an_infinite_value_comes_back_as_such_and_of_two_in_one_epoch_the_last(
    elsewhere: tuple[str, Path],
) -> None:
    client = MlflowClient(elsewhere[0])
    run = finished_runs(elsewhere[0], NAME)[0]
    for value, at in ((float("-inf"), 1), (2.0, 20), (1.0, 10)):
        client.log_metric(run.run_id, "val/odd", value, timestamp=at, step=1 if value < 0 else 2)
    again = next(r for r in finished_runs(elsewhere[0], NAME) if r.run_id == run.run_id)
    assert histories(elsewhere[0], [again], ("val/odd",))[run.run_id]["val/odd"] == {
        1: float("-inf"),
        2: 2.0,
    }


def test_a_removed_and_a_broken_checkpoint_are_said_and_the_rest_is_drawn(
    elsewhere: tuple[str, Path], tmp_path: Path
) -> None:
    uri, artifacts = elsewhere
    rows = rows_of(finished_runs(uri, NAME), NAME)
    real = next(r for r in rows if r.neuron == "real")
    binary = next(r for r in rows if r.neuron != "real" and r.seed == 1)
    (artifacts / real.run_id / "artifacts" / CHECKPOINT).unlink()
    found = layer_views(uri, group_by_configuration(rows), {})
    assert found.missing == [f"Run {real.run_id} keeps no {CHECKPOINT} any more."]
    assert [row.run_id for row in found.rows.values()] == [binary.run_id]
    (artifacts / binary.run_id / "artifacts" / CHECKPOINT).write_bytes(b"no checkpoint")
    text = page(uri, tmp_path / "out")
    assert (
        f"Run {binary.run_id}: " in text
        and "no checkpoint that can be read" in text
        and "data:image/png" not in text
    )


def test_without_the_data_set_there_are_no_heatmaps_and_a_sentence(
    uri: str, tmp_path: Path, monkeypatch
) -> None:
    def away(dataset: str, read: dict) -> None:
        raise DataError(f"{dataset} is away")

    monkeypatch.setattr(heatmaps, "fixed_test_images", away)
    text = page(uri, tmp_path)
    assert "No heatmaps: digits is away." in text and "data:image/png" not in text


def test_a_picture_is_of_a_seed_that_all_have_or_of_the_lowest_of_each(row) -> None:
    def seeds(first: tuple[int, ...], both: tuple[int, ...]) -> list[int]:
        rows = [
            row(seed=s, placement=p) for p, some in (("first", first), ("both", both)) for s in some
        ]
        return [r.seed for r in representative_runs(group_by_configuration(rows)).values()]

    assert seeds((1, 3, 5), (3, 4, 5)) == [3, 3] and seeds((2, 1), (4, 3)) == [1, 3]


def test_a_report_of_some_runs_has_these_alone(uri: str, tmp_path: Path) -> None:
    one, *others = finished_runs(uri, NAME)
    text = page(uri, tmp_path, "--run", one.run_id)
    assert one.run_id in text and not any(other.run_id in text for other in others)


def test_a_run_that_is_not_there_or_not_finished_is_one_line(
    elsewhere: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = elsewhere
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(NAME).experiment_id
    running = client.create_run(experiment, tags={"bnn.kind": "run"}).info.run_id
    for asked, said in (("0" * 32, "there is none of this id"), (running, "it is running")):
        assert main([NAME, "--uri", uri, "--out", str(tmp_path / "out"), "--run", asked]) == 1
        printed = capsys.readouterr()
        assert (
            printed.err
            == f"error: --run '{asked}': expected a finished run of {NAME}, but {said}\n"
            and not printed.out
        )
    assert unfinished(uri, NAME) == "1 running" and not (tmp_path / "out").exists()
    assert "Left out: 1 running." in page(uri, tmp_path / "out")


def test_a_run_that_a_newer_one_replaces_is_said_to_be_left_out(
    elsewhere: tuple[str, Path], tmp_path: Path
) -> None:
    uri, _ = elsewhere
    client = MlflowClient(uri)
    a, b = (run.run_id for run in finished_runs(uri, NAME) if run.tags["neuron"] != "real")
    client.set_tag(a, "bnn.digest", client.get_run(b).data.tags["bnn.digest"])
    assert "Left out: 1 that a newer run of the same result replaces." in page(
        uri, tmp_path / "out"
    )


def test_a_checkpoint_comes_into_the_folder_that_it_was_to_come_to_or_not_at_all(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished_runs(uri, NAME)[0]
    (tmp_path / "inside").mkdir()
    got = fetch(uri, run.run_id, CHECKPOINT, tmp_path / "inside")
    assert got is not None and got.is_file() and got.is_relative_to(tmp_path / "inside")
    assert fetch(uri, run.run_id, "checkpoint/other.pt", tmp_path / "inside") is None
    (tmp_path / "outside.pt").write_bytes(b"x")
    for where in (str(tmp_path / "outside.pt"), f"{tmp_path}/inside/../outside.pt"):
        monkeypatch.setattr(MlflowClient, "download_artifacts", lambda *words, where=where: where)
        with pytest.raises(TrackingError, match="leads out of the folder"):
            fetch(uri, run.run_id, CHECKPOINT, tmp_path / "inside")


def test_markup_in_a_runs_tags_is_text_in_the_page(
    elsewhere: tuple[str, Path], tmp_path: Path
) -> None:
    uri, _ = elsewhere
    client = MlflowClient(uri)
    for run in finished_runs(uri, NAME):
        for tag in ("bnn.hardware", "estimator_title", "bnn.command", "placement"):
            client.set_tag(run.run_id, tag, f"{tag} it's <script>alert(1)</script>")
    text = page(uri, tmp_path / "out")
    assert "<script" not in text and text.count("it&#x27;s &lt;script&gt;alert(1)") > 4
    assert query.finished_runs(uri, NAME)[0].tags["placement"].endswith("</script>")


def test_a_run_with_text_where_a_number_should_be_is_left_out_and_alone_is_one_line(
    elsewhere: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = elsewhere
    run = finished_runs(uri, NAME)[0]
    MlflowClient(uri).set_tag(run.run_id, "bnn.threads", "many")
    text = page(uri, tmp_path / "out")
    assert "Left out, since they cannot be read: " in text and "many" in text
    assert f"<code>{run.run_id}</code>" not in text and run.run_id in text
    capsys.readouterr()
    assert main([NAME, "--uri", uri, "--out", str(tmp_path / "out"), "--run", run.run_id]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and run.run_id in error and "'many'" in error


def test_the_page_looks_for_images_where_the_runs_read_theirs(
    uri: str, tmp_path: Path, monkeypatch
) -> None:
    asked = []
    monkeypatch.setattr(
        heatmaps, "fixed_test_images", lambda dataset, read: asked.append((dataset, read)) or 1 / 0
    )
    monkeypatch.setattr(
        "bnn.report.experiment.fetch",
        lambda *_: _written(tmp_path, {"data": {"root": "/elsewhere"}}),
    )
    with pytest.raises(ZeroDivisionError):
        page(uri, tmp_path / "out")
    assert asked == [("digits", {"root": "/elsewhere"})]


def _written(folder: Path, config: dict) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    return folder / "config.json"


def test_a_folder_that_cannot_be_made_and_a_margin_that_is_none_are_one_line(
    uri: str, tmp_path: Path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    for words, what in (
        (["--out", str(tmp_path / "file")], "--out"),
        (["--margin", "nan"], "margin"),
        (["--margin", "-1"], "margin"),
    ):
        assert main([NAME, "--uri", uri, "--out", str(tmp_path / "out"), *words]) == 1
        error = capsys.readouterr().err.splitlines()
        assert error[-1].startswith("error: ") and what in error[-1]


def test_two_experiments_on_one_data_set_are_one_page_and_their_runs_one_csv(
    elsewhere: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri, _ = elsewhere
    other = MlflowClient(uri).create_experiment("other/digits")
    moved = next(run for run in finished_runs(uri, NAME) if run.tags["neuron"] == "real").run_id
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute(
            "update runs set experiment_id = ? where run_uuid = ?", (int(other), moved)
        )
    out = tmp_path / "out"
    assert main([NAME, "other/digits", "--uri", uri, "--out", str(out)]) == 0
    rows = read_csv(out / "small_digits+other_digits.csv")
    assert {row.run_id: row.experiment for row in rows}[moved] == "other/digits" and len(rows) == 3
    assert (
        "<h1>small/digits and other/digits</h1>"
        in (out / "small_digits+other_digits.html").read_text()
    )
    with pytest.raises(SystemExit):
        main([NAME, "other/digits", "--run", moved])
    assert "--run: expected one EXPERIMENT" in capsys.readouterr().err


def test_the_code_for_pandas_in_the_documentation_runs(
    elsewhere: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    uri, _ = elsewhere
    MlflowClient(uri).rename_experiment(
        MlflowClient(uri).get_experiment_by_name(NAME).experiment_id, "bnn/digits"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert main(["bnn/digits"]) == 0
    capsys.readouterr()
    page = Path(__file__).parents[2] / "docs/tracking.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    before = mlflow.get_tracking_uri()
    try:
        exec(compile(code, str(page), "exec"), {})
    finally:
        mlflow.set_tracking_uri(before)
    printed = capsys.readouterr().out
    assert printed.count("st density") == 1 and printed.count("count") == 2
