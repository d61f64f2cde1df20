"""The 1,797 images of 8×8 pixels that scikit-learn bundles.

(Alpaydin & Kaynak 1998, the UCI test set.)
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import numpy as np

from bnn.data.datasets import DATASETS
from bnn.data.source import Raw, Source
from bnn.data.spec import DatasetSpec

TEST_SIZE = 297


def _file() -> Path:
    """Pixels and class of each image; found without importing scikit-learn, which takes seconds."""
    spec = find_spec("sklearn")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "datasets", "data", "digits.csv.gz")


def _stratified(labels: np.ndarray, test_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and the test part, each class in proportion.

    They are those of scikit-learn's `train_test_split(…, stratify=labels, random_state=0)`.

    Args:
        labels: class of each example, [n].
        test_size: size of the test part.
    """
    random = np.random.RandomState(0)
    _, classes, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares = counts / len(labels) * (len(labels) - test_size)
    sizes = np.floor(shares).astype(int)
    missing = len(labels) - test_size - int(sizes.sum())
    for rest in np.unique(shares - sizes)[::-1] if missing else ():  # the largest rests first
        (tied,) = np.where(shares - np.floor(shares) == rest)
        raised = random.choice(tied, size=min(len(tied), missing), replace=False)
        sizes[raised] += 1
        missing -= len(raised)
        if not missing:
            break
    groups = np.split(np.argsort(classes, kind="stable"), np.cumsum(counts)[:-1])
    mixed = [group[random.permutation(len(group))] for group in groups]
    train = np.concatenate([group[:size] for group, size in zip(mixed, sizes, strict=True)])
    test = np.concatenate([group[size:] for group, size in zip(mixed, sizes, strict=True)])
    return random.permutation(train), random.permutation(test)


@DATASETS.add("digits")
class Digits(Source):
    """scikit-learn's digits.

    They come in one piece; the stratified test part of 297 is the same for every seed.
    """

    bundled: ClassVar[bool] = True
    facts: ClassVar = DatasetSpec(
        name="digits",
        title="scikit-learn digits",
        shape=(1, 8, 8),
        classes=10,
        train_size=1797 - TEST_SIZE,
        test_size=TEST_SIZE,
        mean=0.3053,
        std=0.3761,
        max_value=16,
        digit_size=8,
    )

    def spec(self) -> DatasetSpec:
        return self.facts

    def read(self) -> tuple[Raw, Raw]:
        rows = np.loadtxt(_file(), delimiter=",", dtype=np.int64)
        images, labels = rows[:, :-1].astype(np.uint8).reshape(-1, 8, 8), rows[:, -1]
        train, test = _stratified(labels, TEST_SIZE)
        return Raw(images[train], labels[train]), Raw(images[test], labels[test])
