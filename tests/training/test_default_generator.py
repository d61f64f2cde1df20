"""torch's own random modules: a run's seed decides what they draw, and a resumed run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

import bnn
from bnn.build import read_dataset
from bnn.config.compose import compose
from bnn.specify import setup
from bnn.training.callback import Callback
from bnn.training.default_generator import DefaultGenerator
from bnn.training.loop import FitResult, fit
from bnn.training.step import TrainState

WORDS = ["device=cpu", "data=digits", "data.limit=192", "trainer.progress=none"]


class Interrupted(Callback):
    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch == 3:
            raise KeyboardInterrupt


def train(
    folder: Path, *callbacks: Callback, seed: int = 0, resume: bool = False, rate: float = 0.5
) -> FitResult:
    """Training of a network with dropout above its binary layer."""
    made = setup(compose([*WORDS, "trainer.epochs=4", f"seed={seed}"]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 16), bnn.Stochastic(), nn.Dropout(rate), nn.Linear(16, 10)
        )
    data = read_dataset(made.spec)
    return fit(model, made.training, data, callbacks=callbacks, folder=folder, resume=resume)


def test_dropout_is_drawn_from_the_seed_and_not_from_the_state_of_the_program(
    tmp_path: Path,
) -> None:
    torch.manual_seed(1)
    first = train(tmp_path).history
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert train(tmp_path).history == first
    assert torch.equal(torch.get_rng_state(), before), "the program's own state is as it was"
    assert train(tmp_path, rate=0.0).history != first, "dropout takes part"


def resumed(folder: Path) -> FitResult:
    with pytest.raises(KeyboardInterrupt):
        train(folder, Interrupted())
    return train(folder, resume=True)


def test_a_resumed_training_with_dropout_ends_as_one_that_was_not_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tmp_path / "whole").history
    assert resumed(tmp_path / "pieces").history == expected
    restore = TrainState.load_state_dict

    def forgetful(state: TrainState, saved: Mapping) -> None:
        restore(state, {key: value for key, value in saved.items() if key != "modules"})

    monkeypatch.setattr(TrainState, "load_state_dict", forgetful)
    assert resumed(tmp_path / "control").history != expected, "the stream is what makes it so"


def test_the_stream_goes_on_from_where_it_was_left() -> None:
    stream = DefaultGenerator(0, torch.device("cpu"))
    with stream.in_force():
        first = torch.rand(3)
    saved = stream.get_state()
    with stream.in_force():
        second = torch.rand(3)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(torch.cat([first, second]), torch.rand(6, generator=generator))
    stream.set_state(saved)
    with stream.in_force():
        assert torch.equal(torch.rand(3), second)
    with pytest.raises(RuntimeError):
        stream.set_state(torch.zeros(16, dtype=torch.uint8))
