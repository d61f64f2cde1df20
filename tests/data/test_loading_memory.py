"""Memory of a data set that is read: 8-bit images stay so, and no left-out example is converted."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from bnn.data import load, loading
from bnn.data.images import StoredImages
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
        assert torch.equal(part.images[:], whole.images[index]) and part.images[:].is_contiguous()
        assert torch.equal(part.labels, whole.labels[index])


def test_8_bit_images_stay_bytes_and_an_index_normalises_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (103, 3, 7, 9), dtype=np.uint8)
    spec = DatasetSpec("x", "x", (3, 7, 9), 10, 103, 3, 0.1307, 0.3081, 255)
    images = loading.split(spec, Raw(pixels, np.arange(103) % 10)).images
    assert isinstance(images, StoredImages) and images.pixels.element_size() == 1
    whole = torch.tensor(pixels).float().div(255).sub(0.1307).div(0.3081)
    assert torch.equal(images[:], whole) and images.shape == whole.shape
    for index in (5, slice(3, 9), [7, 1, 1], torch.tensor([100, 0]), whole[:, 0, 0, 0] > 0):
        assert torch.equal(images[index], whole[index])
    part = images.head(9)
    assert torch.equal(part[:], whole[:9]) and part.pixels.data_ptr() == images.pixels.data_ptr()
    assert images.to("cpu") is images
    assert torch.equal(torch.tensor(pixels), images.pixels), "indexing changes nothing"


def test_stored_images_are_a_tensor_wherever_torch_takes_one() -> None:
    pixels = torch.randint(0, 256, (9, 1, 4, 4), dtype=torch.uint8)
    images = StoredImages(pixels, DatasetSpec("x", "x", (1, 4, 4), 3, 9, 9, 0.1, 0.3, 255))
    whole = images[:]
    assert torch.equal(torch.cat([images, images]), torch.cat([whole, whole]))
    assert torch.equal(images.flatten(1), whole.flatten(1)) and images.dtype == torch.float32
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2))
    assert torch.equal(net(images), net(whole)) and images.mean() == whole.mean()
    loader = DataLoader(TensorDataset(images, torch.arange(9)), batch_size=4)
    assert torch.equal(torch.cat([batch for batch, _ in loader]), whole)
    assert torch.equal(copy.deepcopy(images)[:], whole), "copies and pickles"
    assert torch.equal(pickle.loads(pickle.dumps(images))[:], whole)
    with pytest.raises(AttributeError):
        images.nothing  # noqa: B018


def test_images_of_floating_point_stay_a_tensor() -> None:
    spec = DatasetSpec("x", "x", (1, 2, 2), None, 4, 4, 0.0, 1.0, 1)
    made = loading.split(spec, Raw(np.full((4, 1, 2, 2), 0.3), np.zeros(4)))
    assert isinstance(made.images, torch.Tensor) and made.images.dtype == torch.float32
