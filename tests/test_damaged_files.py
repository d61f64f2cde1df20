"""Damaged checkpoints and pictures at the commands that read them: one line, and exit code 1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bnn.build import build, read_dataset
from bnn.config.compose import compose
from bnn.errors import CheckpointError
from bnn.predict import main
from bnn.specify import setup
from bnn.training import checkpoint
from bnn.training.loop import fit

pytestmark = pytest.mark.integration

SMALL = ["device=cpu", "data=digits", "data.limit=64", "model=mlp", "trainer.epochs=1"]


def train(folder: Path, epochs: int = 1, resume: bool = False) -> None:
    made = setup(compose([*SMALL, f"trainer.epochs={epochs}"]))
    about = made.spec.checkpoint_metadata
    data = read_dataset(made.spec)
    fit(made.model, made.training, data, folder=folder, metadata=about, resume=resume)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the checkpoints of a training."""
    folder = tmp_path_factory.mktemp("trained")
    train(folder)
    return folder


def altered(source: Path, target: Path) -> Path:
    whole = bytearray(source.read_bytes())
    for eighth in range(1, 8):  # one of them alone may lie where nothing is read
        whole[eighth * len(whole) // 8] ^= 1
    target.write_bytes(whole)
    return target


def not_a_number(source: Path, target: Path) -> Path:
    content = checkpoint.load(source)
    next(iter(content["model"].values())).view(-1)[0] = float("nan")
    checkpoint.save(target, content)
    return target


@pytest.mark.parametrize(
    "make, words", [(altered, "is damaged"), (not_a_number, "1 values that are NaN or infinite")]
)
def test_damaged_weights_and_nan_are_no_prediction(
    make: Callable[[Path, Path], Path],
    words: str,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.eye(8, dtype=np.uint8) * 200).save("sign.png")
    whole = trained / checkpoint.BEST
    assert main([str(whole), "sign.png"]) == 0, "the control"
    Path("prediction.png").unlink()
    capsys.readouterr()
    assert main([str(make(whole, tmp_path / "bad.pt")), "sign.png"]) == 1
    out, error = capsys.readouterr()
    assert not out and len(error.splitlines()) == 1 and words in error and "bad.pt" in error
    assert not Path("prediction.png").exists()


def test_a_resumed_training_names_its_damaged_file_and_what_to_do(
    trained: Path, tmp_path: Path
) -> None:
    for name in (checkpoint.BEST, checkpoint.LAST):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    last = altered(trained / checkpoint.LAST, tmp_path / checkpoint.LAST)
    damaged = last.read_bytes()
    with pytest.raises(CheckpointError) as refused:
        train(tmp_path, epochs=2, resume=True)
    message = str(refused.value)
    assert message.startswith(f"{last} is damaged") and "\n" not in message
    assert "resume=false" in message and last.read_bytes() == damaged
    instead = f"model.init_from={tmp_path / checkpoint.BEST}"
    assert instead in message
    made = build(setup(compose([*SMALL, instead])).spec)
    best = checkpoint.load(tmp_path / checkpoint.BEST)["model"]
    weights = made.model.state_dict()
    assert all(torch.equal(weights[key], best[key]) for key in best if "slope" not in key)
    train(tmp_path, epochs=2, resume=False)
    assert len(checkpoint.load_last(last)["history"]) == 2
