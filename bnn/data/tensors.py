"""Data sets from Python: from tensors, or from a map-style data set of torch's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bnn.data.loading import Dataset, divided, split, split_order
from bnn.data.measuring import examples, measured
from bnn.data.source import array
from bnn.errors import DataError


def from_tensors(
    *,
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    validation: tuple[Any, Any] | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    name: str = "tensors",
    normalise: bool = True,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Data set in memory, as `bnn.training.loop.fit` takes it, from tensors or arrays.

    Args:
        train: images uint8, or floating point in [0, 1], [n, h, w] or [n, c, h, w]; and targets,
            integer classes [n] from 0, or floating-point numbers [n, ...].
        test: likewise.
        validation: likewise; None: a share of `train` is held out.
        validation_fraction: that share, in (0, 1); with `validation` nothing is held out.
        seed: seed of the share that is held out, as in `bnn.data.load`.
        name: name of the data set in its facts and in messages.
        normalise: whether to subtract the mean of the training pixels and divide by their standard
            deviation. Without, floating-point pixels stay as they are, and uint8 pixels are divided
            by 255.
        class_names: names in the order of the labels.

    Returns:
        Data set on the CPU; its facts are measured from `train`. The tensors given are not changed.

    Raises:
        DataError: for examples that do not fit together.
        ConfigError: for a fraction that leaves either part empty.
    """
    parts = {"train": train, "test": test}
    if validation is not None:
        parts["validation"] = validation
    raw = {part: examples(f"{name}, {part}", given) for part, given in parts.items()}
    others = [] if validation is None else [raw["validation"]]
    spec = measured(name, name, raw["train"], raw["test"], others, class_names)
    if not normalise:
        spec = replace(spec, mean=0.0, std=1.0)
    if validation is None:
        order = split_order(spec.train_size, seed, validation_fraction)
        return divided(spec, raw["train"], raw["test"], order)
    return Dataset(spec, *(split(spec, raw[part]) for part in ("train", "validation", "test")))


def from_torchvision(
    train_set: Any,
    test_set: Any,
    *,
    validation_set: Any = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    name: str | None = None,
    normalise: bool = True,
) -> Dataset:
    """Data set in memory from map-style data sets of torch or torchvision.

    Args:
        train_set: object with a length that returns (image, label) for an index. Images are
            Pillow's in 8-bit grey or colours, arrays [h, w] or [h, w, c], or tensors [h, w] or
            [c, h, w], all of one size.
        test_set: likewise.
        validation_set: likewise; None: a share of `train_set` is held out.
        validation_fraction: as for `from_tensors`.
        seed: as for `from_tensors`.
        name: name of the data set in its facts and in messages; None: the name of `train_set`'s
            class.
        normalise: as for `from_tensors`.

    Returns:
        Data set on the CPU, with the names in `train_set.classes` where it has them.

    Raises:
        DataError: for a data set that has no length, or whose images differ in size or are of
            another kind.
        ConfigError: for a fraction that leaves either part empty.
    """
    name = type(train_set).__name__ if name is None else name
    names = getattr(train_set, "classes", None)
    validation = None
    if validation_set is not None:
        validation = _stacked(validation_set, f"{name}, validation")
    return from_tensors(
        train=_stacked(train_set, f"{name}, train"),
        test=_stacked(test_set, f"{name}, test"),
        validation=validation,
        validation_fraction=validation_fraction,
        seed=seed,
        name=name,
        normalise=normalise,
        class_names=None if names is None else [str(one) for one in names],
    )


def _stacked(source: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, c, h, w] and targets [n, ...] of a map-style data set."""
    if not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        found = type(source).__name__
        raise DataError(f"{what}: expected a data set with a length and an index, got {found}")
    images: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for index in range(len(source)):  # an index out of range need not end an iteration
        example = source[index]
        if not isinstance(example, tuple | list) or len(example) != 2:
            found = type(example).__name__
            raise DataError(f"{what}, example {index}: expected (image, label), got {found}")
        image = _channels_first(example[0], f"{what}, example {index}")
        if images and (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
            raise DataError(
                f"{what}, example {index}: expected {images[0].dtype} {list(images[0].shape)} as "
                f"before, got {image.dtype} {list(image.shape)}; give the data set a transform "
                "that brings its images to one size"
            )
        images.append(image)
        labels.append(array(example[1]))
    if not images:
        raise DataError(f"{what}: expected at least 1 example")
    return np.stack(images), np.stack(labels)


def _channels_first(image: Any, what: str) -> np.ndarray:
    """Pixels [c, h, w] of an image of Pillow's, an array or a tensor."""
    mode = getattr(image, "mode", None)
    if isinstance(mode, str):  # Pillow's; a tensor has a method of this name
        if mode not in ("1", "L", "RGB"):
            raise DataError(f"{what}: expected 8-bit grey (L) or colours (RGB), got mode {mode}")
        image = image.convert("RGB" if mode == "RGB" else "L")
    pixels = array(image)
    if pixels.ndim not in (2, 3):
        raise DataError(f"{what}: expected an image of 2 or 3 axes, got {list(pixels.shape)}")
    if pixels.ndim == 2:
        return pixels[None]
    return pixels if hasattr(image, "detach") else pixels.transpose(2, 0, 1)
