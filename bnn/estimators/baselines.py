"""Baselines of the score-function estimator: what is subtracted from a sample's loss before it is credited.

A baseline leaves the expectation as it is as long as it is independent of the bits that it is multiplied with: the
running ones are therefore updated after their use, and leave-one-out uses the other samples only. Prefer
`leave_one_out`: it needs no tuning beyond K, and the results tables show what it is worth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.neurons import Site
from bnn.passes import Pass
from bnn.registry import Registry


class Baseline(nn.Module, ABC):
    """What the losses of a pass are compared with."""

    registry: ClassVar[Registry[Baseline]] = Registry("estimator.baseline.name")

    def forks(self, layers: int) -> list[int]:
        """Draws that the baseline needs of each of `layers` binary layers, from the input, for each draw below."""
        return [1] * layers

    def bind(self, sites: Sequence[Site]) -> None:
        """Begin anew, with state for these binary layers. Errors: ConfigError where a simpler baseline would be the same."""

    @abstractmethod
    def forward(self, site: int, loss: Tensor) -> Tensor:
        """The baseline of binary layer `site` for `loss` [K, samples], the losses of its K draws: broadcasts against
        [K, samples, *units]."""

    def update(self, latest: Pass) -> None:
        """Take in a pass whose credits have been computed already."""


def over_units(per_sample: Tensor, units: Tensor) -> Tensor:
    """[K, samples] with trailing ones, to broadcast against `units` [K, samples, *units]."""
    return per_sample.view(*per_sample.shape, *[1] * (units.dim() - 2))


@Baseline.registry.add("none")
class NoBaseline(Baseline):
    """B = 0: plain REINFORCE (Williams 1992)."""

    def forward(self, site: int, loss: Tensor) -> Tensor:
        return loss.new_zeros(1, 1)


def check_decay(key: str, decay: float) -> float:
    """`decay`. Errors: ConfigError, naming `key`, outside [0, 1)."""
    if not 0 <= decay < 1:
        raise ConfigError(f"{key}: expected a number in [0, 1), got {decay}")
    return decay


@Baseline.registry.add("moving_average")
class MovingAverage(Baseline):
    """B = the exponential average of the batches' mean losses, up to the previous batch.

    c ← decay · c + (1 - decay) · mean f, divided by 1 - decay^t for the t batches seen; 0 before the first.
    """

    average: Tensor
    weight: Tensor

    def __init__(self, *, decay: float) -> None:
        super().__init__()
        self.decay = check_decay("estimator.baseline.decay", decay)
        self.bind(())

    def bind(self, sites: Sequence[Site]) -> None:
        self.register_buffer("average", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))

    def forward(self, site: int, loss: Tensor) -> Tensor:
        return (self.average / self.weight.clamp(min=1e-12)).view(1, 1).to(loss.dtype)

    def update(self, latest: Pass) -> None:
        self.average.lerp_(latest.loss.detach().mean().to(self.average.dtype), 1 - self.decay)
        self.weight.lerp_(torch.ones_like(self.weight), 1 - self.decay)


@Baseline.registry.add("min_variance")
class MinimumVariance(Baseline):
    """L_i = E[(b_i - p_i)² f] / E[(b_i - p_i)²] per unit, both expectations as exponential averages up to the last batch.

    The constant per unit that minimises the variance of (b_i - p_i)(f - L_i) (Bengio, Léonard & Courville 2013, eq. 6).
    """

    def __init__(self, *, decay: float) -> None:
        super().__init__()
        self.decay = check_decay("estimator.baseline.decay", decay)

    def bind(self, sites: Sequence[Site]) -> None:
        for site in sites:
            for moment in ("numerator", "denominator"):
                self.register_buffer(f"{moment}_{site.index}", torch.zeros_like(site.a[0]).contiguous())

    def forward(self, site: int, loss: Tensor) -> Tensor:
        numerator, denominator = self.get_buffer(f"numerator_{site}"), self.get_buffer(f"denominator_{site}")
        return (numerator / denominator.clamp(min=1e-12))[None, None]

    @torch.no_grad()
    def update(self, latest: Pass) -> None:
        for site, bits in zip(latest.sites, latest.bits, strict=True):
            square = (bits - site.p).square().unflatten(0, latest.loss.shape)
            weighted = square * over_units(latest.loss, square)
            self.get_buffer(f"numerator_{site.index}").lerp_(weighted.mean((0, 1)), 1 - self.decay)
            self.get_buffer(f"denominator_{site.index}").lerp_(square.mean((0, 1)), 1 - self.decay)


def _at_least(least: int, why: str, **values: int) -> None:
    for key, value in values.items():
        if value < least:
            raise ConfigError(f"estimator.baseline.{key}: {why}, expected at least {least}, got {value}")


def _mean_of_others(loss: Tensor, draws: int) -> Tensor:
    """The mean over the other draws, of `loss` [draws · below, samples], the latest fork outermost."""
    peers = loss.view(draws, -1, loss.shape[-1])
    return ((peers.sum(0, keepdim=True) - peers) / (draws - 1)).view_as(loss)


@Baseline.registry.add("leave_one_out")
class LeaveOneOut(Baseline):
    """B_k = the mean loss of the same sample under the other K - 1 draws (Kool, van Hoof & Welling 2019).

    Summed over k this is Σ_k (f_k - f̄) ∇ log q(b_k) / (K - 1). K passes a step. Errors: ConfigError for samples < 2.
    """

    def __init__(self, *, samples: int) -> None:
        super().__init__()
        _at_least(2, "leave_one_out compares samples", samples=samples)
        self.samples = samples

    def forks(self, layers: int) -> list[int]:
        return [self.samples, *[1] * (layers - 1)]

    def forward(self, site: int, loss: Tensor) -> Tensor:
        return _mean_of_others(loss, self.samples)


@Baseline.registry.add("nested_leave_one_out")
class NestedLeaveOneOut(Baseline):
    """Leave-one-out, layer by layer: K draws of the first binary layer, and M of each further one for each draw below it.

    A draw is compared with the others of its layer that share what lies below, so that the noise of the layers below is not
    in its credit; its own loss is the mean over what was drawn above it. Unbiased, since each baseline is independent of its
    draw given the layers below. K · M^(layers - 1) losses a step; what lies below the last fork is computed less often.
    Errors: ConfigError for samples < 2 or nested < 2.
    """

    def __init__(self, *, samples: int, nested: int) -> None:
        super().__init__()
        _at_least(2, "nested_leave_one_out compares draws", samples=samples, nested=nested)
        self.samples, self.nested = samples, nested

    def bind(self, sites: Sequence[Site]) -> None:
        if len(sites) == 1:
            raise ConfigError(
                "estimator/baseline=nested_leave_one_out: one binary layer has nothing to nest; write "
                "estimator/baseline=leave_one_out, or placement=both"
            )

    def forks(self, layers: int) -> list[int]:
        return [self.samples, *[self.nested] * (layers - 1)]

    def forward(self, site: int, loss: Tensor) -> Tensor:
        return _mean_of_others(loss, self.nested if site else self.samples)
