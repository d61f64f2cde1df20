"""Sources of examples, and of facts that are measured where nobody published them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bnn.data.spec import DatasetSpec
from bnn.errors import DataError


class Raw(NamedTuple):
    """Examples as they are stored.

    Args:
        images: uint8, or floating point with white at 1, [n, h, w] or [n, c, h, w].
        labels: classes, integer [n], or numbers, floating point [n, ...].
    """

    images: np.ndarray
    labels: np.ndarray


class Source(ABC):
    """Examples of a data set under one configuration.

    The keyword-only parameters of a subclass's `__init__` are the keys of its configuration node,
    beside `name` and `limit`, which every data set takes. Nothing is read before `spec` or `read`
    is called.
    """

    bundled: ClassVar[bool] = False
    """Whether the examples are files of an installed package, and so need no download."""
    package: ClassVar[str | None] = None
    """Package on the index whose files hold the examples, where it may be missing."""

    @abstractmethod
    def spec(self) -> DatasetSpec:
        """Facts of the data set.

        Examples that depend on `root` need `content`: the key is no part of a run's digest.

        Raises:
            DataError: where they have to be read and cannot be.
        """

    @abstractmethod
    def read(self) -> tuple[Raw, Raw]:
        """Training and test examples.

        Raises:
            DataError: for files that are missing or not those that were published.
        """

    def missing(self) -> Sequence[str]:
        """Names of the files that `read` needs and that are not on disk."""
        return ()

    def fetch(self) -> None:  # noqa: B027  (most sources have nothing to fetch)
        """Preparation after which `read` succeeds.

        Raises:
            Unreachable: where that takes a download and none is possible.
            DataError: for all else that is wrong.
        """


class Measured(Source):
    """Source whose facts are measured from its examples, once per process and `key`.

    The examples of the latest key stay in memory, so that measuring them and then training on them
    reads them once.
    """

    _facts: ClassVar[dict[Hashable, DatasetSpec]] = {}
    _latest: ClassVar[tuple[Hashable, tuple[Raw, Raw]] | None] = None

    @abstractmethod
    def key(self) -> Hashable:
        """Everything that determines the result of `produce`."""

    @abstractmethod
    def produce(self) -> tuple[DatasetSpec, tuple[Raw, Raw]]:
        """Measured facts and the examples.

        Raises:
            DataError: for examples that cannot be read or that do not fit together.
        """

    def spec(self) -> DatasetSpec:
        if (key := self.key()) not in Measured._facts:
            self._examples(key)
        return Measured._facts[key]

    def read(self) -> tuple[Raw, Raw]:
        return self._examples(self.key())

    def fetch(self) -> None:
        self._examples(self.key())

    def _examples(self, key: Hashable) -> tuple[Raw, Raw]:
        latest = Measured._latest
        if latest is not None and latest[0] == key:
            return latest[1]
        facts, examples = self.produce()
        if Measured._facts.setdefault(key, facts) != facts:
            raise DataError(
                f"data={facts.name}: expected the same examples for the same arguments, got "
                "others; draw what is random from a seed of its own"
            )
        Measured._latest = (key, examples)
        return examples


def array(values: Any) -> np.ndarray:
    """Values of a tensor or a sequence as an array on the CPU."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
