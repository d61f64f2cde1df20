"""Base of the estimators by independent draws with the gradient f'(b) of the loss at each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator, gradient_only
from bnn.nn.forward import ForwardClosure
from bnn.nn.replicas import branching
from bnn.nn.sites import Site


class _Gate(torch.autograd.Function):
    """Bits with the pathwise gradient of their probabilities, as long as a gate is open."""

    @staticmethod
    def forward(ctx: Any, bits: Tensor, probs: Tensor, gate: _Open) -> Tensor:
        ctx.gate = gate
        return bits.view_as(bits)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None, None]:
        return None, gradients[0] if ctx.gate.open else None, None


class _Open:
    """Whether gradients pass the bits."""

    def __init__(self) -> None:
        self.open = True


@dataclass(frozen=True)
class LayerDraws:
    """K independent draws of one layer, with the loss and its gradient f'(b) at each.

    Args:
        site: the layer, [K, samples, *units].
        bits: b_k, of the shape of the site.
        slope: f'(b_k), the derivative of the draw's own loss by its bits, of the shape of the site.
        loss: f_k, [K, samples]; for a shared site [K, 1], the mean over the batch.
    """

    site: Site
    bits: Tensor
    slope: Tensor
    loss: Tensor

    @property
    def b_minus_p(self) -> Tensor:
        """Difference b - p, detached, of the shape of the site."""
        return self.bits - self.site.probs.detach()


class DrawsWithSlopes(Estimator):
    """Estimator by K draws of all binary layers together, and the gradient of the loss at each.

    In a layer below another binary one the gradient passes the bits above as straight-through does.

    Args:
        samples: K.

    Raises:
        ConfigError: for samples < 2.
    """

    unbiased = True
    needs_full_support = True
    assumes_independent_samples = True

    def __init__(self, samples: int) -> None:
        super().__init__()
        if samples < 2:
            raise ConfigError(
                f"estimator.samples: {type(self).__name__} compares draws, expected at least 2, "
                f"got {samples}"
            )
        self.samples = samples

    def evaluations(self, units: Sequence[int]) -> int:
        return self.samples

    @abstractmethod
    def gradient(self, layer: LayerDraws) -> Tensor:
        """Estimate of d f / d ℓ at one layer, draw by draw.

        Args:
            layer: its draws.

        Returns:
            [K, samples, *units], whose mean over the draws is the estimate of each sample.
        """

    def auxiliary_loss(self, gradients: Sequence[Tensor]) -> Tensor | float:
        """Loss of the estimator's own parameters; 0 unless overridden.

        Args:
            gradients: estimates of each layer, [K, samples, *units].

        Returns:
            Scalar, whose gradient alone is used.
        """
        return 0.0

    def surrogate_loss(self, forward: ForwardClosure) -> Tensor:
        gate, passed = _Open(), []

        def rule(site: Site) -> Tensor:
            probs = site.probs
            if not probs.requires_grad:  # a layer below which nothing learns
                probs = probs.detach().requires_grad_()
            bits: Tensor = _Gate.apply(site.sample(), probs, gate)
            passed.append(bits)
            return bits

        drawn = forward(rule, branching(self.samples))
        if not passed:
            return drawn.loss.mean()
        slopes = torch.autograd.grad(
            drawn.loss.sum(),
            passed,
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        gate.open = False  # the surrogate loss itself sends nothing below the bits
        score, gradients = drawn.loss.new_zeros(()), []
        for site, bits, slope in zip(drawn.sites, passed, slopes, strict=True):
            # a shared site takes the slope of the mean loss over the batch
            own = slope / drawn.loss.shape[1] if site.shared else slope
            loss = site.descendants(drawn.loss)
            gradients.append(self.gradient(LayerDraws(site, bits.detach(), own, loss)))
            scale = 1 / (self.samples * site.samples)
            score = score + scale * (gradients[-1].detach() * site.logits).sum()
        return drawn.loss.mean() + gradient_only(score + self.auxiliary_loss(gradients))
