"""Sparsity objectives of gated networks: how many gates are open, and that the input decides which.

Each is a term of the training loss that depends on the gates' probabilities alone, and so has an
exact gradient beside any estimator's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from scipy import special
from torch import Tensor

from bnn.errors import ConfigError
from bnn.registry import Registry


class Sparsity(ABC):
    """Sparsity objective."""

    registry: ClassVar[Registry[Sparsity]] = Registry("model.sparsity.name")

    @abstractmethod
    def __call__(self, probs: Float[Tensor, "n gates"], target: float) -> Float[Tensor, ""]:
        """Term of the training loss, in nats.

        Args:
            probs: P, probability of each gate to be open, [n, gates].
            target: τ, share of the gates that is to be open.

        Returns:
            Scalar, differentiable in `probs`.
        """


@Sparsity.registry.add("none")
class NoSparsity(Sparsity):
    """No objective: nothing keeps the gates at the target."""

    def __call__(self, probs: Float[Tensor, "n gates"], target: float) -> Float[Tensor, ""]:
        return probs.new_zeros(())


@Sparsity.registry.add("condnet")
class CondNet(Sparsity):
    """Objective of conditional networks (E. Bengio et al. 2015), as in the authors' code.

        λ_b [Σ_k (mean_n P - τ)² + 10⁻³ Σ_n (mean_k P - τ)²] - λ_v [Σ_k Var_n P + 0.1 Σ_n Var_k P]

    for samples n and gates k: each gate and each sample is open to the share τ, and gates differ
    between samples.

    Args:
        balance: λ_b, weight of the shares.
        variance: λ_v, weight of the variances.

    Raises:
        ConfigError: for a negative weight.
    """

    def __init__(self, *, balance: float = 5.0, variance: float = 0.1) -> None:
        for key, value in (("balance", balance), ("variance", variance)):
            _check_weight(key, value)
        self.balance, self.variance = balance, variance

    def __call__(self, probs: Float[Tensor, "n gates"], target: float) -> Float[Tensor, ""]:
        by_gate, by_sample, gates_vary, samples_vary = condnet_sums(probs, target)
        return self.balance * (by_gate + 1e-3 * by_sample) - self.variance * (
            gates_vary + 0.1 * samples_vary
        )


def condnet_sums(
    probs: Float[Tensor, "n gates"], target: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four sums of the condnet's objective.

    Args:
        probs: P, [n, gates].
        target: τ.

    Returns:
        Scalars Σ_k (mean_n P - τ)², Σ_n (mean_k P - τ)², Σ_k Var_n P and Σ_n Var_k P, the variances
        over the whole batch or all gates (divided by their number).
    """
    return (
        (probs.mean(0) - target).square().sum(),
        (probs.mean(1) - target).square().sum(),
        probs.var(0, correction=0).sum(),
        probs.var(1, correction=0).sum(),
    )


@Sparsity.registry.add("target_rate")
class TargetRate(Sparsity):
    """Target rate of each gate, w · mean_k (τ - mean_n P)² (Veit & Belongie 2018, ConvNet-AIG).

    The source has the drawn gates in place of their probabilities, and a weight of 2 for gates that
    switch whole layers.

    Args:
        weight: w.

    Raises:
        ConfigError: for a negative weight.
    """

    def __init__(self, *, weight: float = 20.0) -> None:
        _check_weight("weight", weight)
        self.weight = weight

    def __call__(self, probs: Float[Tensor, "n gates"], target: float) -> Float[Tensor, ""]:
        return self.weight * (target - probs.mean(0)).square().mean()


@Sparsity.registry.add("batch_shaping")
class BatchShaping(Sparsity):
    """Batch-shaping, the distance of each gate's probabilities to a beta distribution.

        w · mean_k mean_i (i / (n + 1) - CDF(x_(i)))²,  x_(1) ≤ … ≤ x_(n) those of gate k

    (Bejnordi, Blankevoort & Welling 2020). The distribution is Beta(τ, 1 - τ), of mean τ and with
    its mass at both ends; the source has Beta(0.6, 0.4).

    Args:
        weight: w.

    Raises:
        ConfigError: for a negative weight.
    """

    def __init__(self, *, weight: float = 20.0) -> None:
        _check_weight("weight", weight)
        self.weight = weight
        self._tables: dict[tuple[float, torch.device, torch.dtype], Tensor] = {}

    def __call__(self, probs: Float[Tensor, "n gates"], target: float) -> Float[Tensor, ""]:
        ordered = probs.sort(0).values
        ranks = torch.arange(1, len(probs) + 1, device=probs.device, dtype=probs.dtype)
        expected = (ranks / (len(probs) + 1))[:, None]
        found: Tensor = _BetaCdf.apply(ordered, target, 1 - target, self._table(probs, target))
        return self.weight * (expected - found).square().mean()

    def _table(self, like: Tensor, target: float) -> Tensor:
        """Distribution function of Beta(τ, 1 - τ) at GRID log-odds, on the device of the gates."""
        key = target, like.device, like.dtype
        if key not in self._tables:
            logits = np.linspace(-LARGEST, LARGEST, GRID)
            values = special.betainc(target, 1 - target, special.expit(logits))
            self._tables[key] = torch.as_tensor(values, dtype=like.dtype, device=like.device)
        return self._tables[key]


LARGEST, GRID = 30.0, 60_001
"""Largest log-odds of the table of a distribution function, and number of its entries."""
EDGE = 1e-3
"""Distance from 0 and 1 within which the density of a beta distribution is taken at its edge."""


class _BetaCdf(torch.autograd.Function):
    """Distribution function of Beta(a, b), whose derivative is the density.

    It is read from a table by the log-odds, linearly between its entries: nothing leaves the
    device.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: float, b: float, table: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.shape = a, b
        logits = torch.logit(x, eps=torch.finfo(x.dtype).tiny).clamp(-LARGEST, LARGEST)
        place = (logits + LARGEST) * ((GRID - 1) / (2 * LARGEST))
        below = place.floor().clamp(max=GRID - 2).long()
        return torch.lerp(table[below], table[below + 1], place - below)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (x,), (a, b) = ctx.saved_tensors, ctx.shape
        x = x.clamp(EDGE, 1 - EDGE)
        density = x ** (a - 1) * (1 - x) ** (b - 1) / special.beta(a, b)
        return gradient * density, None, None, None


def _check_weight(key: str, value: float) -> None:
    if not value >= 0:
        raise ConfigError(f"model.sparsity.{key}: expected a number >= 0, got {value}")
