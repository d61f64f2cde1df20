"""Double control variates: leave-one-out REINFORCE with the slopes of the other draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bnn.errors import ConfigError
from bnn.estimators.base import Estimator, gradient_only
from bnn.estimators.baselines import check_decay
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


@Estimator.registry.add("double_cv")
class DoubleControlVariates(Estimator):
    """Leave-one-out REINFORCE with double control variates (Titsias & Shi 2022).

        d f / d ℓ := mean_k [(h_k - mean_{j≠k} h_j) (b_k - p) - α ĝ_k p (1 - p)]

    of h_k = f_k + α ĝ_k · (b_k - p), where ĝ_k is the mean slope f'(b_j) of the other draws j ≠ k;
    in a layer below another binary one the slope passes the bits above as straight-through does.
    The last term puts back the expectation of the second control variate. α is kept for each
    layer, as the minimiser of the estimates' mean square over the previous batches, and begins at
    0, which is leave-one-out; at an f that is linear in the bits it is -1, and no variance is left.

    Evaluations of f per sample and step: K. Unbiased.

    Args:
        samples: K, draws of all binary layers together.
        decay: of the running averages behind α, in [0, 1).

    Raises:
        ConfigError: for samples < 2 or decay outside [0, 1).
    """

    unbiased = True
    needs_full_support = True
    assumes_independent_samples = True
    moments: Tensor

    def __init__(self, *, samples: int = 4, decay: float = 0.99) -> None:
        super().__init__()
        if samples < 2:
            raise ConfigError(
                f"estimator.samples: double_cv compares draws, expected at least 2, got {samples}"
            )
        self.samples, self.decay = samples, check_decay("estimator.decay", decay)

    def build(self, sites: Sequence[Site], inputs: Tensor) -> None:
        like = sites[0].preactivation.detach() if sites else torch.zeros(0, device=inputs.device)
        self.register_buffer("moments", like.new_zeros(len(sites), 2))  # products with B: A · B, B²

    def evaluations(self, units: Sequence[int]) -> int:
        return self.samples

    def weights(self) -> Tensor:
        """α of each layer, [layers]."""
        tiny = torch.finfo(self.moments.dtype).tiny
        return -self.moments[:, 0] / self.moments[:, 1].clamp(min=tiny)

    def metrics(self) -> dict[str, float]:
        assert self.layers is not None
        return {
            f"alpha/{name}": float(alpha)
            for name, alpha in zip(self.layers.names, self.weights(), strict=True)
        }

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
        slopes = torch.autograd.grad(drawn.loss.sum(), passed, retain_graph=True, allow_unused=True)
        gate.open = False  # the surrogate loss itself sends nothing below the bits
        weights, moments = self.weights(), []
        score = drawn.loss.new_zeros(())
        for site, bits, slope in zip(drawn.sites, passed, slopes, strict=True):
            own, control = self.parts(site, bits.detach(), slope, drawn.loss)
            moments.append(self._products(site, own, control))
            estimate = own + weights[site.index] * control
            score = score + (estimate.detach() * site.logits).sum()
        self.moments.lerp_(torch.stack(moments).to(self.moments), 1 - self.decay)
        return drawn.loss.mean() + gradient_only(score)

    def parts(
        self, site: Site, bits: Tensor, slope: Tensor | None, loss: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Estimates A + α B of the gradient by the logits of each draw: A and B.

        Args:
            site: the layer, [K, samples, *units].
            bits: likewise.
            slope: derivative of the summed loss by the bits, likewise; None where there is none.
            loss: [K, samples].

        Returns:
            Two tensors of the shape of the site.
        """
        p, others = site.probs.detach(), self.samples - 1
        noise = bits - p
        slope = torch.zeros_like(bits) if slope is None else slope.detach()
        if site.shared:  # of the mean loss over the batch
            slope = slope / loss.shape[1]
        mean_slope = (slope.sum(0, keepdim=True) - slope) / others
        control = (noise * mean_slope).flatten(2).sum(2)
        scale = loss.new_tensor(1 / (self.samples * site.samples))

        def credited(values: Tensor) -> Tensor:
            """(h_k - mean of the others) (b_k - p) / K of values [K, samples]."""
            centred = (values - values.mean(0, keepdim=True)) * self.samples / others
            return site.aligned(centred) * noise * scale

        own = credited(site.descendants(loss))
        return own, credited(control) - mean_slope * p * (1 - p) * scale

    def _products(self, site: Site, own: Tensor, control: Tensor) -> Tensor:
        """Mean products A · B and B² of the estimates of a sample, each summed over the draws."""
        total, other = own.detach().sum(0), control.detach().sum(0)
        return torch.stack([(total * other).sum(), other.square().sum()]) * site.samples
