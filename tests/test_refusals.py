"""Malformed command lines: each gives one readable line and an exit code, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command_line import in_new_interpreter, run_here
from support.matrix import one_in

from bnn.data import DATASETS

pytestmark = pytest.mark.integration

REFUSED: dict[str, list[list[str]]] = {
    "group": [
        ["estimator=nope"],
        ["data=nope"],
        ["experiment=nope"],
        ["estimator/baseline=nope"],
        ["-m", "estimator=st,nope"],
        ["-m", "study=nope"],
    ],
    "key": [
        ["trainer.epoch=3"],
        ["+nope=1"],
        ["+trainer.nope=1"],
        ["trainer.epochs=[1"],
        ["trainer"],
        ["-m", "trainer.epoch=1,2"],
    ],
    "value": [
        ["neuron.law=cauchy"],
        ["estimator.pseudo_derivative=nope"],
        ["trainer.precision=fp16"],
        ["optimizer.lr_schedule=nope"],
        ["device=tpu"],
        ["-m", "neuron.law=logistic,cauchy"],
    ],
    "type": [
        ["trainer.epochs=2.5"],
        ["optimizer.lr=fast"],
        ["seed=first"],
        ["placement.layers=first"],
        ["-m", "seed=1,x"],
    ],
    "range": [
        ["trainer.epochs=0"],
        ["optimizer.lr=-1"],
        ["data.limit=0"],
        ["estimator=reinmax", "estimator.tau=0.5"],
        ["estimator=reinforce", "estimator.baseline.samples=1"],
        ["-m", "trainer.batch_size=64,1"],
        ["-m", "study=anneal", "hydra.sweeper.n_trials=0"],
    ],
    "combination": [
        ["estimator=reinforce", "neuron.law=uniform"],
        ["estimator=enumeration"],
        ["neuron=noisy_rectifier"],
        ["placement.layers=[7]"],
        ["fresh=true"],
        ["-m", "study=anneal", "fresh=true", "resume=true"],
        ["study=anneal"],
        ["-m", "estimator=st,reinforce", "neuron.law=logistic,uniform"],
        ["-m", "data=digits,mnist"],
        ["-m", "experiment=estimators", "recipe.by=disarm,st"],
    ],
    "file": [
        ["data=mnist", "data.root="],
        ["data=mnist", "data.root=tampered"],
        ["tracking.uri=sqlite:////nowhere/at/all.db"],
        ["tracking.uri=some/folder"],
        ["-m", "seed=1,2", "tracking.uri=sqlite:////nowhere/at/all.db"],
        ["-m", "study=anneal", "hydra.sweeper.storage=/nowhere/at/all.journal"],
    ],
}
LINES = [(kind, words) for kind, lines in REFUSED.items() for words in lines]


def one_line(folder: Path, result) -> str:
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stdout + result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and len(lines[0]) > 30, result.stderr
    assert not list(folder.rglob("mlflow.db")) and not list(folder.rglob("*.journal")), (
        "no run was begun"
    )
    return lines[0]


@pytest.mark.parametrize(
    ("kind", "words"), one_in(3, LINES), ids=[" ".join(words) for _, words in LINES]
)
def test_a_malformed_line_is_answered_by_one(kind: str, words: list[str], tmp_path: Path) -> None:
    if "data.root=tampered" in words:
        raw = tmp_path / "tampered/MNIST/raw"
        raw.mkdir(parents=True)
        for part in ("train", "t10k"):
            for content in ("images-idx3", "labels-idx1"):
                (raw / f"{part}-{content}-ubyte.gz").write_bytes(b"not what it was")
    data = [] if any(word.startswith(("data", "experiment")) for word in words) else ["data=digits"]
    result = run_here(tmp_path, *words, *data)
    said = one_line(tmp_path, result)
    parts = " ".join(words).replace("=", " ").replace("+", " ").split()
    assert any(part in said for part in parts if part != "-m"), "it names what is wrong"


def test_every_kind_is_there_and_some_inside_sweeps() -> None:
    assert all(len(lines) >= 5 for lines in REFUSED.values()) and len(LINES) >= 30
    assert sum(words[0] == "-m" for _, words in LINES) >= 6


def test_a_process_of_its_own_answers_the_same(tmp_path: Path) -> None:
    result = in_new_interpreter(tmp_path, "trainer.epoch=3", "data=digits")
    assert "did you mean trainer.epochs?" in one_line(tmp_path, result)
    whole = in_new_interpreter(tmp_path, "trainer.epoch=3", HYDRA_FULL_ERROR="1")
    assert "Traceback" in whole.stderr, "who asks for the whole gets it"


@pytest.mark.parametrize("experiment", [[], ["experiment=estimators"]], ids=str)
def test_a_renamed_key_is_named_in_a_sweep(experiment: list[str], tmp_path: Path) -> None:
    result = run_here(tmp_path, "-m", *experiment, "recipe.by=disarm,st")
    assert "write vars.by=disarm,st" in one_line(tmp_path, result)


def test_data_sets_are_named_in_the_refusal(tmp_path: Path) -> None:
    assert all(name in run_here(tmp_path, "data=nope").stderr for name in DATASETS)
