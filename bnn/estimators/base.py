"""What every gradient estimator answers to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bnn.neurons import Site
from bnn.passes import Run
from bnn.registry import Registry


class Estimator(nn.Module, ABC):
    """A rule that turns passes of a network into one scalar whose gradient is the estimate.

    The scalar's value is the mean loss of the base pass, so that all estimators log comparable curves; terms that only
    steer the gradient enter as `s - s.detach()`. A Module, so that what an estimator learns or averages is saved.
    """

    registry: ClassVar[Registry[Estimator]] = Registry("estimator.name")
    unbiased: ClassVar[bool]
    """Claim, measured by the contract tests: E[gradient] is the gradient of the expected loss, for per-sample losses."""
    needs_full_support: ClassVar[bool]
    """Whether log q(b) is taken, which needs a noise law with full support."""
    per_sample_credit: ClassVar[bool]
    """Whether a sample's credit is its own loss alone, which batch statistics above a binary layer contradict."""

    @property
    def least_layers(self) -> int:
        """The fewest binary layers for which the estimator differs from a simpler one."""
        return 1

    def bind(self, sites: Sequence[Site]) -> None:
        """Begin anew, with state for these binary layers. Called before each training."""

    @abstractmethod
    def passes(self, sites: int) -> int:
        """Passes through the network (above the first binary layer) in one step, given the number of binary layers."""

    @abstractmethod
    def surrogate(self, run: Run) -> Tensor:
        """Scalar: the mean loss in value, the estimate in gradient."""
