"""Baselines of the score-function estimator: values subtracted from a sample's loss.

A baseline leaves the expectation as it is as long as it is independent of the bits that it is
multiplied with: the running ones are therefore updated after their use, and leave-one-out uses the
other samples only. Leave-one-out has nothing to tune but numbers of draws.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.nn.forward import ForwardPass
from bnn.nn.replicas import mean_of_others
from bnn.nn.sites import Site
from bnn.registry import Registry


class Baseline(nn.Module, ABC):
    """Baseline B of a score-function estimator."""

    registry: ClassVar[Registry[Baseline]] = Registry("estimator.baseline.name")
    linear_readout = True
    """Whether the highest binary layer feeds an affine read-out; the estimator sets it in `init`,
    before it asks for `branches`."""

    def branches(self, layers: int) -> list[int]:
        """Draws of each binary layer for each draw below; one each unless overridden.

        Args:
            layers: number of binary layers.

        Returns:
            One number for each layer, from the input.
        """
        return [1] * layers

    def init(self, sites: Sequence[Site]) -> None:
        """Initialise the state for these binary layers, anew.

        Args:
            sites: the binary layers from the input, [n, *units].
        """

    @abstractmethod
    def forward(self, site: Site, loss: Tensor) -> Tensor:
        """Baseline of one binary layer.

        Args:
            site: the layer, [replicas, samples, *units].
            loss: loss that each of its draws led to, [replicas, samples].

        Returns:
            B, to broadcast against [replicas, samples, *units].
        """

    def update(self, latest: ForwardPass) -> None:
        """Update the state by a pass whose credits have been computed already.

        Args:
            latest: the pass.
        """


@Baseline.registry.add("none")
class NoBaseline(Baseline):
    """No baseline, B = 0: plain REINFORCE (Williams 1992). One evaluation a step."""

    def forward(self, site: Site, loss: Tensor) -> Tensor:
        return loss.new_zeros(())


def check_decay(key: str, decay: float) -> float:
    """Decay of an exponential average, checked.

    Args:
        key: configuration key that sets it, for the message.
        decay: weight of the past.

    Raises:
        ConfigError: outside [0, 1).
    """
    if not 0 <= decay < 1:
        raise ConfigError(f"{key}: expected a number in [0, 1), got {decay}")
    return decay


@Baseline.registry.add("moving_average")
class MovingAverage(Baseline):
    """Moving average of the batches' mean losses, up to the previous batch.

        B = c / (1 - decay^t),   c ← decay · c + (1 - decay) · mean f

    for the t batches seen; 0 before the first. One evaluation a step.

    Args:
        decay: of the average, in [0, 1).
    """

    average: Tensor
    weight: Tensor

    def __init__(self, *, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = check_decay("estimator.baseline.decay", decay)
        self.init(())

    def init(self, sites: Sequence[Site]) -> None:
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    def forward(self, site: Site, loss: Tensor) -> Tensor:
        return (self.average / self.weight.clamp(min=1e-12)).to(loss.dtype)

    def update(self, latest: ForwardPass) -> None:
        self.average.lerp_(latest.loss.detach().mean().to(self.average.dtype), 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)


@Baseline.registry.add("min_variance")
class MinimumVariance(Baseline):
    """Minimum-variance baseline per unit (Bengio, Léonard & Courville 2013, eq. 6).

        B_i = E[(b_i - p_i)² f] / E[(b_i - p_i)²]

    The constant per unit that minimises the variance of (b_i - p_i)(f - B_i). Both expectations are
    exponential averages up to the previous batch. One evaluation a step.

    Args:
        decay: of the averages, in [0, 1).
    """

    def __init__(self, *, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = check_decay("estimator.baseline.decay", decay)

    def init(self, sites: Sequence[Site]) -> None:
        self._buffers.clear()  # those of another network
        for site in sites:
            units = site.preactivation if site.shared else site.preactivation[0]
            for moment in ("numerator", "denominator"):
                self.register_buffer(f"{moment}_{site.index}", torch.zeros_like(units).contiguous())

    def forward(self, site: Site, loss: Tensor) -> Tensor:
        numerator = self.get_buffer(f"numerator_{site.index}")
        denominator = self.get_buffer(f"denominator_{site.index}")
        return numerator / denominator.clamp(min=1e-12)

    @torch.no_grad()
    def update(self, latest: ForwardPass) -> None:
        for site, bits in zip(latest.sites, latest.bits, strict=True):
            square = (bits - site.probs).square()
            weighted = square * site.aligned(site.descendants(latest.loss))
            for moment, latest_values in (("numerator", weighted), ("denominator", square)):
                buffer = self.get_buffer(f"{moment}_{site.index}")
                buffer.lerp_(latest_values.mean((0, 1)).to(buffer), 1 - self.decay)


def _at_least(least: int, why: str, **values: int) -> None:
    for key, value in values.items():
        if value < least:
            raise ConfigError(
                f"estimator.baseline.{key}: {why}, expected at least {least}, got {value}"
            )


def _mean_of_others(loss: Tensor, draws: int) -> Tensor:
    """Mean loss of the other draws, [draws · below, samples]; the latest branch is outermost."""
    return mean_of_others(loss.view(draws, -1, loss.shape[-1])).view_as(loss)


@Baseline.registry.add("leave_one_out")
class LeaveOneOut(Baseline):
    """Leave-one-out baseline (Kool, van Hoof & Welling 2019).

        B_k = mean of f_j over the other K - 1 draws j ≠ k of the same sample

    Summed over k the estimate is Σ_k (f_k - f̄) ∇ log q(b_k) / (K - 1). K evaluations a step.

    Args:
        samples: K.

    Raises:
        ConfigError: for samples < 2.
    """

    def __init__(self, *, samples: int = 4) -> None:
        super().__init__()
        _at_least(2, "leave_one_out compares samples", samples=samples)
        self.samples = samples

    def branches(self, layers: int) -> list[int]:
        return [self.samples, *[1] * (layers - 1)]

    def forward(self, site: Site, loss: Tensor) -> Tensor:
        return site.aligned(_mean_of_others(loss, self.samples))


@Baseline.registry.add("nested_leave_one_out")
class NestedLeaveOneOut(Baseline):
    """Leave-one-out baseline at every layer, among the draws that share the bits below.

    K draws of the first binary layer, and M of each further one for each draw below it. A draw is
    compared with the others of its layer that share the bits below, so that the noise of the layers
    below is not in its credit; its own loss is the mean over the draws above it. Unbiased, since
    each baseline is independent of its draw given the layers below. This is the leave-one-out
    estimator of Kool et al. 2019 for each conditional distribution.

    K · M^(layers - 1) evaluations a step; layers below the last branch are computed less often. A
    single binary layer is that of Kool et al.: of M draws where it feeds a linear read-out, which
    is all that is computed for each of them, and else of K.

    Args:
        samples: K.
        nested: M.

    Raises:
        ConfigError: for samples < 2 or nested < 2.
    """

    def __init__(self, *, samples: int = 2, nested: int = 8) -> None:
        super().__init__()
        _at_least(2, "nested_leave_one_out compares draws", samples=samples, nested=nested)
        self.samples = self._first = samples
        self.nested = nested

    def branches(self, layers: int) -> list[int]:
        first = self.nested if layers == 1 and self.linear_readout else self.samples
        return [first, *[self.nested] * (layers - 1)]

    def init(self, sites: Sequence[Site]) -> None:
        self._first = self.branches(len(sites))[0]

    def forward(self, site: Site, loss: Tensor) -> Tensor:
        return site.aligned(_mean_of_others(loss, self.nested if site.index else self._first))
