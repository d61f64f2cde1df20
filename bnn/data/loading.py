"""From a configuration node to normalised tensors: which data set it will be, then its splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, open_dict

from bnn.data.datasets import configured, rename, spec_of
from bnn.data.download import Unreachable
from bnn.data.source import Raw
from bnn.data.spec import DatasetSpec
from bnn.errors import ConfigError
from bnn.seeds import stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Images float32 [n, c, h, w], normalised, and labels int64 [n], or float32 [n, ...] where targets are numbers."""

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
        return Dataset(
            self.spec, self.train.to(device), self.validation.to(device), self.test.to(device)
        )


def resolve(node: Mapping[str, Any]) -> str:
    """Name of the data set that will really be used; its files are on disk and verified when this returns.

    That is `node.name`, downloaded if need be, or else `node.offline_fallback`: the caller says so to the user.
    Errors: DataError if it cannot be had and the fallback is null, and, whatever the fallback, for files that are not
    what their checksums say; ConfigError for a node that cannot be read.
    """
    asked = configured(node)
    try:
        asked.source.fetch()
    except Unreachable as error:
        if (fallback := asked.node.get("offline_fallback")) is None:
            raise
        log.info("%s", error)
        return str(fallback)
    return asked.name


def use_data(config: DictConfig) -> str | None:
    """Decide which data set a configuration will use, downloading it if need be.

    Args:
        config: a composed configuration; `config.data` is changed after a fallback.

    Returns:
        The warning to show after a fallback, or None.

    Raises:
        DataError: if it cannot be had and no fallback is named.
    """
    asked = config.data
    name = resolve(asked)
    if name == asked.name:
        return None
    with open_dict(config):
        config.data = rename(asked, name)
    return (
        f"warning: {spec_of(asked).title} is neither on disk nor reachable: these runs use {spec_of(config.data).title} "
        "instead (data.offline_fallback=null makes this an error)"
    )


def at_hand(node: Mapping[str, Any]) -> str:
    """Name of the data set to use where nothing is to be downloaded: `node.name` where its files are on disk or no fallback
    is named, or else `node.offline_fallback`. Errors: ConfigError for a node that cannot be read."""
    asked = configured(node)
    fallback = asked.node.get("offline_fallback")
    return asked.name if fallback is None or not asked.source.missing() else str(fallback)


def load(node: Mapping[str, Any], seed: int, validation_fraction: float) -> Dataset:
    """The data set `node`, read into memory; it is not downloaded (see `resolve`).

    A permutation drawn from `seed` holds out `validation_fraction` of the training examples. `node.limit` then keeps
    the first so many of the rest, and leaves validation and test as they are; a limit above their number keeps all.
    Images are `(pixel / white - mean) / std`.
    Errors: DataError for files that are missing or not what their checksums say; ConfigError for a node that cannot be
    read or a fraction that leaves either part empty.
    """
    asked = configured(node)
    spec = asked.spec()
    order = split_order(spec.train_size, seed, validation_fraction)
    training, test = (split(spec, raw) for raw in asked.source.read())
    return divided(spec, training, test, order, asked.limit)


def split_order(size: int, seed: int, validation_fraction: float) -> tuple[Tensor, Tensor]:
    """Indices of the examples that are held out for validation, and of the rest, in the order of a permutation.

    Args:
        size: Number of training examples before any are held out.
        seed: Decides the permutation.
        validation_fraction: Share that is held out, in (0, 1).

    Returns:
        Two int64 tensors, together a permutation of `range(size)`.

    Raises:
        ConfigError: For a fraction that leaves either part empty.
    """
    import torch

    held_out = round(size * validation_fraction) if 0 < validation_fraction < 1 else 0
    if not 0 < held_out < size:
        raise ConfigError(
            f"validation_fraction: expected a number in (0, 1) that leaves examples on both sides of the {size}; "
            f"got {validation_fraction}"
        )
    order = torch.randperm(size, generator=torch.Generator().manual_seed(stream(seed, "split")))
    return order[:held_out], order[held_out:]


def divided(
    spec: DatasetSpec,
    training: Split,
    test: Split,
    order: tuple[Tensor, Tensor],
    limit: int | None = None,
) -> Dataset:
    """A data set whose training split leaves out the examples that are held out for validation.

    Args:
        spec: Its facts.
        training: All training examples.
        test: The test examples.
        order: Indices into `training`, as `split_order` answers them.
        limit: Training examples to keep of those that are not held out; None for all.

    Returns:
        The data set.
    """
    held_out, rest = order
    return Dataset(spec, _take(training, rest[:limit]), _take(training, held_out), test)


def split(spec: DatasetSpec, raw: Raw) -> Split:
    """Normalised tensors of examples as they are stored; `raw` stays as it is.

    Args:
        spec: Facts of the data set.
        raw: Its examples, or some of them.

    Returns:
        Images `(pixel / white - mean) / std`, and the targets.
    """
    import torch

    kind = torch.int64 if spec.classes is not None else torch.float32
    pixels = torch.tensor(raw.images, dtype=torch.float32).reshape(-1, *spec.shape)
    return Split(
        pixels.div_(spec.white).sub_(spec.mean).div_(spec.std), torch.tensor(raw.labels, dtype=kind)
    )


def _take(split: Split, indices: Tensor) -> Split:
    return Split(split.images[indices], split.labels[indices])
