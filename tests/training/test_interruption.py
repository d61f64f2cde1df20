"""An interrupted training ends as one that was not, to the last bit, under every estimator."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from support.matrix import one_in
from torch import Tensor

from bnn.build import TrainingSetup, read_dataset
from bnn.config.compose import compose
from bnn.errors import CheckpointError, ConfigError
from bnn.specify import estimator_choices, setup
from bnn.training import checkpoint
from bnn.training.callback import Callback
from bnn.training.loop import FitResult, fit
from bnn.training.step import TrainState

pytestmark = pytest.mark.integration

SMALL = ["device=cpu", "data=digits", "data.limit=192", "trainer.progress=none", "trainer.epochs=4"]


class Interrupted(Callback):
    """Callback that ends the process while epoch `at` is recorded, and lists the epochs it saw."""

    def __init__(self, at: int = 0) -> None:
        self.at, self.heard = at, []

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        self.heard.append(epoch)
        if epoch == self.at:
            raise KeyboardInterrupt


def training(words: list[str]) -> TrainingSetup:
    return setup(compose([*SMALL, *words]))


def go(made: TrainingSetup, folder: Path, tracker: Interrupted, resume: bool = False) -> FitResult:
    return fit(
        made.model,
        made.training,
        read_dataset(made.spec),
        folder=folder,
        metadata=dict(made.spec.config),
        callbacks=[tracker],
        resume=resume,
    )


def in_pieces(
    words: list[str], folder: Path, *ends: int
) -> tuple[TrainingSetup, FitResult, list[int]]:
    """Training that is interrupted in each of these epochs, and resumed by objects of its own."""
    heard: list[int] = []
    for number, end in enumerate((*ends, 0)):
        made, tracker = training(words), Interrupted(end)
        if end:
            with pytest.raises(KeyboardInterrupt):
                go(made, folder, tracker, resume=number > 0)
        else:
            result = go(made, folder, tracker, resume=True)
        heard += tracker.heard
    return made, result, heard


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


CASES = [
    *([*words, "model=mlp", "model.hidden=3", "model.norm=none"] for words in estimator_choices()),
    ["estimator=st", "anneal=cosine", "optimizer=adam"],
    ["estimator=st", "trainer.precision=bf16", "model.norm=running"],
    ["estimator=none", "neuron=noisy_rectifier"],
]


@pytest.mark.parametrize("words", one_in(3, CASES), ids=" ".join)
def test_an_interrupted_training_ends_as_one_that_was_not(words: list[str], tmp_path: Path) -> None:
    try:
        whole = training(words)
    except ConfigError:
        words = [*words, "placement=last"]
        whole = training(words)
    expected = go(whole, tmp_path / "whole", Interrupted())
    made, found, heard = in_pieces(words, tmp_path / "pieces", 3, 4)
    assert found.history == expected.history and found.best_epoch == expected.best_epoch
    assert same(made.model.state_dict(), whole.model.state_dict())
    assert same(made.training.estimator.state_dict(), whole.training.estimator.state_dict())
    assert heard == [1, 2, 3, 3, 4, 4], (
        "the epoch that was interrupted comes again, and none that was kept"
    )


LEFT_OUT = ["model", "estimator", "optimizer", "learning_rate", "order", "bits"]


@pytest.mark.parametrize("part", LEFT_OUT)
def test_every_part_of_the_state_matters(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: with one part begun anew, the end is another."""
    words = ["estimator=reinforce", "estimator/baseline=moving_average", "optimizer.lr=0.1"]
    expected = go(training(words), tmp_path / "whole", Interrupted())
    restore = TrainState.load_state_dict

    def forgetful(train_state: TrainState, state: Mapping) -> None:
        restore(train_state, {**state, part: train_state.state_dict()[part]})

    monkeypatch.setattr(TrainState, "load_state_dict", forgetful)
    assert in_pieces(words, tmp_path / "pieces", 3)[1].history != expected.history


def test_a_training_that_had_finished_only_returns(tmp_path: Path) -> None:
    words = ["estimator=st"]
    expected = go(training(words), tmp_path, Interrupted())
    made, tracker = training(words), Interrupted()
    found = go(made, tmp_path, tracker, resume=True)
    assert found == expected and not tracker.heard and not made.model.training


def test_the_best_epoch_may_lie_before_the_interruption(tmp_path: Path) -> None:
    words = ["estimator=st", "optimizer.lr=3", "optimizer.lr_schedule=constant"]
    expected = go(training(words), tmp_path / "whole", Interrupted())
    _, found, _ = in_pieces(words, tmp_path / "pieces", 4)
    assert found.best_epoch == expected.best_epoch < 4
    assert checkpoint.load(tmp_path / "pieces/best.pt")["epoch"] == expected.best_epoch


@pytest.mark.parametrize("damage", ["truncated", "missing", "a pickle", "another's"])
def test_a_checkpoint_that_is_none_is_refused_in_one_line(damage: str, tmp_path: Path) -> None:
    made = training(["estimator=st"])
    go(made, tmp_path, Interrupted())
    last = tmp_path / checkpoint.LAST
    if damage == "truncated":
        last.write_bytes(last.read_bytes()[:5000])
    elif damage == "missing":
        last.unlink()
    elif damage == "a pickle":
        torch.save({"updates": Path("x")}, last)
    else:
        made = training(["estimator=st", "model=mlp"])
    with pytest.raises(CheckpointError) as refused:
        go(made, tmp_path, Interrupted(), resume=True)
    assert "\n" not in str(refused.value) and (
        "last.pt" in str(refused.value) or "another training" in str(refused.value)
    )


@pytest.mark.parametrize("full", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_checkpoint_before(
    full: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, save = ["estimator=st"], torch.save
    expected = go(training(words), tmp_path / "whole", Interrupted())

    def fills_up(content: Mapping, file) -> None:
        if len(content.get("history", ())) == 3:
            file.write(b"half of it")
            try:
                raise OSError(full, "No space left on device")
            finally:  # as torch's writer does
                raise RuntimeError("[enforce fail at inline_container.cc] unexpected pos")
        save(content, file)

    monkeypatch.setattr(torch, "save", fills_up)
    with pytest.raises(CheckpointError, match=r"No space left on device.*make room.*resume=true"):
        go(training(words), tmp_path / "full", Interrupted())
    assert len(checkpoint.load(tmp_path / "full" / checkpoint.LAST)["history"]) == 2
    assert not list((tmp_path / "full").glob("*.part"))
    monkeypatch.setattr(torch, "save", save)
    assert (
        go(training(words), tmp_path / "full", Interrupted(), resume=True).history
        == expected.history
    )
