"""`python -m bnn.predict`: the class by the run's own network, the bits, and errors on one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import QUICK, run_here, runs

from bnn.config.compose import compose
from bnn.data import load, spec_of
from bnn.predict import main, predicted
from bnn.restore import load_checkpoint

pytestmark = pytest.mark.integration

SMALL = [
    *QUICK,
    "trainer.epochs=6",
    "optimizer=adam",
    "neuron=deterministic",
    "trainer.progress=none",
]
Examples = list[tuple[Path, torch.Tensor]]
"""Validation images: file, and normalised tensor [1, 1, 8, 8]."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder and id of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    assert run_here(folder, *SMALL).returncode == 0
    return folder, runs(folder, "run")[0].info.run_id


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    folder, spec = tmp_path_factory.mktemp("images"), spec_of({"name": "digits"})
    split = load(compose(["data=digits"]).data, 0, 0.1).validation
    pairs = []
    for number, image in enumerate(split.images[:8]):
        pixels = (255 * (image[0] * spec.std + spec.mean)).round().clamp(0, 255)
        Image.fromarray(pixels.numpy().astype(np.uint8)).save(folder / f"{number}.png")
        pairs.append((folder / f"{number}.png", image[None]))
    return pairs


def checkpoint_of(folder: Path) -> Path:
    (found,) = folder.glob("outputs/**/best.pt")
    return found


def test_a_run_and_its_checkpoint_give_the_class_of_the_network(
    trained: tuple[Path, str],
    examples: Examples,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    folder, run_id = trained
    file, picture = checkpoint_of(folder), tmp_path / "bits.png"
    network, _ = load_checkpoint(file)
    classes = set()
    for path, image in examples:
        p, layers = predicted(network, image, 8, 0)
        expected = f"{int(p.argmax())}  ({100 * float(p.max()):.1f} %"
        for model, *store in ([run_id, "--uri", f"sqlite:///{folder}/mlflow.db"], [str(file)]):
            assert main([model, str(path), *store, "--picture", str(picture)]) == 0
            out = capsys.readouterr().out
            assert out.startswith(expected) and "act1, act2" in out
            assert Image.open(picture).size[0] > 800
        classes.add(int(p.argmax()))
        assert all(set(layer.output.unique().tolist()) <= {0.0, 1.0} for layer in layers.values())
    assert len(classes) > 3, "it is no constant"


def test_the_same_sign_drawn_large_and_dark_has_the_same_class(
    trained: tuple[Path, str],
    examples: Examples,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    """For six of eight at least."""
    file, drawn = str(checkpoint_of(trained[0])), tmp_path / "drawn.png"
    picture = ["--picture", str(tmp_path / "bits.png")]
    alike = 0
    for path, _ in examples:
        pixels = np.kron(255 - np.asarray(Image.open(path)), np.ones((20, 20), np.uint8))
        padded = np.pad(pixels, 60, constant_values=255)
        Image.fromarray(padded).convert("RGB").save(drawn)
        classes = []
        for words in ([str(path)], [str(drawn), "--drawing"]):
            assert main([file, *words, *picture]) == 0
            classes.append(capsys.readouterr().out[0])
        alike += classes[0] == classes[1]
    assert alike >= 6


@pytest.mark.parametrize(
    "model, image, more, words",
    [
        ("0" * 32, "0.png", [], ["0" * 32, "none of this id"]),
        ("none.pt", "0.png", [], ["none.pt", "no such file"]),
        ("0.png", "0.png", [], ["no checkpoint"]),
        ("other.pt", "0.png", [], ["other.pt", "expected a best.pt"]),
        ("best.pt", "large.png", [], ["8×8", "20×20", "--drawing"]),
        ("best.pt", "none.png", [], ["none.png", "No such file"]),
        ("best.pt", "0.png", ["--picture", "nowhere/bits.png"], ["--picture", "nowhere"]),
        ("best.pt", "0.png", ["--picture", "bits.words"], ["--picture", "words"]),
    ],
)
def test_files_that_cannot_be_read_or_written_are_one_line(
    trained: tuple[Path, str],
    examples: Examples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    model: str,
    image: str,
    more: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (20, 20)).save("large.png")
    torch.save({"weight": torch.zeros(2)}, "other.pt")
    Path("0.png").write_bytes(examples[0][0].read_bytes())
    Path("best.pt").write_bytes(checkpoint_of(trained[0]).read_bytes())
    assert main([model, image, *more, "--uri", f"sqlite:///{trained[0]}/mlflow.db"]) == 1
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and all(word in error for word in words), error
    assert not Path("prediction.png").exists()
