"""Laws of bnn.data, on 60 + 20 tiny images under MNIST's name, published by a local server.

Tests on real MNIST read the environment variable BNN_TEST_DATA, a folder that holds MNIST/raw/*.gz.
"""

from __future__ import annotations

import builtins
import gzip
import hashlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf

import bnn
from bnn.data import DATASETS, Dataset, load, offline_name, rename, resolve, spec_of
from bnn.data import download as download_module
from bnn.data.archives import Archives, Mnist
from bnn.errors import ConfigError, DataError
from bnn.paths import folder

NOTICED = 20.0
"""Seconds within which a download that fails must be given up."""
IMAGES = "train-images-idx3-ubyte.gz"


def node(
    root: object, fallback: str | list[str] | None = "digits", limit: int | None = None
) -> dict[str, object]:
    return {"name": "mnist", "root": str(root), "offline_fallback": fallback, "limit": limit}


def digits(limit: int | None = None) -> dict[str, object]:
    return {"name": "digits", "limit": limit}


def listing(root: Path) -> set[tuple[str, int, int]]:
    return {
        (str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*")
    }


def closed_mirror() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}/"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with the four archives of a tiny MNIST, for which no mirror answers.

    Pixel [0, 0] is the example's index.
    """
    raw = tmp_path / "published" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    generator = np.random.default_rng(0)
    for part, size in (("train", 60), ("t10k", 20)):
        images = generator.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        images[:, 0, 0] = np.arange(size)
        labels = (np.arange(size) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
            content = gzip.compress(header + array.tobytes())
            name = f"{part}-{kind}-ubyte.gz"
            (raw / name).write_bytes(content)
            resources.append((name, hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [closed_mirror()])
    monkeypatch.setattr(Mnist, "facts", replace(Mnist.facts, train_size=60, test_size=20))
    monkeypatch.setenv("no_proxy", "*")
    return raw.parents[1]


class Mirror(SimpleHTTPRequestHandler):
    """Serves `directory`; `share` of each file arrives, in pieces with a `pause` before each."""

    share, declared, pieces, pause = 1.0, 1.0, 1, 0.0

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(int(len(content) * self.declared)))
        self.end_headers()
        content = content[: int(len(content) * self.share)]
        step = -(-len(content) // self.pieces)
        for start in range(0, len(content), step):
            time.sleep(self.pause)
            try:
                self.wfile.write(content[start : start + step])
                self.wfile.flush()
            except OSError:
                return

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def serve(published: Path, monkeypatch: pytest.MonkeyPatch):
    """Function that makes a server with the given manners the first mirror; returns its address."""
    servers = []

    def start(*others: str, **manners: float) -> str:
        handler = type("Mannered", (Mirror,), manners)
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(handler, directory=str(published / "MNIST" / "raw"))
        )
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        address = f"http://127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [address, *others])
        return address

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def real_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = os.environ.get("BNN_TEST_DATA")
    if source is None:
        pytest.skip("set BNN_TEST_DATA to a folder that holds MNIST/raw/*.gz to test on real MNIST")
    root = tmp_path_factory.mktemp("real")
    (root / "MNIST" / "raw").mkdir(parents=True)
    for archive in Path(source, "MNIST", "raw").glob("*.gz"):
        shutil.copyfile(archive, root / "MNIST" / "raw" / archive.name)
    return root


@pytest.fixture(scope="module")
def real(real_root: Path) -> Dataset:
    return load(node(real_root), 0, 0.1)


# Facts


def test_every_data_set_has_a_yaml_with_the_keys_it_takes() -> None:
    yamls = {path.stem: OmegaConf.load(path) for path in (folder("conf") / "data").glob("*.yaml")}
    assert set(yamls) == set(DATASETS)
    for name in DATASETS:
        assert yamls[name].name == name
        assert set(yamls[name]) == {
            "name",
            *(field.name for field in fields(DATASETS.schema(name))),
        }


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_the_yaml_reads_its_root_from_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = OmegaConf.load(folder("conf") / "data" / f"{name}.yaml")
    monkeypatch.setenv("BNN_DATA_ROOT", "/somewhere/else")
    assert read.root == "/somewhere/else"
    monkeypatch.delenv("BNN_DATA_ROOT")
    assert read.root == "~/.cache/bnn"


def test_a_tilde_in_root_is_the_home_folder(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(published.parent))
    assert resolve(node("~/published", fallback=None)) == "mnist"


@pytest.mark.parametrize("name", sorted(set(DATASETS) - {"digits", "folder", "mnist_5000"}))
def test_torchvision_publishes_every_archive_that_is_read(name: str) -> None:
    published = getattr(torchvision.datasets, DATASETS[name].torchvision_name)
    parts = {f"{p}-{k}-ubyte.gz" for p in ("train", "t10k") for k in ("images-idx3", "labels-idx1")}
    assert {archive for archive, _ in published.resources} == parts


def test_digits_facts_are_those_of_its_training_part() -> None:
    spec, data = spec_of(digits()), load(digits(), 0, 0.1)
    images = (
        torch.cat([data.train.images[:], data.validation.images[:]]).double() * spec.std + spec.mean
    )
    assert (len(images), len(data.test.labels)) == (spec.train_size, spec.test_size) == (1500, 297)
    assert images.shape[1:] == spec.shape
    assert images.min().item() == pytest.approx(
        0, abs=1e-6
    ) and images.max().item() == pytest.approx(1, abs=1e-6)
    assert images.mean().item() == pytest.approx(spec.mean, abs=5e-5)
    assert images.std(correction=0).item() == pytest.approx(spec.std, abs=5e-5)


def test_digits_test_part_is_stratified_and_the_same_for_every_seed() -> None:
    one, other = load(digits(), 0, 0.1), load(digits(), 1, 0.2)
    assert torch.equal(one.test.images[:], other.test.images[:]) and torch.equal(
        one.test.labels, other.test.labels
    )
    assert torch.bincount(one.test.labels, minlength=10).sub(29.7).abs().max() <= 1


# Splits


def indices(images: torch.Tensor) -> list[int]:
    """The index that the tiny images carry in their first pixel."""
    spec = Mnist.facts
    return ((images[:, 0, 0, 0].double() * spec.std + spec.mean) * 255).round().long().tolist()


def test_train_and_validation_are_disjoint_and_together_the_training_set(published: Path) -> None:
    data = load(node(published), 3, 0.25)
    train, validation = indices(data.train.images[:]), indices(data.validation.images[:])
    assert (len(train), len(validation)) == (45, 15)
    assert sorted(train + validation) == list(range(60))
    assert data.train.labels.tolist() == [i % 10 for i in train]
    assert data.validation.labels.tolist() == [i % 10 for i in validation]
    assert indices(data.test.images[:]) == list(range(20))


def test_the_seed_alone_decides_the_split(published: Path) -> None:
    torch.manual_seed(1)
    one = load(node(published), 0, 0.1)
    torch.manual_seed(2)
    again, other = load(node(published), 0, 0.1), load(node(published), 1, 0.1)
    assert indices(one.train.images[:]) == indices(again.train.images[:])
    assert set(indices(one.validation.images[:])) != set(indices(other.validation.images[:]))


def test_loading_draws_nothing_from_the_global_generator(published: Path) -> None:
    before = torch.get_rng_state()
    load(node(published), 0, 0.1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_limit_keeps_the_first_training_examples_and_nothing_else_changes(
    published: Path,
) -> None:
    whole, limited = load(node(published), 0, 0.1), load(node(published, limit=7), 0, 0.1)
    assert torch.equal(limited.train.images[:], whole.train.images[:7])
    assert torch.equal(limited.train.labels, whole.train.labels[:7])
    assert torch.equal(limited.validation.images[:], whole.validation.images[:])
    assert torch.equal(limited.test.images[:], whole.test.images[:])
    assert len(load(node(published, limit=1000), 0, 0.1).train.labels) == 54


def test_pixels_are_those_of_torchvisions_own_transforms(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, tmp_path / "unpacked")
    for archive in (tmp_path / "unpacked" / "MNIST" / "raw").glob("*.gz"):
        archive.with_suffix("").write_bytes(gzip.decompress(archive.read_bytes()))
    transforms = torchvision.transforms
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    reference = torchvision.datasets.MNIST(tmp_path / "unpacked", train=False, transform=transform)
    test = load(node(published), 0, 0.1).test
    assert test.images[:].dtype == torch.float32 and test.labels.dtype == torch.int64
    torch.testing.assert_close(
        test.images[:], torch.stack([image for image, _ in reference]), rtol=0, atol=0
    )
    assert test.labels.tolist() == [label for _, label in reference]


def test_to_moves_every_split(published: Path) -> None:
    moved = load(node(published), 0, 0.1).to("meta")
    tensors = [
        t for s in (moved.train, moved.validation, moved.test) for t in (s.images[:], s.labels)
    ]
    assert {t.device.type for t in tensors} == {"meta"}


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 0.001, 0.999, float("nan")])
def test_a_fraction_that_empties_a_side_is_refused(published: Path, fraction: float) -> None:
    with pytest.raises(ConfigError, match="validation_fraction"):
        load(node(published), 0, fraction)


# Real MNIST


def test_mnist_has_its_published_sizes_and_label_counts(real: Dataset) -> None:
    assert real.train.images[:].shape == (54_000, 1, 28, 28)
    assert real.validation.images[:].shape == (6_000, 1, 28, 28)
    assert real.test.images[:].shape == (10_000, 1, 28, 28)
    labels = torch.cat([real.train.labels, real.validation.labels])
    assert torch.bincount(labels).tolist() == [
        5923,
        6742,
        5958,
        6131,
        5842,
        5421,
        5918,
        6265,
        5851,
        5949,
    ]
    assert real.test.labels[:8].tolist() == [7, 2, 1, 0, 4, 1, 4, 9]


def test_mnist_training_pixels_have_mean_0_and_deviation_1(real: Dataset) -> None:
    pixels = torch.cat([real.train.images[:], real.validation.images[:]])
    assert pixels.mean(dtype=torch.float64).item() == pytest.approx(0, abs=5e-4)
    assert pixels.std().item() == pytest.approx(1, abs=5e-4)


def test_the_first_test_image_is_the_known_seven(real: Dataset) -> None:
    row = (real.test.images[0, 0, 7] * 0.3081 + 0.1307) * 255
    assert row.round().int().tolist()[4:14] == [0, 0, 84, 185, 159, 151, 60, 36, 0, 0]


def test_loading_mnist_leaves_its_folder_as_it_was(real_root: Path) -> None:
    before = listing(real_root)
    assert resolve(node(real_root, fallback=None)) == "mnist"
    load(node(real_root), 0, 0.1)
    assert listing(real_root) == before


# Files on disk


@pytest.mark.parametrize(
    "damage", [lambda c: c[: len(c) // 2], lambda c: b"", lambda c: c[:-1] + b"\xff"]
)
def test_a_damaged_archive_is_an_error_and_never_a_fallback(published: Path, damage) -> None:
    path = published / "MNIST" / "raw" / IMAGES
    content = path.read_bytes()
    path.write_bytes(damage(content))
    for attempt in (lambda: resolve(node(published)), lambda: load(node(published), 0, 0.1)):
        with pytest.raises(DataError) as caught:
            attempt()
        for part in (
            str(path),
            hashlib.md5(content).hexdigest(),
            hashlib.md5(path.read_bytes()).hexdigest(),
            "Delete",
        ):
            assert part in str(caught.value)


def test_unpacked_files_do_not_count(published: Path) -> None:
    for archive in (published / "MNIST" / "raw").glob("*.gz"):
        archive.with_suffix("").write_bytes(gzip.decompress(archive.read_bytes()))
        archive.unlink()
    assert resolve(node(published)) == "digits"
    with pytest.raises(DataError, match="unpacked files do not count"):
        load(node(published), 0, 0.1)


@pytest.mark.parametrize(
    "error", [RuntimeError("operator torchvision::nms does not exist"), ImportError("no module")]
)
def test_a_torchvision_that_does_not_import_is_said_and_no_fallback(
    published: Path, error, monkeypatch
) -> None:
    import_ = builtins.__import__

    def broken(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("torchvision"):
            raise error
        return import_(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", broken)
    with pytest.raises(
        DataError, match=r"torchvision cannot be imported.*same package index.*data=digits"
    ) as caught:
        resolve(node(published))
    assert str(error) in str(caught.value)
    assert resolve(digits()) == "digits"
    assert len(load(digits(), 0, 0.1).train.labels) == 1350


# Downloads


def test_without_a_network_the_fallback_is_used_and_nothing_is_written(
    published: Path, tmp_path: Path
) -> None:
    start = time.monotonic()
    assert resolve(node(tmp_path / "empty")) == "digits"
    assert time.monotonic() - start < NOTICED
    assert not (tmp_path / "empty").exists()


def test_without_a_network_and_a_fallback_the_error_says_what_to_do(
    published: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as caught:
        resolve(node(tmp_path / "empty", fallback=None))
    looked_in = str(tmp_path / "empty" / "MNIST" / "raw")
    for part in (
        looked_in,
        IMAGES,
        "data.root",
        "BNN_DATA_ROOT",
        "data=digits",
        torchvision.datasets.MNIST.mirrors[0],
    ):
        assert part in str(caught.value)


def test_what_is_offline_name_is_told_without_a_network(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a download was tried")

    monkeypatch.setattr(download_module, "download", refuse)
    monkeypatch.setattr(bnn.data.archives, "download", refuse)
    assert offline_name(node(published)) == "mnist" and offline_name(digits()) == "digits"
    assert offline_name(node(tmp_path / "empty")) == "digits"
    alone = node(tmp_path / "empty", fallback=None)
    assert offline_name(alone) == "mnist", "which reading then refuses"
    (published / "MNIST" / "raw" / IMAGES).unlink()
    assert offline_name(node(published)) == "digits", "three archives of four are not enough"


def test_after_a_fallback_the_renamed_node_loads(published: Path, tmp_path: Path) -> None:
    asked = node(tmp_path / "empty", limit=50)
    assert rename(asked, resolve(asked)) == digits(limit=50)
    assert rename(asked, "mnist") == asked
    data = load(rename(asked, resolve(asked)), 0, 0.1)
    assert (data.spec.name, len(data.train.labels)) == ("digits", 50)


@pytest.mark.server
def test_a_mirror_that_never_answers_is_given_up_in_time(
    published: Path, tmp_path: Path, monkeypatch
) -> None:
    with socket.socket() as one, socket.socket() as other:
        for server in (one, other):
            server.bind(("127.0.0.1", 0))
            server.listen()
        mirrors = [f"http://127.0.0.1:{server.getsockname()[1]}/" for server in (one, other)]
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", mirrors)
        monkeypatch.setattr(download_module, "ANSWER_SECONDS", 0.5)
        start = time.monotonic()
        assert resolve(node(tmp_path / "empty")) == "digits"
        assert time.monotonic() - start < NOTICED


@pytest.mark.server
def test_a_name_that_is_never_looked_up_is_given_up_in_time(
    published: Path, tmp_path: Path, monkeypatch
) -> None:
    answered = threading.Event()

    def hang(*args: object, **kwargs: object) -> None:
        answered.wait(60)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(download_module, "ANSWER_SECONDS", 0.5)
    start = time.monotonic()
    assert resolve(node(tmp_path / "empty")) == "digits"
    assert time.monotonic() - start < NOTICED
    answered.set()


def test_a_mirror_that_falls_silent_is_given_up(serve, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(download_module, "SILENCE_SECONDS", 0.3)
    serve(pause=3.0)
    start = time.monotonic()
    assert resolve(node(tmp_path / "empty")) == "digits"
    assert time.monotonic() - start < 2.5
    assert [p for p in (tmp_path / "empty").rglob("*") if p.is_file()] == []


def test_the_limits_add_up_to_less_than_the_promise() -> None:
    mirrors = max(
        len(getattr(torchvision.datasets, source.torchvision_name).mirrors)
        for source in DATASETS.values()
        if issubclass(source, Archives)
    )
    assert download_module.ANSWER_SECONDS + mirrors * download_module.SILENCE_SECONDS < NOTICED


@pytest.mark.server
def test_a_slow_download_that_moves_is_not_given_up(serve, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(download_module, "SILENCE_SECONDS", 0.6)
    serve(pieces=5, pause=0.2)
    start = time.monotonic()
    assert resolve(node(tmp_path / "empty", fallback=None)) == "mnist"
    assert time.monotonic() - start > 2 * download_module.SILENCE_SECONDS


def test_a_download_leaves_the_verified_archives_and_nothing_else(
    serve, published: Path, tmp_path: Path
) -> None:
    serve()
    root = tmp_path / "new"
    assert resolve(node(root, fallback=None)) == "mnist"
    files = {p.name: p.read_bytes() for p in (root / "MNIST" / "raw").iterdir()}
    assert files == {p.name: p.read_bytes() for p in (published / "MNIST" / "raw").iterdir()}
    assert torch.equal(
        load(node(root), 0, 0.1).train.images[:], load(node(published), 0, 0.1).train.images[:]
    )


def test_only_what_is_missing_is_downloaded(serve, published: Path, tmp_path: Path) -> None:
    serve()
    root = shutil.copytree(published, tmp_path / "partly")
    (root / "MNIST" / "raw" / IMAGES).unlink()
    before = listing(root)
    assert resolve(node(root, fallback=None)) == "mnist"
    kept = {entry for entry in before if entry[0].endswith(".gz")}
    assert len(kept) == 3 and kept <= listing(root)


@pytest.mark.parametrize("declared", [0.5, 1.0], ids=["shorter file", "connection cut"])
def test_a_truncated_download_is_an_error_and_leaves_nothing(
    serve, published, tmp_path: Path, declared: float
) -> None:
    address = serve(share=0.5, declared=declared)
    content = (published / "MNIST" / "raw" / IMAGES).read_bytes()
    found = hashlib.md5(content[: len(content) // 2]).hexdigest()
    with pytest.raises(DataError) as caught:
        resolve(node(tmp_path / "new"))
    for part in (address + IMAGES, hashlib.md5(content).hexdigest(), found):
        assert part in str(caught.value)
    assert [p for p in (tmp_path / "new").rglob("*") if p.is_file()] == []


def test_a_second_mirror_makes_good_what_the_first_spoils(serve, tmp_path: Path) -> None:
    good = serve()
    serve(good, share=0.5, declared=0.5)
    assert resolve(node(tmp_path / "new", fallback=None)) == "mnist"


def test_a_mirror_without_the_files_is_unreachable(serve, published: Path, tmp_path: Path) -> None:
    class Empty(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        do_HEAD = do_GET
        log_message = Mirror.log_message

    serve(do_GET=Empty.do_GET, do_HEAD=Empty.do_GET)
    with pytest.raises(DataError, match="404"):
        resolve(node(tmp_path / "new", fallback=None))


def test_a_root_that_cannot_be_written_is_an_error_and_never_a_fallback(
    serve, tmp_path: Path
) -> None:
    serve()
    (tmp_path / "occupied").write_text("a file, where a folder should be")
    with pytest.raises(DataError, match=r"data\.root"):
        resolve(node(tmp_path / "occupied"))


def test_a_write_that_breaks_off_leaves_no_archive(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve()
    write = Path.write_bytes

    def break_off(path: Path, content: bytes) -> None:
        write(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", break_off)
    with pytest.raises(DataError, match=r"No space left.*data\.root"):
        resolve(node(tmp_path / "new"))
    assert [p for p in (tmp_path / "new").rglob("*") if p.is_file()] == []


def test_downloads_in_lockstep_each_move_their_own_file(serve, tmp_path: Path, monkeypatch) -> None:
    serve()
    both_have_written, move, moved = threading.Barrier(2, timeout=30), os.replace, []

    def move_together(source: Path, target: Path) -> None:
        both_have_written.wait()
        moved.append(source)
        move(source, target)

    monkeypatch.setattr(os, "replace", move_together)
    with ThreadPoolExecutor(2) as pool:
        names = list(pool.map(resolve, [node(tmp_path / "new", fallback=None)] * 2))
    assert names == ["mnist", "mnist"]
    assert len(set(moved)) == 2 * 4


@pytest.mark.slow
@pytest.mark.integration
def test_two_processes_that_download_at_once_both_succeed(
    serve, published: Path, tmp_path: Path
) -> None:
    address = serve(pieces=2, pause=0.2)
    script = (
        "import json, sys; from torchvision.datasets import MNIST; from bnn.data import resolve\n"
        "asked, MNIST.mirrors, MNIST.resources = json.loads(sys.argv[1])\n"
        "sys.stdin.readline(); print(resolve(asked))"
    )
    arguments = json.dumps(
        [node(tmp_path / "new", fallback=None), [address], torchvision.datasets.MNIST.resources]
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, arguments],
            env={**os.environ, "PYTHONPATH": str(Path(bnn.__file__).parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120) for process in processes]
    assert [out.strip() for out, _ in outputs] == ["mnist", "mnist"], outputs
    names = {p.name for p in (tmp_path / "new" / "MNIST" / "raw").iterdir()}
    assert names == {p.name for p in (published / "MNIST" / "raw").iterdir()}


# Configuration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"name": "cifar"},
            r"data\.name: expected one of digits, fashion_mnist, folder, kmnist, mnist, "
            r"mnist_5000; got 'cifar'",
        ),
        ({"offline_fallback": "cifar"}, r"data\.offline_fallback: expected one of"),
        (
            {"offline_fallback": "kmnist"},
            r"data\.offline_fallback: expected null or some of digits, mnist_5000; "
            r"got 'kmnist'",
        ),
        ({"limit": 0}, r"data\.limit: expected at least 2 training examples"),
        ({"limit": "many"}, r"data\.limit"),
        ({"root": ""}, r"data\.root: expected a folder"),
        (
            {"rooot": "x"},
            r"data\.rooot: there is no such key; expected one of root, offline_fallback, limit",
        ),
    ],
)
def test_a_node_that_cannot_be_read_is_refused_by_its_key(
    published: Path, change: dict, message: str
) -> None:
    for attempt in (resolve, lambda n: load(n, 0, 0.1)):
        with pytest.raises(ConfigError, match=message):
            attempt({**node(published), **change})


def test_digits_takes_no_key_that_it_would_ignore() -> None:
    with pytest.raises(ConfigError, match=r"data\.root"):
        resolve({**digits(), "root": "x"})


def test_importing_the_room_imports_no_torch() -> None:
    script = (
        "import sys, bnn.data; sys.exit('torch' in sys.modules or 'torchvision' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(bnn.__file__).parents[1])}
    assert subprocess.run([sys.executable, "-c", script], env=env).returncode == 0
