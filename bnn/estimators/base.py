"""What every gradient estimator answers to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from bnn.neurons import Site
from bnn.passes import Run
from bnn.registry import Registry


def steering(term: Tensor) -> Tensor:
    """The gradient of `term`, and the value 0."""
    return term - term.detach()


class Estimator(nn.Module, ABC):
    """A rule that turns passes of a network into one scalar whose gradient is the estimate.

    The scalar's value is the mean loss of the true samples that it drew, so that all estimators log comparable curves; terms
    that only steer the gradient enter by `steering`. A Module, so that what an estimator learns or averages is saved.
    """

    registry: ClassVar[Registry[Estimator]] = Registry("estimator.name")
    unbiased: ClassVar[bool]
    """Claim, measured by the contract tests: E[gradient] is the gradient of the expected loss, for per-sample losses."""
    needs_full_support: ClassVar[bool]
    """Whether log q(b) is taken, which needs a noise law with full support."""
    per_sample_credit: ClassVar[bool]
    """Whether a sample's credit is its own loss alone, which batch statistics above a binary layer contradict."""
    explores: ClassVar[bool] = True
    """Whether training draws bits by the noise law whatever the neuron's rule: a deterministic neuron then explores by
    sampling, and thresholds at evaluation."""
    up_to_scale: ClassVar[bool] = False
    """Of an unbiased one: whether the layers below are scaled by a positive number that does not depend on the bits."""
    needs_linear_readout: ClassVar[bool] = False
    """Whether the scores have to be an affine function of the highest binary layer's bits."""
    exact: ClassVar[bool] = False
    """Whether the estimate has no noise; its value is then the expected loss, not that of one draw."""

    def bind(self, sites: Sequence[Site], inputs: Tensor) -> None:
        """Begin anew, with state for these binary layers and inputs like these. Called at composition and before each
        training. Errors: ConfigError for a network that the estimator cannot serve."""

    @abstractmethod
    def passes(self, units: Sequence[int]) -> int:
        """Losses a sample that one step computes, each forward and back, given the units of every binary layer. None is
        forward only: each replica is a true sample of the net or carries a gradient by its relaxed bits."""

    @abstractmethod
    def surrogate(self, run: Run) -> Tensor:
        """Scalar: the mean loss in value, the estimate in gradient."""
