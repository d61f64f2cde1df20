"""Facts of a data set, as values that a checkpoint can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

STORED = {"digit_size": "extent", "max_value": "white"}
"""Keys under which checkpoints hold a fact, where they differ from its name."""


@dataclass(frozen=True)
class DatasetSpec:
    """Facts of a data set.

    Args:
        name: name by which configurations choose it.
        title: display name.
        shape: channels, height and width of an image.
        classes: number of classes; None where the targets are numbers.
        train_size: training examples, before any are held out for validation.
        test_size: test examples.
        mean: mean of the training pixels over all channels, in units of `max_value`.
        std: their standard deviation, in units of `max_value`.
        max_value: largest value that a pixel is stored with; 1 for floating-point pixels.
        digit_size: pixels of the longer side of a sign in its frame; None where the examples are no
            drawings of signs.
        class_names: names in the order of the labels; None where classes have numbers only.
        content: 12 hexadecimal digits of all examples; None where the name alone identifies them.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: int | None
    train_size: int
    test_size: int
    mean: float
    std: float
    max_value: int
    digit_size: int | None = None
    class_names: tuple[str, ...] | None = None
    content: str | None = None

    def plain(self) -> dict[str, Any]:
        """Facts as plain values, for a checkpoint.

        Returns:
            Mapping of strings to numbers, strings, lists and None, which `from_plain` reads back.
        """
        return {
            STORED.get(key, key): list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    @classmethod
    def from_plain(cls, facts: Mapping[str, Any]) -> DatasetSpec:
        """Facts from the plain values of a checkpoint.

        Args:
            facts: values that `plain` returned.

        Raises:
            TypeError: for facts of another version of this class.
        """
        names = {stored: name for name, stored in STORED.items()}
        values: dict[str, Any] = {
            names.get(key, key): tuple(value) if isinstance(value, list) else value
            for key, value in facts.items()
        }
        return cls(**values)
