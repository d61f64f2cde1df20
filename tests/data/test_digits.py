"""Digits: read without scikit-learn's code, and equal to what its functions return."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from bnn.data.digits import TEST_SIZE, Digits, _stratified


def test_the_parts_are_those_of_scikit_learns_functions() -> None:
    bunch = load_digits()
    expected = train_test_split(
        bunch.images.astype("uint8"), bunch.target, test_size=TEST_SIZE,
        stratify=bunch.target, random_state=0,
    )  # fmt: skip
    train, test = Digits().read()
    found = (train.images[:], test.images[:], train.labels, test.labels)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype and np.array_equal(one, other)


@pytest.mark.parametrize("counts", [(5, 5, 5, 5), (3, 8, 9), (11, 2, 30, 7), (4, 4, 4)])
@pytest.mark.parametrize("test_size", [4, 6, 7])
def test_a_stratified_split_is_scikit_learns_for_other_labels(
    counts: tuple[int, ...], test_size: int
) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts))
    expected = train_test_split(
        np.arange(len(labels)), test_size=test_size, stratify=labels, random_state=0
    )
    for one, other in zip(_stratified(labels, test_size), expected, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.integration
def test_reading_them_does_not_import_scikit_learn() -> None:
    code = "import sys; from bnn.data.digits import Digits; Digits().read(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "sklearn" not in done.stdout.split() and "bnn.data.digits" in done.stdout.split()
