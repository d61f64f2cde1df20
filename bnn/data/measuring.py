"""Checks of examples of unknown origin, and the facts that are measured from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bnn.data.source import Raw, array
from bnn.data.spec import DatasetSpec
from bnn.errors import DataError

CHUNK = 1024
"""Number of images that are turned into float64 at a time."""


def examples(what: str, part: Any) -> Raw:
    """Examples in the layout that is measured and trained on.

    Args:
        what: name of the examples in error messages.
        part: pair (images, targets) of tensors or arrays. Images are uint8 or floating point,
            [n, h, w] or [n, c, h, w]; targets are classes, integer [n], or numbers, floating point
            [n, ...].

    Returns:
        Images uint8 or float32 [n, c, h, w], and targets int64 [n] or float32 [n, ...].

    Raises:
        DataError: for anything else, or values that are not finite, or a class below 0.
    """
    if not isinstance(part, tuple | list) or len(part) != 2:
        raise DataError(f"{what}: expected a pair (images, targets), got {_kind(part)}")
    try:
        images, targets = map(array, part)
    except (TypeError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise DataError(f"{what}: expected tensors or arrays ({why})") from error
    if images.ndim not in (3, 4) or not (images.dtype == np.uint8 or images.dtype.kind == "f"):
        layouts = "uint8 or floating point, [n, h, w] or [n, c, h, w]"
        raise DataError(f"{what}: expected images {layouts}; got {_kind(images)}")
    classes = targets.dtype.kind in "iu" and targets.ndim == 1
    if not classes and not (targets.dtype.kind == "f" and targets.ndim):
        layouts = "classes, integer [n], or numbers, floating point [n, ...]"
        raise DataError(f"{what}: expected targets that are {layouts}; got {_kind(targets)}")
    if not len(images) == len(targets) > 0:
        counts = f"{len(images)} and {len(targets)}"
        raise DataError(f"{what}: expected as many images as targets, at least 1; got {counts}")
    for name, values in (("images", images), ("targets", targets)):
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = sum(not np.isfinite(value).all() for value in values)
            raise DataError(
                f"{what}: expected finite {name}, but {bad} of {len(values)} hold NaN or an "
                "infinity"
            )
    if classes and targets.min() < 0:
        raise DataError(f"{what}: expected classes from 0, got {targets.min()}")
    images = images if images.dtype == np.uint8 else images.astype(np.float32, copy=False)
    targets = targets.astype(np.int64 if classes else np.float32, copy=False)
    return Raw(images[:, None] if images.ndim == 3 else images, targets)


def measured(
    name: str,
    title: str,
    train: Raw,
    test: Raw,
    others: Sequence[Raw] = (),
    class_names: Sequence[str] | None = None,
) -> DatasetSpec:
    """Facts of a data set, from its examples.

    Args:
        name: name of the data set, also in error messages.
        title: display name.
        train: training examples, as `examples` returns them.
        test: test examples, likewise.
        others: further examples (a validation set), which must be of the same kind.
        class_names: names in the order of the labels.

    Returns:
        Facts, `mean` and `std` in units of `max_value`.

    Raises:
        DataError: for parts of different kinds, labels without a name, or training images that are
            all of one colour.
    """
    parts = (train, test, *others)
    for part in parts[1:]:
        for what, one, other in (
            ("images", train.images, part.images),
            ("targets", train.labels, part.labels),
        ):
            if one.dtype != other.dtype or one.shape[1:] != other.shape[1:]:
                kinds = f"{_kind(one)} and {_kind(other)}"
                raise DataError(f"data={name}: expected {what} of one kind, got {kinds}")
    numbers = train.labels.dtype.kind == "f"
    classes = None if numbers else 1 + max(int(part.labels.max()) for part in parts)
    if class_names is not None:
        if classes is None:
            raise DataError(f"data={name}: expected targets that have names; got numbers")
        if classes > len(class_names):
            below = f"labels below {len(class_names)}, the number of names"
            raise DataError(f"data={name}: expected {below}; got {classes - 1}")
        classes = len(class_names)
    max_value = 255 if train.images.dtype == np.uint8 else 1
    mean, std = moments(train.images)
    if std == 0:
        raise DataError(f"data={name}: expected images that differ, but every pixel is {mean:g}")
    _, channels, height, width = train.images.shape
    return DatasetSpec(
        name=name,
        title=title,
        shape=(channels, height, width),
        classes=classes,
        train_size=len(train.images),
        test_size=len(test.images),
        mean=mean / max_value,
        std=std / max_value,
        max_value=max_value,
        class_names=None if class_names is None else tuple(class_names),
        content=_content(parts),
    )


def moments(images: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of all pixels.

    Args:
        images: [n, ...], in any unit.

    Returns:
        Both in the images' own unit; the deviation is that of these pixels, not an estimate for
        others.
    """
    mean = sum(float(chunk.sum()) for chunk in _chunks(images)) / images.size
    squares = sum(float(((chunk - mean) ** 2).sum()) for chunk in _chunks(images))
    return mean, (squares / images.size) ** 0.5


def _chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(images), CHUNK):
        yield images[start : start + CHUNK].astype(np.float64)


def _content(parts: Sequence[Raw]) -> str:
    """12 hexadecimal digits of all examples."""
    content = hashlib.sha256()
    for values in (values for part in parts for values in part):
        content.update(f"{values.dtype} {values.shape}".encode())
        content.update(np.ascontiguousarray(values).data)
    return content.hexdigest()[:12]


def _kind(value: Any) -> str:
    """Dtype and shape of an array, or else the name of the type."""
    return f"{value.dtype} {list(value.shape)}" if hasattr(value, "shape") else type(value).__name__
