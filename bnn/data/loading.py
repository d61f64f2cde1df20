"""Normalised tensors of a data set: which one a configuration will use, then its splits."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, open_dict

from bnn.data.datasets import configured, rename, spec_of
from bnn.data.download import Unreachable
from bnn.data.images import StoredImages
from bnn.data.source import Raw
from bnn.data.spec import DatasetSpec
from bnn.errors import ConfigError, DataError
from bnn.seeds import stream

if TYPE_CHECKING:
    import torch
    from torch import Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    Args:
        images: normalised float32 [n, c, h, w], a tensor or stored as uint8; of both an index gives
            a tensor.
        labels: classes, int64 [n], or numbers, float32 [n, ...].
    """

    images: Tensor | StoredImages
    labels: Tensor

    def to(self, device: torch.device | str) -> Split:
        """Split on a device."""
        return Split(self.images.to(device), self.labels.to(device))

    def head(self, size: int) -> Split:
        """Split of the first `size` examples."""
        images = self.images
        images = images.head(size) if isinstance(images, StoredImages) else images[:size]
        return Split(images, self.labels[:size])


@dataclass(frozen=True)
class Dataset:
    """Data set in memory.

    Args:
        spec: its facts.
        train: training split.
        validation: validation split.
        test: test split.

    Raises:
        DataError: for images or targets that are NaN or infinite.
    """

    spec: DatasetSpec
    train: Split
    validation: Split
    test: Split

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            _refuse_non_finite(f"data={self.spec.name}, {part}", getattr(self, part))

    def to(self, device: torch.device | str) -> Dataset:
        """Data set on a device."""
        return Dataset(
            self.spec, self.train.to(device), self.validation.to(device), self.test.to(device)
        )


def resolve(node: Mapping[str, Any]) -> str:
    """Name of the data set to use, whose files are on disk and verified when this returns.

    That is `node.name`, downloaded if need be, or else the first of `node.offline_fallback` that
    is installed: the caller tells the user.

    Args:
        node: configuration node of the data set.

    Raises:
        DataError: if it cannot be had, nor a fallback; whatever the fallback, for files that do
            not have their checksums.
        ConfigError: for a node that cannot be read.
    """
    asked = configured(node)
    try:
        asked.source.fetch()
    except Unreachable as error:
        if (fallback := _installed(asked.fallbacks)) is None:
            raise
        log.info("%s", error)
        configured({"name": fallback}).source.fetch()
        return fallback
    return asked.name


def _installed(names: Sequence[str]) -> str | None:
    """First of some data sets whose files are on disk."""
    return next((name for name in names if not configured({"name": name}).source.missing()), None)


def use_data(config: DictConfig) -> str | None:
    """Decide which data set a configuration will use, downloading it if need be.

    Args:
        config: composed configuration; `config.data` is changed after a fallback.

    Returns:
        Warning to show after a fallback, or None.

    Raises:
        DataError: if it cannot be had, nor a fallback.
    """
    asked = config.data
    name = resolve(asked)
    if name == asked.name:
        return None
    fallbacks = configured(asked).fallbacks
    with open_dict(config):
        config.data = rename(asked, name)
    return (
        f"warning: {spec_of(asked).title} is neither on disk nor reachable: these runs use "
        f"{spec_of(config.data).title} instead{_better(fallbacks[: fallbacks.index(name)])} "
        "(data.offline_fallback=null makes this an error)"
    )


def _better(skipped: Sequence[str]) -> str:
    """Command that installs the first fallback that is not installed; continues a sentence."""
    for source in (configured({"name": name}).source for name in skipped):
        if source.package is not None:
            return f"; pip install {source.package} brings {source.spec().title}"
    return ""


def offline_name(node: Mapping[str, Any]) -> str:
    """Name of the data set to use where nothing is to be downloaded.

    That is `node.name` where its files are on disk or no fallback is, or else the first of
    `node.offline_fallback` that is installed.

    Args:
        node: configuration node of the data set.

    Raises:
        ConfigError: for a node that cannot be read.
    """
    asked = configured(node)
    fallback = _installed(asked.fallbacks) if asked.source.missing() else None
    return fallback or asked.name


