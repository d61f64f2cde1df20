"""docs/metrics.md has every key that runs log, once, and nothing that none logs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.command_line import client, run_here, runs

import bnn
from bnn import schema
from bnn.tasks import Classification
from bnn.training.activations import HEALTH_IMAGES, PICTURE_DRAWS

PAGE = Path(bnn.__file__).resolve().parent.parent / "docs" / "metrics.md"
pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="the source tree is not at hand"),
    pytest.mark.integration,
]

TINY = ["data=digits", "data.limit=128", "model.norm=none", "trainer.epochs=1",
        "trainer.evaluation_samples=2", "device=cpu", "trainer.progress=none"]  # fmt: skip
MLP = ["model=mlp", "model.hidden=4", "placement=first"]
RUNS = {
    "plain": [*MLP, "tracking.model=true"],
    "weights": [
        *MLP,
        "weights=sample",
        "weights.law=uniform",
        "weights.clip=true",
        "model.norm=batch",
        "estimator=double_cv",
        "tracking.model=false",
    ],
    "lab": [
        *MLP,
        "lab.every=1",
        "lab.draws=2",
        "lab.batch=8",
        "estimator=rebar",
        "tracking.model=false",
    ],
    "gated": ["model=gated_mlp", "model.blocks=4", "model.block_size=2", "tracking.model=false"],
}


def section(title: str) -> str:
    """Text of the page from a heading to the next; without a title that before the first."""
    parts = re.split(r"^## (.*)\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(["", *parts[1::2]], parts[::2], strict=True))[title]


def names(title: str) -> list[str]:
    """Names in backticks in the first column of a section's table."""
    cells = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def pattern(key: str) -> re.Pattern[str]:
    """A key of the page as a pattern: `<layer>` is a module, `<metric>` one of the task's."""
    text = re.escape(key).replace("<layer>", r"[\w.]+")
    readings = (schema.SIGN_WEIGHTS, schema.DRAWN_WEIGHTS, schema.ENSEMBLE, schema.LRT)
    text = text.replace("<weights>", f"(?:{'|'.join(readings)})(?:{schema.TRAINING_STATISTICS})?")
    named = [*Classification.metrics, "open", "multiply_adds"]
    return re.compile(text.replace("<metric>", f"(?:{'|'.join(named)})"))


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Runs of MLflow by their name in RUNS, and their folder."""
    folder = tmp_path_factory.mktemp("metrics")
    for words in RUNS.values():
        done = run_here(folder, *TINY, *words, drawn=True)
        assert done.returncode == 0, done.stderr
    return {"folder": folder, **dict(zip(RUNS, runs(folder, "run"), strict=True))}


def test_every_logged_metric_has_exactly_one_row(logged: dict) -> None:
    patterns = {key: pattern(key) for key in names("")}
    keys = {key for name in RUNS for key in logged[name].data.metrics}
    for key in keys:
        assert len([one for one in patterns.values() if one.fullmatch(key)]) == 1, key
    for key, one in patterns.items():
        assert any(map(one.fullmatch, keys)), key
    assert len(patterns) == len(names(""))


def test_what_is_logged_when_is_as_the_page_says(logged: dict) -> None:
    store = client(logged["folder"])
    run = logged["lab"]
    lines = re.findall(r"^\| `([^`]+)` \|[^|]*\|[^|]*\| ([^|]*?) \|", section(""), re.MULTILINE)
    assert {when for _, when in lines} == {"each epoch", "each `lab.every` epochs", "at the end"}
    for key in run.data.metrics:
        assert {point.step for point in store.get_metric_history(run.info.run_id, key)} == {1}


def test_every_picture_and_file_has_its_row(logged: dict) -> None:
    store, rows = client(logged["folder"]), names("Pictures and files")
    run_id = logged["plain"].info.run_id

    def files(path: str = "") -> list[str]:
        found = []
        for item in store.list_artifacts(run_id, path or None):
            found += files(item.path) if item.is_dir else [item.path]
        return found

    for path in files():
        picture = path.startswith("images/heatmap")
        assert picture or path in rows or path.startswith("model/"), path
    assert any(path.startswith("images/heatmap") for path in files())
    assert {"figures/curves.png", "checkpoint/best.pt", "config.json"} <= {*files()} & {*rows}


def test_every_tag_has_its_row(logged: dict) -> None:
    rows = names("Tags")
    there = {
        tag for name in RUNS for tag in logged[name].data.tags if not tag.startswith("mlflow.")
    }
    assert there <= set(rows)
    known = {
        value for key, value in vars(schema).items() if key.isupper() and isinstance(value, str)
    }
    assert {tag for tag in known if tag.startswith("bnn.")} <= set(rows)
    assert set(rows) - known <= {"tags.estimator = 'st'"}


def test_what_a_parent_logs_is_named() -> None:
    assert f"`{schema.BEST}{schema.TEST}<metric>`" in section("")
    assert f"`{schema.BEST}{schema.BEST_VALIDATION}<metric>`" in section("")


def test_parameters_are_all_but_those_that_the_page_names(logged: dict) -> None:
    from bnn.config.canonical import NOT_RESULT

    named = set(re.findall(r"`([\w.]+)`", section("Parameters"))) - {"optimizer.lr"}
    assert named == set(NOT_RESULT)
    assert "optimizer.lr" in logged["plain"].data.params


def test_the_counts_of_the_page_are_those_of_the_code() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"the first {HEALTH_IMAGES} images" in text
    assert f"bits over {PICTURE_DRAWS} draws" in text
