"""What a data set's source answers to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np


class Raw(NamedTuple):
    """Pixels as they are stored: images uint8 [n, h, w] or [n, c, h, w], labels [n]."""

    images: np.ndarray
    labels: np.ndarray


class Source(Protocol):
    """Where a data set's examples come from. `keys` is the dataclass of what its configuration takes besides `name`."""

    @property
    def keys(self) -> type[Any]: ...

    @property
    def bundled(self) -> bool:
        """Whether the examples are installed with the package's dependencies, and so need no download."""

    def missing(self, keys: Any) -> Sequence[str]:
        """Names of the files that `read` needs and that are not on disk."""

    def fetch(self, keys: Any) -> None:
        """Make sure that `read` will succeed.

        Errors: Unreachable where that takes a download and none is possible; DataError for all else that is wrong.
        """

    def read(self, keys: Any) -> tuple[Raw, Raw]:
        """The training and the test examples.

        Errors: DataError.
        """
