"""From a configuration node to normalised tensors: which data set it will be, then its splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bnn.data.datasets import DatasetSpec, configured
from bnn.data.download import Unreachable
from bnn.errors import ConfigError
from bnn.seeds import stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Images float32 [n, c, h, w], normalised, and labels int64 [n]."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device | str) -> Split:
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True)
class Dataset:
    """A data set in memory: what it is, and its three splits."""

    spec: DatasetSpec
    train: Split
    validation: Split
    test: Split

    def to(self, device: torch.device | str) -> Dataset:
        return Dataset(self.spec, self.train.to(device), self.validation.to(device), self.test.to(device))


def resolve(node: Mapping[str, Any]) -> str:
    """Name of the data set that will really be used; its files are on disk and verified when this returns.

    That is `node.name`, downloaded if need be, or else `node.offline_fallback`: the caller says so to the user.
    Errors: DataError if it cannot be had and the fallback is null, and, whatever the fallback, for files that are not
    what their checksums say; ConfigError for a node that cannot be read.
    """
    spec, keys = configured(node)
    try:
        spec.source.fetch(keys)
    except Unreachable as error:
        if keys.offline_fallback is None:
            raise
        log.info("%s", error)
        return str(keys.offline_fallback)
    return spec.name


def at_hand(node: Mapping[str, Any]) -> str:
    """Name of the data set to use where nothing is to be downloaded: `node.name` where its files are on disk or no fallback
    is named, or else `node.offline_fallback`. Errors: ConfigError for a node that cannot be read."""
    spec, keys = configured(node)
    fallback = getattr(keys, "offline_fallback", None)
    return spec.name if fallback is None or not spec.source.missing(keys) else str(fallback)


def load(node: Mapping[str, Any], seed: int, validation_fraction: float) -> Dataset:
    """The data set `node`, read into memory; it is not downloaded (see `resolve`).

    A permutation drawn from `seed` holds out `validation_fraction` of the training examples. `node.limit` then keeps
    the first so many of the rest, and leaves validation and test as they are; a limit above their number keeps all.
    Images are `(pixel / white - mean) / std`.
    Errors: DataError for files that are missing or not what their checksums say; ConfigError for a node that cannot be
    read or a fraction that leaves either part empty.
    """
    import torch

    spec, keys = configured(node)
    size = spec.train_size
    held_out = round(size * validation_fraction) if 0 < validation_fraction < 1 else 0
    if not 0 < held_out < size:
        raise ConfigError(
            f"validation_fraction: expected a number in (0, 1) that leaves examples on both sides of the {size}; "
            f"got {validation_fraction}"
        )
    training, test = (
        _normalised(spec, torch.tensor(raw.images), torch.tensor(raw.labels)) for raw in spec.source.read(keys)
    )
    order = torch.randperm(size, generator=torch.Generator().manual_seed(stream(seed, "split")))
    kept = order[held_out:][: keys.limit]
    return Dataset(spec, _take(training, kept), _take(training, order[:held_out]), test)


def _normalised(spec: DatasetSpec, images: Tensor, labels: Tensor) -> Split:
    pixels = images.float().reshape(-1, *spec.shape)
    return Split(pixels.div_(spec.white).sub_(spec.mean).div_(spec.std), labels.long())


def _take(split: Split, indices: Tensor) -> Split:
    return Split(split.images[indices], split.labels[indices])
