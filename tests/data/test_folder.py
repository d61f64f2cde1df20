"""Laws of `data=folder`: classes, pixels and parts are those of the files; errors are one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command_line import QUICK, run_here, runs
from torchvision.datasets import ImageFolder

from bnn.config.canonical import digest
from bnn.config.compose import compose, with_values
from bnn.data import load, resolve, spec_of
from bnn.data.source import Measured
from bnn.errors import BnnError, ConfigError, DataError
from bnn.predict import main as predict
from bnn.restore import load_checkpoint
from bnn.specify import setup

SIDE = 8
CLASSES = ("cat", "dog", "owl")


def saved(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def filled(root: Path, *parts: str, images: int = 10, colours: bool = False) -> Path:
    """Noise whose mean tells the class, in `root/PART/CLASS/NUMBER.png`."""
    generator = np.random.default_rng(len(parts))
    for part in parts or ("",):
        for label, name in enumerate(CLASSES):
            for number in range(images):
                shape = (SIDE, SIDE, 3) if colours else (SIDE, SIDE)
                pixels = generator.integers(80 * label, 80 * label + 90, shape, dtype=np.uint8)
                saved(root / part / name / f"{number:02d}.png", pixels)
    return root


def node(root: Path, **values: object) -> dict[str, object]:
    return {"name": "folder", "root": str(root), **values}


def pixels(images: torch.Tensor, root: Path, **values: object) -> torch.Tensor:
    """Pixels of the files, from normalised images."""
    spec = spec_of(node(root, **values))
    return ((images.double() * spec.std + spec.mean) * 255).round().long()


def unordered(images: torch.Tensor) -> list[list[int]]:
    return sorted(images.flatten(1).tolist())


# Reading


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_and_labels_are_torchvisions(tmp_path: Path, channels: int) -> None:
    root = filled(tmp_path, "train", "test", colours=channels == 3)
    data = load(node(root, channels=channels), 0, 0.2)
    mode = {1: "L", 3: "RGB"}[channels]
    reference = ImageFolder(str(root / "test"))
    arrays = [
        np.asarray(image.convert(mode)).reshape(SIDE, SIDE, channels) for image, _ in reference
    ]
    assert data.test.labels.tolist() == [label for _, label in reference]
    theirs = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)
    assert torch.equal(pixels(data.test.images[:], root, channels=channels), theirs.long())
    assert data.spec.class_names == tuple(reference.classes) == CLASSES
    assert data.spec.shape == (channels, SIDE, SIDE) and data.spec.classes == 3


def test_the_moments_are_those_of_the_training_images_alone(tmp_path: Path) -> None:
    root = filled(tmp_path, "train", "test")
    for path in (root / "test").glob("*/*.png"):
        saved(path, np.full((SIDE, SIDE), 255, np.uint8))
    data = load(node(root), 0, 0.2)
    training = torch.cat([data.train.images[:], data.validation.images[:]]).double()
    assert training.mean().item() == pytest.approx(0, abs=1e-6)
    assert training.std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert data.test.images[:].min() > 1, "the test images are normalised by the training images"


def test_the_held_out_share_is_stratified_disjoint_and_the_same_for_every_seed(
    tmp_path: Path,
) -> None:
    root = filled(tmp_path)
    one, other = (
        load(node(root, test_fraction=0.3), 0, 0.2),
        load(node(root, test_fraction=0.3), 7, 0.4),
    )
    assert torch.equal(one.test.images[:], other.test.images[:])
    assert torch.bincount(one.test.labels).tolist() == [3, 3, 3]
    parts = [unordered(part.images[:]) for part in (one.train, one.validation, one.test)]
    whole = [tuple(image) for part in parts for image in part]
    assert len(set(whole)) == len(whole) == 30
    assert len(load(node(root), 0, 0.2).test.labels) == 6, "0.2 by default"


def test_a_size_is_reached_by_resizing_and_its_absence_takes_the_first_images(
    tmp_path: Path,
) -> None:
    root = filled(tmp_path)
    saved(root / "owl" / "00.png", np.full((20, 30), 200, np.uint8))
    assert load(node(root, size=4), 0, 0.2).train.images.shape[1:] == (1, 4, 4)
    with pytest.raises(
        DataError, match=r"data\.size: .*owl/00\.png has 30×20 pixels.*8×8.*data\.size=N"
    ):
        load(node(root), 0, 0.2)


def test_a_limit_keeps_training_examples_and_leaves_the_facts(tmp_path: Path) -> None:
    root = filled(tmp_path)
    whole, limited = load(node(root), 0, 0.25), load(node(root, limit=5), 0, 0.25)
    assert torch.equal(limited.train.images[:], whole.train.images[:5])
    assert limited.spec == whole.spec and torch.equal(limited.test.images[:], whole.test.images[:])


def test_a_folder_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, reads = filled(tmp_path), []
    produce = type(spec_source(root)).produce
    monkeypatch.setattr(
        type(spec_source(root)), "produce", lambda self: reads.append(1) or produce(self)
    )
    before = spec_of(node(root))
    load(node(root), 0, 0.2), load(node(root), 1, 0.3), resolve(node(root))
    assert len(reads) == 1
    saved(root / "cat" / "10.png", np.zeros((SIDE, SIDE), np.uint8))
    after = spec_of(node(root))
    assert (
        len(reads) == 2
        and after.train_size == before.train_size + 1
        and after.content != before.content
    )


def spec_source(root: Path) -> Measured:
    from bnn.data import configured

    source = configured(node(root)).source
    assert isinstance(source, Measured)
    return source


def test_dot_files_and_other_files_are_no_examples(tmp_path: Path) -> None:
    root = filled(tmp_path)
    before = spec_of(node(root))
    (root / ".cache").mkdir()
    (root / "cat" / ".hidden.png").write_text("x")
    (root / "cat" / "notes.txt").write_text("x")
    assert spec_of(node(root)) == before


# Refusals


def no_class(root: Path) -> None:
    root.mkdir()


def no_image(root: Path) -> None:
    filled(root)
    (root / "empty").mkdir()


def nested(root: Path) -> None:
    filled(root, "train")


def no_picture(root: Path) -> None:
    filled(root)
    (root / "dog" / "03.png").write_text("words")


def truncated(root: Path) -> None:
    filled(root)
    path = root / "dog" / "03.png"
    path.write_bytes(path.read_bytes()[:60])


def wide(root: Path) -> None:
    filled(root)
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint16)).save(root / "cat" / "00.png")


def unlike(root: Path) -> None:
    filled(root, "train", "test")
    saved(root / "test" / "emu" / "0.png", np.zeros((SIDE, SIDE), np.uint8))


def few(root: Path) -> None:
    filled(root, images=2)


def blank(root: Path) -> None:
    for name in CLASSES:
        for number in range(5):
            saved(root / name / f"{number}.png", np.zeros((SIDE, SIDE), np.uint8))


@pytest.mark.parametrize(
    "made, words",
    [
        (lambda root: None, ["data.root", "no such folder"]),
        (no_class, ["data.root", "CLASS/IMAGE"]),
        (no_image, ["data.root", "empty", "no image"]),
        (nested, ["data.root", "train", "folder within the class", "test"]),
        (no_picture, ["data.root", "dog/03.png", "Pillow"]),
        (truncated, ["data.root", "dog/03.png", "cannot be read"]),
        (wide, ["data.root", "cat/00.png", "I;16"]),
        (unlike, ["data.root", "same classes", "emu"]),
        (few, ["data.test_fraction", "cat", "2 images"]),
        (blank, ["data=folder", "every pixel"]),
    ],
)
def test_what_is_wrong_with_a_folder_is_one_line(tmp_path: Path, made, words: list[str]) -> None:
    made(tmp_path / "images")
    for attempt in (spec_of, resolve, lambda asked: load(asked, 0, 0.2)):
        with pytest.raises(DataError) as refused:
            attempt(node(tmp_path / "images"))
        assert all(word in str(refused.value) for word in words) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "values, words",
    [
        ({"root": None}, ["data.root", "None"]),
        ({"root": ""}, ["data.root", "''"]),
        ({"channels": 4}, ["data.channels", "4"]),
        ({"size": 0}, ["data.size", "0"]),
        ({"size": "large"}, ["data.size"]),
        ({"test_fraction": 1.0}, ["data.test_fraction", "1.0"]),
        ({"limit": 0}, ["data.limit"]),
        ({"colour": True}, ["data.colour", "root, size, channels, test_fraction, limit"]),
    ],
)
def test_a_key_that_cannot_be_is_one_line(tmp_path: Path, values: dict, words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        resolve({**node(filled(tmp_path)), **values})
    assert all(word in str(refused.value) for word in words) and "\n" not in str(refused.value)


# Runs


def planned(root: Path, **values: object):
    return setup(with_values(compose(["data=folder", *QUICK[1:]]), data=node(root, **values)))


def test_the_digest_follows_the_images_and_not_the_place(tmp_path: Path) -> None:
    one, same = planned(filled(tmp_path / "one")), planned(filled(tmp_path / "same"))
    assert one.spec.digest == same.spec.digest
    saved(tmp_path / "same" / "cat" / "00.png", np.zeros((SIDE, SIDE), np.uint8))
    assert planned(tmp_path / "same").spec.digest != one.spec.digest
    assert digest(dict(one.spec.config)) == digest(dict(planned(tmp_path / "same").spec.config))
    known = setup(compose(QUICK))
    assert known.spec.digest == digest(dict(known.spec.config)), (
        "published data sets are told by their name"
    )


def test_keys_left_out_and_keys_given_their_defaults_are_one_configuration(tmp_path: Path) -> None:
    root = filled(tmp_path)
    full = planned(root, size=None, channels=1, test_fraction=0.2, limit=None)
    assert (
        planned(root).spec.digest == full.spec.digest
        and planned(root).spec.config == full.spec.config
    )


@pytest.mark.integration
def test_a_network_trains_on_a_folder_and_predicts_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    root = filled(tmp_path / "images", images=30, colours=True)
    words = [
        "data=folder",
        f"data.root={root}",
        "data.channels=3",
        *QUICK[1:],
        "tracking.heatmaps=true",
    ]
    done = run_here(tmp_path, *words, "trainer.epochs=3", "optimizer=adam", "trainer.progress=none")
    assert done.returncode == 0, done.stderr
    (run,) = runs(tmp_path, "run", "bnn/folder")
    assert run.data.metrics["test/accuracy"] > 0.5
    assert not [
        key for key in run.data.params if "facts" in key or "content" in key or "root" in key
    ]
    example = tmp_path / "example.png"
    (root / "owl" / "00.png").rename(example)
    root.rename(tmp_path / "gone")
    (best,) = tmp_path.glob("outputs/**/best.pt")
    model, about = load_checkpoint(best)
    assert about["data_facts"]["shape"] == [3, SIDE, SIDE] and about["data_facts"][
        "class_names"
    ] == list(CLASSES)
    assert model(torch.zeros(2, 3, SIDE, SIDE)).shape == (2, 3)
    capsys.readouterr()
    assert predict([str(best), str(example), "--picture", str(tmp_path / "bits.png")]) == 0
    said = capsys.readouterr().out
    assert said.split()[0] in CLASSES and "images (a folder)" in said
    with pytest.raises(BnnError, match=r"data\.root: no such folder"):
        setup(with_values(compose(words), tracking__heatmaps=False))


@pytest.mark.integration
def test_a_missing_folder_ends_a_command_in_one_line(tmp_path: Path) -> None:
    for words in (["data=folder"], ["data=folder", f"data.root={tmp_path / 'none'}"]):
        for more in ([], ["-m", "seed=0,1"]):
            done = run_here(tmp_path, *more, *words)
            assert (
                done.returncode == 1
                and done.stderr.startswith("error: data.root: ")
                and done.stderr.count("\n") == 1
            )
    assert not list(tmp_path.rglob("mlflow.db"))
