"""Data set from a folder of images, in which each class has a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

import numpy as np

from bnn.data.datasets import DATASETS
from bnn.data.measuring import measured
from bnn.data.source import Measured, Raw
from bnn.data.spec import DatasetSpec
from bnn.errors import ConfigError, DataError

ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Endings of image files, those of torchvision's ImageFolder; other files are no examples."""
MODES = {1: "L", 3: "RGB"}
"""Pillow's name for 8-bit pixels, by the number of channels."""

Listing = Mapping[str, Sequence[Path]]
"""Image files by class, both in alphabetical order."""


@DATASETS.add("folder")
class Folder(Measured):
    """Images of each class in a folder of its own.

    These are `root/train/CLASS` and `root/test/CLASS`, or, where there is no such pair,
    `root/CLASS`, of whose images a share is held out for test. Classes are numbered in alphabetical
    order. The held-out share of each class is the same for every seed. Names that begin with a dot
    are passed over, and so is transparency.

    Args:
        root: the folder.
        size: side in pixels to which images are resized; None: all have the size of the first.
        channels: 1 (grey) or 3 (red, green and blue).
        test_fraction: share of each class that is held out for test, where there are no `train` and
            `test`.

    Raises:
        ConfigError: for a value that makes no sense, naming its key.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        size: int | None = None,
        channels: int = 1,
        test_fraction: float = 0.2,
    ) -> None:
        if not root:
            raise ConfigError(
                "data.root: expected a folder that holds a folder of images for each class, "
                f"got {root!r}; write data.root=/path/to/it"
            )
        if size is not None and size < 1:
            expected = "a side in pixels, or null for that of the first image"
            raise ConfigError(f"data.size: expected {expected}; got {size}")
        if channels not in MODES:
            raise ConfigError(f"data.channels: expected 1 (grey) or 3 (colours), got {channels}")
        if not 0 < test_fraction < 1:
            raise ConfigError(f"data.test_fraction: expected one in (0, 1), got {test_fraction}")
        self.root = Path(root).expanduser().absolute()
        self.size, self.channels, self.test_fraction = size, channels, test_fraction

    def key(self) -> Hashable:
        """Arguments, and name, size and time of every file: changed files are read anew."""
        listed = (paths for part in self.parts() for paths in part.values())
        stats = ((path, path.stat()) for paths in listed for path in paths)
        files = tuple((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)
        return self.root, self.size, self.channels, self.test_fraction, files

    def parts(self) -> tuple[Listing, Listing]:
        """Training and test images by class.

        Raises:
            DataError: where there is no such folder, class or image, or too few images to hold some
                out.
        """
        if not self.root.is_dir():
            raise DataError(f"data.root: no such folder: {self.root}")
        train, test = self.root / "train", self.root / "test"
        if not (train.is_dir() and test.is_dir()):
            return _held_out(listing(self.root), self.test_fraction)
        parts = listing(train), listing(test)
        if odd := sorted(set(parts[0]) ^ set(parts[1])):
            both = f"the same classes in {train} and {test}"
            raise DataError(f"data.root: expected {both}; only one has {', '.join(odd)}")
        return parts

    def produce(self) -> tuple[DatasetSpec, tuple[Raw, Raw]]:
        classes, held_out = self.parts()
        first = next(iter(classes.values()))[0]
        shape = self._pixels(first).shape
        train, test = (self._read(part, first, shape) for part in (classes, held_out))
        title = f"{self.root.name} (a folder)"
        return measured("folder", title, train, test, class_names=list(classes)), (train, test)

    def _read(self, part: Listing, first: Path, shape: tuple[int, ...]) -> Raw:
        files = [(label, path) for label, paths in enumerate(part.values()) for path in paths]
        images = np.empty((len(files), *shape), np.uint8)
        for index, (_, path) in enumerate(files):
            pixels = self._pixels(path)
            if pixels.shape != shape:
                one, other = ("×".join(map(str, kind[:0:-1])) for kind in (shape, pixels.shape))
                raise DataError(
                    f"data.size: expected images of one size, but {path} has {other} pixels and "
                    f"{first} {one}; write data.size=N to bring all to N×N"
                )
            images[index] = pixels
        return Raw(images, np.array([label for label, _ in files], np.int64))

    def _pixels(self, path: Path) -> np.ndarray:
        """Pixels of an image file, uint8 [channels, h, w]."""
        from PIL import Image

        from bnn.data.image_files import opened

        try:
            image = opened(path)
        except DataError as error:
            raise DataError(f"data.root: {error}") from error
        if image.mode[0] in "IF":
            raise DataError(f"data.root: {path}: expected 8 bits a channel, got mode {image.mode}")
        image = image.convert(MODES[self.channels])
        if self.size is not None:
            image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        pixels = np.asarray(image)
        return pixels[None] if self.channels == 1 else pixels.transpose(2, 0, 1)


def listing(folder: Path) -> Listing:
    """Image files of each class.

    Args:
        folder: directory that holds a folder for each class.

    Returns:
        Paths by the name of the class.

    Raises:
        DataError: where there is no class, a class without an image, or a folder within one; or
            where it cannot be read.
    """
    try:
        classes = {
            entry.name: sorted(os.scandir(entry.path), key=lambda file: file.name)
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name)
            if entry.is_dir() and not entry.name.startswith(".")
        }
    except OSError as error:
        raise DataError(f"data.root: {error.filename} cannot be read ({error.strerror})") from error
    if not classes:
        raise DataError(f"data.root: no folder of a class in {folder}; expected CLASS/IMAGE there")
    found: dict[str, list[Path]] = {}
    for name, entries in classes.items():
        there = [entry for entry in entries if not entry.name.startswith(".")]
        if within := [entry.path for entry in there if entry.is_dir()]:
            raise DataError(
                f"data.root: {within[0]} is a folder within the class {name}; expected CLASS/IMAGE "
                f"in {folder}, or in both its train and its test"
            )
        found[name] = [Path(entry.path) for entry in there if entry.name.lower().endswith(ENDINGS)]
        if not found[name]:
            endings = f"a file that ends in {', '.join(ENDINGS)}"
            raise DataError(f"data.root: {folder / name} holds no image ({endings})")
    return found


def _held_out(classes: Listing, fraction: float) -> tuple[Listing, Listing]:
    """Training and test images, a share of each class for test.

    No seed of the configuration moves the share.
    """
    train, test = {}, {}
    for name, paths in classes.items():
        count = round(fraction * len(paths))
        if not 0 < count < len(paths):
            raise DataError(
                f"data.test_fraction: {fraction} of the {len(paths)} images of class {name} leaves "
                "none on one side; change it, or add images"
            )
        order = np.random.default_rng(0).permutation(len(paths))
        train[name] = [paths[index] for index in sorted(order[count:])]
        test[name] = [paths[index] for index in sorted(order[:count])]
    return train, test
