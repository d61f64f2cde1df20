"""Facts of a data set, as values that a checkpoint can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class DatasetSpec:
    """Facts of a data set.

    `mean` and `std` are those of its training pixels, over all channels, scaled so that `white` is
    1.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    """Channels, height, width."""
    classes: int | None
    """None where the targets are numbers and no classes."""
    train_size: int
    """Training examples, before any are held out for validation."""
    test_size: int
    mean: float
    std: float
    white: int
    """The largest value that a pixel is stored with; 1 where pixels are stored as floating-point
    numbers."""
    extent: int | None = None
    """Pixels of the longer side of a sign in its frame; None where the examples are no drawings of
    signs."""
    class_names: tuple[str, ...] | None = None
    """In the order of the labels; None where classes have numbers only."""
    content: str | None = None
    """12 hexadecimal digits of all examples; None where the name alone says which they are."""

    def plain(self) -> dict[str, Any]:
        """The facts as plain values, for a checkpoint.

        Returns:
            A mapping of strings to numbers, strings, lists and None, which `from_plain` reads back.
        """
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_plain(cls, facts: Mapping[str, Any]) -> DatasetSpec:
        """The facts that `plain` wrote.

        Args:
            facts: As `plain` returned them.

        Returns:
            The facts.

        Raises:
            TypeError: For facts of another version of this class.
        """
        values: dict[str, Any] = dict(facts)
        values |= {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
        return cls(**values)
