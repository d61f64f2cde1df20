"""Snapshots from checkpoints: they are those that the run itself drew; errors are one line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from bnn.build import read_dataset
from bnn.config.compose import compose
from bnn.errors import CheckpointError, DataError
from bnn.report.html.snapshots import fixed_test_images, restored_snapshot
from bnn.specify import setup
from bnn.training import checkpoint
from bnn.training.activations import Snapshot, fixed_images, snapshot
from bnn.training.callback import Callback, FitContext
from bnn.training.loop import fit

SMALL = [
    "data=digits",
    "trainer.epochs=3",
    "trainer.progress=none",
    "device=cpu",
    "data.limit=200",
    "anneal=linear",
]


class Snapshots(Callback):
    """Snapshots of every epoch, by the call that a run makes for its heatmaps."""

    def __init__(self) -> None:
        self.taken: dict[int, Snapshot] = {}

    def on_fit_start(self, context: FitContext) -> None:
        self.context = context

    def on_epoch_end(self, epoch: int, metrics: Mapping[str, float]) -> None:
        context, images = self.context, fixed_images(self.context.data.test)
        inputs = context.task.inputs(images)
        self.taken[epoch] = snapshot(context.model, images, context.seed, inputs)


@pytest.mark.parametrize("neuron", ["stochastic", "deterministic"])
def test_a_picture_from_the_checkpoint_is_the_one_that_the_run_drew_at_its_best_epoch(
    neuron: str, tmp_path: Path
) -> None:
    made, drawn = setup(compose([*SMALL, f"neuron={neuron}", "seed=3"])), Snapshots()
    best = fit(
        made.model,
        made.training,
        read_dataset(made.spec),
        callbacks=[drawn],
        folder=tmp_path,
        metadata=made.spec.public_config,
    ).best_epoch
    again = restored_snapshot(tmp_path / checkpoint.BEST, fixed_test_images("digits", {}))
    assert torch.equal(again.images, drawn.taken[best].images)
    for now, then in zip(again.layers, drawn.taken[best].layers, strict=True):
        assert (now.name, now.binary) == (then.name, then.binary)
        torch.testing.assert_close(now.p, then.p)
        assert (
            float((now.bits - then.bits).abs().max()) <= 1 / 32
        )  # a unit at its threshold may fall to either side
    other = min(set(drawn.taken) - {best})
    assert not torch.allclose(again.layers[0].p, drawn.taken[other].layers[0].p)


def test_the_images_are_the_first_of_each_class_in_the_test_set() -> None:
    data = read_dataset(setup(compose(SMALL)).spec)
    assert (
        torch.equal(fixed_test_images("digits", {}), fixed_images(data.test))
        and len(fixed_test_images("digits", {})) == 10
    )


def test_a_data_set_that_is_not_here_or_not_known_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNN_DATA_ROOT", str(tmp_path))
    with pytest.raises(DataError, match="MNIST is not on this disk"):
        fixed_test_images("mnist", {"root": str(tmp_path / "neither")})
    with pytest.raises(DataError, match="expected one of"):
        fixed_test_images("../mnist", {})


def test_images_come_from_where_the_runs_read_theirs_if_this_machine_has_them_nowhere_else(
    mnist_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BNN_DATA_ROOT", str(tmp_path))
    assert fixed_test_images("mnist", {"root": str(mnist_root)}).shape == (10, 1, 28, 28)


def test_a_checkpoint_of_another_network_is_one_line(tmp_path: Path) -> None:
    about = setup(compose(SMALL)).spec.public_config
    for content in (
        {"model": {}, "about": about},
        {"model": {}},
        {"model": {}, "about": {**about, "seed": "x"}},
    ):
        checkpoint.save(tmp_path / "best.pt", content)
        with pytest.raises(CheckpointError, match=r"best\.pt") as told:
            restored_snapshot(tmp_path / "best.pt", fixed_test_images("digits", {}))
        assert "\n" not in str(told.value)
