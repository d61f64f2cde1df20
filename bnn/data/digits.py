"""The 1,797 images of 8×8 pixels that scikit-learn bundles (Alpaydin & Kaynak 1998, the UCI test set)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bnn.data.source import Raw

TEST_SIZE = 297


@dataclass
class DigitsKeys:
    """What conf/data/digits.yaml takes besides `name`."""

    limit: int | None


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits; they come in one piece, and the stratified test part of 297 is the same for every seed."""

    keys: ClassVar = DigitsKeys
    bundled: ClassVar[bool] = True

    def missing(self, keys: DigitsKeys) -> tuple[str, ...]:
        return ()

    def fetch(self, keys: DigitsKeys) -> None:
        """Nothing to do."""

    def read(self, keys: DigitsKeys) -> tuple[Raw, Raw]:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        bunch = load_digits()
        train_images, test_images, train_labels, test_labels = train_test_split(
            bunch.images.astype("uint8"), bunch.target, test_size=TEST_SIZE, stratify=bunch.target, random_state=0
        )
        return Raw(train_images, train_labels), Raw(test_images, test_labels)
