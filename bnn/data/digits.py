"""The 1,797 images of 8×8 pixels that scikit-learn bundles.

(Alpaydin & Kaynak 1998, the UCI test set.)
"""

from __future__ import annotations

from typing import ClassVar

from bnn.data.datasets import DATASETS
from bnn.data.source import Raw, Source
from bnn.data.spec import DatasetSpec

TEST_SIZE = 297


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
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        bunch = load_digits()
        train_images, test_images, train_labels, test_labels = train_test_split(
            bunch.images.astype("uint8"),
            bunch.target,
            test_size=TEST_SIZE,
            stratify=bunch.target,
            random_state=0,
        )
        return Raw(train_images, train_labels), Raw(test_images, test_labels)