def load(node: Mapping[str, Any] | str, seed: int, validation_fraction: float) -> Dataset:
    """Data set of a configuration node, read into memory; it is not downloaded (see `resolve`).

    Images are `(pixel / max_value - mean) / std`.

    Args:
        node: configuration node, or the name of the data set. `node.limit` keeps the first so many
            of the training examples that are not held out, and leaves validation and test as they
            are; a limit above their number keeps all.
        seed: seed of the permutation that holds out the validation split.
        validation_fraction: share of the training examples that is held out, in (0, 1).

    Raises:
        DataError: for files that are missing or do not have their checksums.
        ConfigError: for a node that cannot be read or a fraction that leaves either part empty.
    """
    asked = configured({"name": node} if isinstance(node, str) else node)
    spec = asked.spec()
    order = split_order(spec.train_size, seed, validation_fraction)
    training, test = asked.source.read()
    return divided(spec, training, test, order, asked.limit)


def split_order(size: int, seed: int, validation_fraction: float) -> tuple[Tensor, Tensor]:
    """Indices of the examples that are held out for validation, and of the rest.

    Args:
        size: number of training examples before any are held out.
        seed: seed of the permutation.
        validation_fraction: share that is held out, in (0, 1).

    Returns:
        Two int64 tensors, together a permutation of `range(size)`.

    Raises:
        ConfigError: for a fraction that leaves either part empty.
    """
    import torch

    held_out = round(size * validation_fraction) if 0 < validation_fraction < 1 else 0
    if not 0 < held_out < size:
        raise ConfigError(
            "validation_fraction: expected a number in (0, 1) that leaves examples on both sides "
            f"of the {size}; got {validation_fraction}"
        )
    order = torch.randperm(size, generator=torch.Generator().manual_seed(stream(seed, "split")))
    return order[:held_out], order[held_out:]


def divided(
    spec: DatasetSpec,
    training: Raw,
    test: Raw,
    order: tuple[Tensor, Tensor],
    limit: int | None = None,
) -> Dataset:
    """Data set whose training split leaves out the examples that are held out for validation.

    8-bit images stay so; others are chosen before they are turned into float32, of which there is
    one copy.

    Args:
        spec: its facts.
        training: all training examples.
        test: test examples.
        order: indices into `training`, as `split_order` returns them.
        limit: training examples to keep of those that are not held out; None: all.
    """
    held_out, rest = order
    return Dataset(
        spec,
        split(spec, _take(training, rest[:limit])),
        split(spec, _take(training, held_out)),
        split(spec, test),
    )


def split(spec: DatasetSpec, raw: Raw) -> Split:
    """Normalised tensors of stored examples; `raw` stays as it is.

    Args:
        spec: facts of the data set.
        raw: its examples, or some of them.

    Returns:
        Images `(pixel / max_value - mean) / std`, normalised now where they are no uint8, and the
        targets.
    """
    import torch

    kind = torch.int64 if spec.classes is not None else torch.float32
    labels = torch.tensor(raw.labels, dtype=kind)
    pixels = torch.tensor(raw.images).reshape(-1, *spec.shape)
    if pixels.dtype == torch.uint8:
        return Split(StoredImages(pixels, spec), labels)
    images = pixels.float().div_(spec.max_value).sub_(spec.mean).div_(spec.std)
    return Split(images, labels)


def _refuse_non_finite(what: str, split: Split) -> None:
    for name, values in (("images", split.images), ("targets", split.labels)):
        if isinstance(values, StoredImages) or values.is_meta:  # finite, or without values
            continue
        if not math.isfinite(float(values.sum())):  # cheaper than a test of each value
            finite = values.isfinite().flatten(1) if values.ndim > 1 else values.isfinite()[:, None]
            if bad := int((~finite).any(1).sum()):
                raise DataError(
                    f"{what}: expected finite {name}, but {bad} of {len(values)} hold NaN or an "
                    "infinity; repair or leave out those examples"
                )


def _take(raw: Raw, indices: Tensor) -> Raw:
    chosen = indices.numpy()
    return Raw(raw.images[chosen], raw.labels[chosen])
