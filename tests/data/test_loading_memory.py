"""Memory of a data set that is read: only the examples that are kept are turned into float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bnn.data import load, loading
from bnn.data.source import Raw
from bnn.data.spec import DatasetSpec


def test_examples_that_are_left_out_are_never_turned_into_floats(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    converted: list[int] = []
    split = loading.split

    def counted(spec: DatasetSpec, raw: Raw) -> loading.Split:
        converted.append(len(raw.images))
        return split(spec, raw)

    monkeypatch.setattr(loading, "split", counted)
    data = load({"name": "digits", "limit": 64}, 0, 0.1)
    assert sorted(converted) == [64, 150, 297]
    assert [len(part.images) for part in (data.train, data.validation, data.test)] == [64, 150, 297]


def test_pixels_are_the_same_as_of_the_whole_array_normalised_at_once() -> None:
    """To the last bit, wherever a vectorised loop ends."""
    pixels = np.random.default_rng(0).integers(0, 256, (1003, 1, 7, 9), dtype=np.uint8)
    labels = np.arange(1003) % 10
    spec = DatasetSpec("x", "x", (1, 7, 9), 10, 1003, 3, 0.1307, 0.3081, 255)
    whole = loading.split(spec, Raw(pixels, labels))
    order = loading.split_order(1003, 0, 0.1)
    made = loading.divided(spec, Raw(pixels, labels), Raw(pixels[:3], labels[:3]), order, 517)
    held_out, rest = order
    for part, index in ((made.validation, held_out), (made.train, rest[:517])):
        assert torch.equal(part.images, whole.images[index]) and part.images.is_contiguous()
        assert torch.equal(part.labels, whole.labels[index])
